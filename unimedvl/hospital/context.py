"""What a result takes over from the images it is about: patient, study, references.

A result belongs into the study that it is made of, so its patient and study attributes are those of the
source images (PS3.3 C.7.1, C.7.2), and it names the images that were read. Text goes out as UTF-8 (ISO_IR 192),
whatever the source was written in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pydicom.valuerep import PersonName

from unimedvl.hospital.error import HospitalError

if TYPE_CHECKING:
    from unimedvl.imaging import Image

UTF8 = "ISO_IR 192"
# Type 2: always there, empty where not known.
_PATIENT_2 = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY_2 = ("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber")
_PATIENT = (
    *_PATIENT_2, "IssuerOfPatientID", "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence", "PatientBirthTime",
    "OtherPatientNames", "OtherPatientIDsSequence", "EthnicGroup", "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence", "PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence",
    "ResponsiblePerson", "ResponsiblePersonRole", "ResponsibleOrganization", "QualityControlSubject",
    "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID",
    "ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID",
)  # fmt: skip
_STUDY = (
    "StudyInstanceUID", *_STUDY_2, "StudyDescription", "IssuerOfAccessionNumberSequence", "ProcedureCodeSequence",
    "PatientAge", "PatientSize", "PatientWeight", "PatientSexNeutered", "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription", "TimezoneOffsetFromUTC", "LongitudinalTemporalInformationModified",
)  # fmt: skip
# What results need to know of the image itself: what it shows, where it lies, how large it is.
_IMAGE = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality",
    "BodyPartExamined", "AnatomicRegionSequence", "Laterality", "ImageLaterality", "PatientOrientation",
    "PatientPosition", "ImageType", "InstanceNumber", "FrameOfReferenceUID", "PositionReferenceIndicator",
    "ImagePositionPatient", "ImageOrientationPatient", "ImageOrientationSlide", "PixelSpacing", "ImagerPixelSpacing",
    "NominalScannedPixelSpacing", "PixelAspectRatio", "SliceThickness", "SpacingBetweenSlices", "Rows", "Columns",
    "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "TotalPixelMatrixOriginSequence", "TotalPixelMatrixRows",
    "TotalPixelMatrixColumns", "DimensionOrganizationType", "DimensionIndexSequence", "Manufacturer",
    "ManufacturerModelName", "MagneticFieldStrength", "SyntheticData", "BurnedInAnnotation",
    "RecognizableVisualFeatures", "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
    "ContainerIdentifier", "IssuerOfTheContainerIdentifierSequence", "ContainerTypeCodeSequence",
    "SpecimenDescriptionSequence", "OpticalPathSequence",
)  # fmt: skip
OF_ONE_FRAME = frozenset((
    uid.CTImageStorage, uid.MRImageStorage, uid.ComputedRadiographyImageStorage, uid.SecondaryCaptureImageStorage,
    uid.DigitalXRayImageStorageForPresentation, uid.DigitalXRayImageStorageForProcessing, uid.UltrasoundImageStorage,
    uid.DigitalMammographyXRayImageStorageForPresentation, uid.DigitalMammographyXRayImageStorageForProcessing,
    uid.PositronEmissionTomographyImageStorage, uid.VLEndoscopicImageStorage, uid.VLMicroscopicImageStorage,
    uid.VLSlideCoordinatesMicroscopicImageStorage, uid.VLPhotographicImageStorage,
    uid.DermoscopicPhotographyImageStorage,
))  # fmt: skip
_FORMS = {
    "DA": re.compile(r"\d{8}"),
    "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?"),
    "CS": re.compile(r"[A-Z0-9 _]{1,16}"),
    "AS": re.compile(r"\d{3}[DWMY]"),
}
_SEXES = ("M", "F", "O")
_ZONE = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")


@dataclass(frozen=True)
class Reference:
    """One image, or one frame of it, that a result is about. frame: from 1, as DICOM counts; None for all of it."""

    sop_class: str
    sop_instance: str
    series: str
    study: str
    frame: int | None = None


@dataclass(frozen=True)
class StudyContext:
    """The patient, the study and the images of one result.

    common: patient and study attributes, text as UTF-8. sources: the header of each image, without pixels and
    private elements. frames: of each image the frame that was read, from 1; None where it has one.
    """

    common: Dataset
    sources: tuple[Dataset, ...]
    frames: tuple[int | None, ...]

    @classmethod
    def of(cls, datasets: Iterable[Dataset], frames: Sequence[int | None] = ()) -> StudyContext:
        """The context of images of one study of one patient.

        frames: of each image the frame that was read, from 0 as `ReadOptions.frame` and `Image.details` count;
            None for an image of one frame, or where all were read.

        Attributes of type 2 that the images lack are there and empty. Values that are none (a birth date in words)
        are left empty. Of what only some images have, the first that has it decides.

        Raises:
            HospitalError: no image, an image without the UIDs that references need, images of several patients or
                studies, a frame that an image does not have.
        """
        headers = [_header(dataset) for dataset in datasets]
        if not headers:
            raise HospitalError("no DICOM image was given; a result needs at least one that it is about")
        for number, header in enumerate(headers, 1):
            _check_uids(header, number)
        check_one(headers)
        common = Dataset()
        for header in reversed(headers):  # the first image has the last word
            for keyword in (*_PATIENT, *_STUDY):
                if header.get(keyword) not in (None, "", []):
                    common[keyword] = header[keyword]
        for keyword in (*_PATIENT_2, *_STUDY_2):
            if keyword not in common:
                setattr(common, keyword, "")
        common.SpecificCharacterSet = UTF8
        for header in headers:
            header.update(common)
        counted = [_frame(h, f, n) for n, (h, f) in enumerate(zip(headers, _padded(frames, headers), strict=True), 1)]
        return cls(common, tuple(headers), tuple(counted))

    @classmethod
    def of_files(cls, files: Sequence[str | Path], images: Sequence[Image]) -> StudyContext:
        """The context of files that were read as images (`imaging.read_image`), each with the frame that was read.

        Raises:
            HospitalError: as `of`, or a file is no DICOM.
        """
        for file, image in zip(files, images, strict=True):
            if image.kind != "dicom":
                raise HospitalError(f"{file}: is {image.kind}, not DICOM; DICOM and FHIR results need DICOM images")
        headers = [pydicom.dcmread(file, stop_before_pixels=True, force=True) for file in files]
        return cls.of(headers, [image.details.get("frame") for image in images])

    @classmethod
    def synthetic(cls, study_uid: str, patient_id: str, description: str) -> StudyContext:
        """A context without images, for what is made of words alone: a patient and a study that say they are none."""
        common = Dataset()
        for keyword in (*_PATIENT_2, *_STUDY_2):
            setattr(common, keyword, "")
        common.SpecificCharacterSet = UTF8
        common.PatientName, common.PatientID = "Synthetic^Not a patient", patient_id
        common.StudyInstanceUID, common.StudyDescription = study_uid, description
        return cls(common, (), ())

    @property
    def study_uid(self) -> str:
        return str(self.common.StudyInstanceUID)

    @property
    def modality(self) -> str:
        """The code of the images' modality; empty where they are of several."""
        return _agreed(str(s.get("Modality") or "") for s in self.sources)

    @property
    def body_part(self) -> str:
        """BodyPartExamined of the images that say it, in capitals; empty where none does, or they say several."""
        parts = (str(s.get("BodyPartExamined") or "").strip().upper() for s in self.sources)
        return _agreed(filter(None, parts))

    @property
    def laterality(self) -> str:
        """L or R where every image says it, of itself or else of its series; empty where one does not."""
        side = _agreed(str(s.get("ImageLaterality") or s.get("Laterality") or "") for s in self.sources)
        return side if side in ("L", "R") else ""

    @property
    def references(self) -> tuple[Reference, ...]:
        """The images and frames that were read, in the order given."""
        return tuple(
            Reference(str(s.SOPClassUID), str(s.SOPInstanceUID), str(s.SeriesInstanceUID), self.study_uid, frame)
            for s, frame in zip(self.sources, self.frames, strict=True)
        )

    @property
    def is_synthetic(self) -> bool:
        """Whether any image says that its content is made up (0008,001C); what is made of it then is, too."""
        return any(s.get("SyntheticData") == "YES" for s in self.sources)

    @property
    def nameless(self) -> tuple[Dataset, ...]:
        """The sources under an invented name, for libraries that warn of unusual ones and repeat them in logs."""
        copies = tuple(deepcopy(source) for source in self.sources)
        for copy in copies:
            copy.PatientName = "Name^No"
        return copies

    def put_into(self, dataset: Dataset) -> None:
        """Give a result the patient and study attributes, and the mark of synthetic data that its sources have."""
        dataset.update(deepcopy(self.common))
        if self.is_synthetic:
            dataset.SyntheticData = "YES"


