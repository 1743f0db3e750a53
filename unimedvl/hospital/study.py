"""A study as the files of a folder: its series, and the images of each in their order.

Headers are read and pixels are not. A frame of a multi-frame file is an image of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.identity import MANUFACTURER

# Longer values, which only pixels and overlays have, stay in the file.
_LONG = 1 << 16
# Pixels that are no picture of a patient: segmentations, dose, parametric maps, surfaces.
_NO_PICTURE = ("SEG", "RTDOSE", "SR", "KO", "PR", "REG", "M3D")
# View Position (0018,5101) as PS3.3 C.8.11.5.1.1 and older files have it.
_FRONTAL, _LATERAL = {"AP", "PA"}, {"LL", "RL", "LATERAL", "LAT", "LLD", "RLD"}


@dataclass(frozen=True)
class Instance:
    """A file. header: all of it but its pixels."""

    path: Path
    header: Dataset

    @property
    def uid(self) -> str:
        return str(self.header.SOPInstanceUID)

    @property
    def frames(self) -> int:
        return max(_whole_number(self.header, "NumberOfFrames"), 1)

    @property
    def is_picture(self) -> bool:
        """Whether a task may look at it; results of this package are not looked at again."""
        kind = str(self.header.get("Modality", ""))
        return bool(self.header.get("Rows")) and kind not in _NO_PICTURE and not is_own(self.header)

    @property
    def view(self) -> str:
        """"frontal", "lateral" or "", as the header or else its descriptions tell."""
        position = str(self.header.get("ViewPosition", "")).strip().upper()
        if position in _FRONTAL | _LATERAL:
            return "frontal" if position in _FRONTAL else "lateral"
        codes = [str(code.get("CodeMeaning", "")) for code in self.header.get("ViewCodeSequence") or []]
        told = [position, *codes, str(self.header.get("SeriesDescription", "")), _image_type(self.header)]
        words = " ".join(told).lower()
        if re.search(r"\blat(eral)?\b", words):
            return "lateral"
        return "frontal" if re.search(r"\b(frontal|ap|pa|antero-?posterior|postero-?anterior)\b", words) else ""


@dataclass(frozen=True)
class Picture:
    """An image of a series: a file, and the frame where it has several."""

    instance: Instance
    frame: int | None = None


@dataclass(frozen=True)
class Series:
    """instances: of one series, those with pictures in their order in space or by number, then the rest."""

    uid: str
    instances: tuple[Instance, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(p for i in self.instances if i.is_picture for p in _pictures(i))

    def told(self, keyword: str) -> str:
        """The first value that a file of the series has for an attribute, as text."""
        return next((str(v).strip() for i in self.instances if (v := i.header.get(keyword))), "")

    @property
    def body_parts(self) -> tuple[str, ...]:
        """Body Part Examined (0018,0015), and what Anatomic Region Sequence (0008,2218) calls it; upper case."""
        parts = [self.told("BodyPartExamined")]
        for instance in self.instances:
            parts += [str(code.get("CodeMeaning", "")) for code in instance.header.get("AnatomicRegionSequence") or []]
        return tuple(dict.fromkeys(part.strip().upper() for part in parts if part.strip()))


@dataclass(frozen=True)
class Study:
    uid: str
    series: tuple[Series, ...]

    @property
    def instances(self) -> tuple[Instance, ...]:
        return tuple(i for s in self.series for i in s.instances)

    def told(self, keyword: str) -> str:
        return next((told for s in self.series if (told := s.told(keyword))), "")


def is_own(header: Dataset) -> bool:
    """Whether an instance says that this package made it, here or elsewhere; such are never handled again."""
    equipment = header.get("ContributingEquipmentSequence") or []
    makers = [header.get("Manufacturer"), *(item.get("Manufacturer") for item in equipment)]
    return any(str(maker or "").strip() == MANUFACTURER for maker in makers)


def read_instance(path: Path) -> Instance:
    """The header of a file. Raises HospitalError where it is no DICOM instance."""
    try:
        header = pydicom.dcmread(path, defer_size=_LONG, stop_before_pixels=True)
    except (InvalidDicomError, OSError, EOFError) as error:
        raise HospitalError(f"{path}: cannot be read as DICOM ({error})") from error
    except Exception as error:  # pydicom raises every type there is on damaged files
        raise HospitalError(f"{path}: is a damaged DICOM file ({type(error).__name__})") from error
    for keyword in ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not header.get(keyword):
            raise HospitalError(f"{path}: a DICOM file without {keyword}")
    return Instance(Path(path), header)


def read_studies(files: Iterable[Path]) -> list[Study]:
    """The studies that files are of, in the order of their UIDs; the same instance counts once.

    Raises:
        HospitalError: a file is no DICOM instance.
    """
    series: dict[tuple[str, str], dict[str, Instance]] = {}
    for file in sorted(map(Path, files)):
        instance = read_instance(file)
        place = (str(instance.header.StudyInstanceUID), str(instance.header.SeriesInstanceUID))
        series.setdefault(place, {}).setdefault(instance.uid, instance)
    studies: dict[str, list[Series]] = {}
    for (study, uid), instances in sorted(series.items(), key=lambda item: (item[0][0], _number(item[1]), item[0][1])):
        studies.setdefault(study, []).append(Series(uid, _in_order(list(instances.values()))))
    return [Study(uid, tuple(parts)) for uid, parts in studies.items()]


def read_study(files: Iterable[Path]) -> Study:
    """As `read_studies`, where all files are of one study. Raises HospitalError where they are not."""
    studies = read_studies(files)
    if len(studies) != 1:
        raise HospitalError(f"expected the files of one study, found {len(studies) or 'no'} studies")
    return studies[0]


def dicom_files(folder: Path) -> list[Path]:
    """Every file below a folder that begins as a DICOM file does. Raises HospitalError where there is none."""
    if not folder.is_dir():
        raise HospitalError(f"{folder}: no such folder; give one with DICOM files")
    found = [f for f in sorted(folder.rglob("*")) if f.is_file() and _has_prefix(f)]
    if not found:
        raise HospitalError(f"{folder}: holds no DICOM file")
    return found


def _has_prefix(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _pictures(instance: Instance) -> Iterator[Picture]:
    if instance.frames == 1:
        yield Picture(instance)
    else:
        yield from (Picture(instance, frame) for frame in range(instance.frames))


def _in_order(instances: list[Instance]) -> tuple[Instance, ...]:
    """Along the normal of the slices where all have a position, else by Instance Number (0020,0013), else by UID."""
    pictures = [i for i in instances if i.is_picture]
    others = [i for i in instances if not i.is_picture]
    depths = [_depth(i.header) for i in pictures]
    if depths and None not in depths and len(set(depths)) == len(depths):
        pictures = [i for _, i in sorted(zip(depths, pictures, strict=True), key=lambda pair: pair[0])]
    else:
        pictures.sort(key=lambda i: (_whole_number(i.header, "InstanceNumber"), i.uid))
    return (*pictures, *sorted(others, key=lambda i: i.uid))


def _depth(header: Dataset) -> float | None:
    """Where a slice lies along its normal in millimetres (PS3.3 C.7.6.2.1.1); from the feet up where it is axial."""
    position, orientation = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
    if not position or not orientation or len(position) != 3 or len(orientation) != 6:
        return None
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    return round(float(np.cross(row, column) @ np.array(position, float)), 3)


def _number(instances: dict[str, Instance]) -> int:
    return min(_whole_number(i.header, "SeriesNumber") for i in instances.values())


def _whole_number(header: Dataset, keyword: str) -> int:
    """0 where there is none, or what stands there is no number."""
    try:
        return int(header.get(keyword) or 0)
    except (ValueError, TypeError):
        return 0


def _image_type(header: Dataset) -> str:
    told = header.get("ImageType") or ""
    return told if isinstance(told, str) else " ".join(told)