def _header(dataset: Dataset) -> Dataset:
    """What results need of an image, cleaned."""
    kept = Dataset()
    for keyword in (*_PATIENT, *_STUDY, *_IMAGE):
        try:
            element = deepcopy(dataset[keyword]) if keyword in dataset else None
        except Exception:  # noqa: BLE001 - pydicom raises every type there is on damaged values, which are none
            element = None
        if element is None:
            continue
        if element.VR == "PN":
            names = element.value if element.VM > 1 else [element.value]
            names = [PersonName(str(name or "")) for name in names]  # without the encoding that it was read with
            element.value = names if len(names) > 1 else names[0]
        elif element.VR == "SQ":
            for item in element.value:
                _unify(item)
        elif not _plausible(element.VR, element.value):
            continue
        kept.add(element)
    if str(kept.get("PatientSex") or "") not in _SEXES:
        kept.pop("PatientSex", None)
    if not _ZONE.fullmatch(str(kept.get("TimezoneOffsetFromUTC") or "")):
        kept.pop("TimezoneOffsetFromUTC", None)
    methods = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
    if kept.get("PatientIdentityRemoved") == "YES" and not any(kept.get(m) for m in methods):
        kept.DeidentificationMethod = "Not stated by the source image"  # type 1C
    return kept


def _unify(item: Dataset) -> None:
    """Names inside sequences, without the encoding that they were read with, and no private elements."""
    item.pop("SpecificCharacterSet", None)
    for element in list(item):
        if element.tag.is_private:
            del item[element.tag]
        elif element.VR == "PN":
            element.value = PersonName(str(element.value or ""))
        elif element.VR == "SQ":
            for inner in element.value:
                _unify(inner)


def _plausible(vr: str, value: object) -> bool:
    """Whether a value has the form that its representation asks for (PS3.5 6.2); empty ones have."""
    if value in (None, "") or vr not in _FORMS:
        return True
    values = [str(v).strip() for v in ([value] if isinstance(value, str) else value)]
    return all(_FORMS[vr].fullmatch(v) and (vr != "DA" or _is_date(v)) for v in values)


def _is_date(digits: str) -> bool:
    """Whether a calendar has it; some systems write 00000000 for none."""
    try:
        date.fromisoformat(digits)
    except ValueError:
        return False
    return True


def _agreed(values: Iterable[str]) -> str:
    """What all say; empty where they differ."""
    said = set(values)
    return said.pop() if len(said) == 1 else ""


def _check_uids(header: Dataset, number: int) -> None:
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        if not UID(str(header.get(keyword) or "")).is_valid:
            what = "no" if not header.get(keyword) else "an invalid"
            raise HospitalError(f"image {number} has {what} {keyword}; results refer to images by it")


def check_one(headers: Sequence[Dataset]) -> None:
    """Refuse images of several patients or studies. Says how many, and not who.

    Raises:
        HospitalError: they are of several.
    """
    patients = len({_patient(header) for header in headers})
    issuers = {str(header.get("IssuerOfPatientID") or "").strip() for header in headers} - {""}
    if (patients := max(patients, len(issuers))) > 1:  # the same number of two issuers is two patients
        raise HospitalError(f"the images are of {patients} patients; a result is about one, so give them apart")
    studies = {str(header.StudyInstanceUID) for header in headers}
    if len(studies) > 1:
        raise HospitalError(f"the images are of {len(studies)} studies; a result belongs to one, so give them apart")


def _patient(header: Dataset) -> tuple[str, ...]:
    """What tells patients apart: their number, or else name and birth date."""
    number = str(header.get("PatientID") or "").strip()
    if number:
        return (number,)
    name = str(header.get("PatientName") or "").rstrip("^ ").upper()
    return ("", name, str(header.get("PatientBirthDate") or ""))


def _padded(frames: Sequence[int | None], headers: Sequence[Dataset]) -> Sequence[int | None]:
    if frames and len(frames) != len(headers):
        raise HospitalError(f"{len(frames)} frames were given for {len(headers)} images; give one for each, or None")
    return frames or [None] * len(headers)


def _frame(header: Dataset, frame: int | None, number: int) -> int | None:
    """The frame as DICOM counts, from 1; None where there is one, or the class is of one: those allow no number."""
    try:
        count = int(header.get("NumberOfFrames") or 1)
    except ValueError as error:
        raise HospitalError(f"image {number} has a NumberOfFrames that is no number; it is damaged") from error
    if frame is None or (count == 1 and frame == 0):
        return None
    if header.SOPClassUID in OF_ONE_FRAME:  # the file breaks its class; which frame it was can't be told
        return None
    if not 0 <= frame < count:
        raise HospitalError(f"image {number} has {count} frames, counted from 0; {frame} is none of them")
    return frame + 1


