"""Images that the model made, as DICOM: marked as synthetic, placed as their source, of no patient without one."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from unimedvl.hospital.context import StudyContext
from unimedvl.hospital.derived import derived_image
from unimedvl.hospital.encapsulated import encapsulated_pdf
from unimedvl.hospital.error import HospitalError
from unimedvl.imaging import read_image
from unimedvl.provenance import detect


@pytest.fixture(scope="module")
def ct(documents) -> StudyContext:
    return StudyContext.of([documents.real("CT_small.dcm")])


@pytest.fixture(scope="module")
def mr(documents) -> StudyContext:
    return StudyContext.of([documents.real("MR_small.dcm")])


def as_file(document: pydicom.Dataset) -> bytes:
    stream = io.BytesIO()
    document.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_a_made_image_says_that_it_is_synthetic_and_how_it_came_about(documents, ct) -> None:
    image = derived_image(documents.drawn(), ct, at=documents.AT)
    assert image.SyntheticData == "YES" and image.ContentQualification == "RESEARCH"
    assert list(image.ImageType) == ["DERIVED", "SECONDARY"]
    assert image.ConversionType == "SYN"
    assert "ImageComments" not in image
    explained = derived_image(replace(documents.drawn(), text="The effusion is gone."), ct)
    assert explained.ImageComments == "The effusion is gone."
    for words in ("SYNTHETIC", "Translate this T2 image to FLAIR.", "nano", "Not for clinical use", "seed 0"):
        assert words in image.DerivationDescription
    (equipment,) = image.ContributingEquipmentSequence
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Synthesizing Equipment"
    (source,) = image.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == ct.sources[0].SOPInstanceUID
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert image.PatientID == ct.common.PatientID and image.StudyInstanceUID == ct.study_uid
    assert image.SeriesInstanceUID != ct.sources[0].SeriesInstanceUID


@pytest.mark.parametrize(("grey", "photometric"), [(True, "MONOCHROME2"), (False, "RGB")])
def test_its_pixels_are_read_back_as_they_were_drawn(documents, ct, grey: bool, photometric: str) -> None:
    result = documents.drawn((33, 33), grey)  # an odd number of bytes
    image = derived_image(result, ct)
    assert image.PhotometricInterpretation == photometric
    back = read_image(as_file(image))
    assert np.abs(back.pixels * 255 - result.marked).max() <= 1.0


@pytest.mark.parametrize("grey", [True, False])
def test_its_pixels_carry_the_watermark(documents, ct, grey: bool) -> None:
    smooth = np.linspace(40, 200, 128, dtype=np.uint8)[:, None, None] + np.zeros((1, 128, 3), np.uint8)
    smooth[..., 0] //= 1 if grey else 2
    result = replace(documents.drawn(), array=smooth)
    pixels = np.rint(read_image(as_file(derived_image(result, ct))).pixels * 255).astype(np.uint8)
    assert not detect(smooth).found and detect(pixels).found


def test_a_drawing_with_a_trace_of_colour_is_stored_as_grey(documents, ct) -> None:
    result = documents.drawn()
    result.array[..., 0] = np.clip(result.array[..., 0].astype(int) + 3, 0, 255)
    assert derived_image(result, ct).SamplesPerPixel == 1


def test_a_drawing_that_is_grey_but_for_a_coloured_spot_keeps_its_colour(documents, ct) -> None:
    result = documents.drawn((256, 256))
    result.array[:16, :16] = (255, 0, 0)
    assert derived_image(result, ct).PhotometricInterpretation == "RGB"


@pytest.mark.parametrize(
    ("sources", "told"),
    [([""], None), (["NO"], "NO"), (["YES"], "YES"), (["NO", "YES"], "YES"), (["NO", ""], None), ([], "NO")],
)
def test_words_in_the_pixels_are_denied_only_where_the_sources_deny_them(documents, sources: list, told) -> None:
    images = []
    for number, burned in enumerate(sources, 1):
        images.append(documents.ultrasound(1))
        images[-1].SOPInstanceUID, images[-1].BurnedInAnnotation = f"2.25.{number}", burned
    context = StudyContext.of(images) if images else None
    assert derived_image(documents.drawn(), context).get("BurnedInAnnotation") == told


def test_the_spacing_follows_the_size(documents, ct) -> None:
    image = derived_image(documents.drawn((256, 64)), ct)
    before = ct.sources[0].PixelSpacing
    assert np.allclose(image.PixelSpacing, [before[0] / 2, before[1] * 2], rtol=1e-6)


def test_an_image_of_an_mr_lies_where_its_source_lies(documents, mr) -> None:
    image = derived_image(documents.drawn((128, 128)), mr, kind="mr")
    source = mr.sources[0]
    assert image.SOPClassUID == source.SOPClassUID and image.FrameOfReferenceUID == source.FrameOfReferenceUID

    def corner(of: pydicom.Dataset) -> np.ndarray:
        """Of the first pixel, in the patient."""
        along, down = np.array(of.ImageOrientationPatient, float).reshape(2, 3)
        step = np.array(of.PixelSpacing, float)
        return np.array(of.ImagePositionPatient, float) - along * step[1] / 2 - down * step[0] / 2

    assert np.allclose(corner(image), corner(source), atol=1e-4)
    extent = np.array(image.PixelSpacing, float) * 128
    assert np.allclose(extent, np.array(source.PixelSpacing, float) * source.Rows, rtol=1e-5)
    assert image.ScanningSequence == "RM" and image.SyntheticData == "YES"
    assert np.abs(read_image(as_file(image)).pixels * 255 - documents.drawn((128, 128)).marked).max() <= 1.0


def test_only_a_grey_image_of_an_mr_is_stored_as_mr(documents, ct, mr) -> None:
    with pytest.raises(HospitalError, match="single-frame MR"):
        derived_image(documents.drawn(), ct, kind="mr")
    with pytest.raises(HospitalError, match="colour"):
        derived_image(documents.drawn(grey=False), mr, kind="mr")
    with pytest.raises(HospitalError, match="secondary or mr"):
        derived_image(documents.drawn(), mr, kind="ct")


def test_an_image_of_words_belongs_to_nobody(documents) -> None:
    image = derived_image(documents.drawn(task="generate"))
    assert image.PatientName == "Synthetic^Not a patient" and image.PatientID.startswith("SYNTHETIC-")
    assert image.StudyDescription == "Synthetic; not a patient" and "SourceImageSequence" not in image
    assert image.StudyInstanceUID == derived_image(documents.drawn(task="generate")).StudyInstanceUID
    assert image.StudyInstanceUID != derived_image(documents.drawn((64, 64), task="generate")).StudyInstanceUID


@pytest.mark.parametrize(
    ("part", "side", "expected"),
    [("CHEST", "", (None, "CHEST")), ("BREAST", "L", ("L", "BREAST")), ("BREAST", "", ("", "BREAST")),
     ("", "", ("", None))],
)  # fmt: skip
def test_a_side_is_told_where_it_is_known_and_asked_for(documents, part: str, side: str, expected: tuple) -> None:
    source = documents.real("CT_small.dcm")
    source.BodyPartExamined, source.Laterality = part, side
    image = derived_image(documents.drawn(), StudyContext.of([source]))
    assert (image.get("Laterality"), image.get("BodyPartExamined")) == expected


def test_what_was_compressed_with_loss_stays_marked(documents) -> None:
    source = documents.real("CT_small.dcm")
    source.LossyImageCompression, source.LossyImageCompressionRatio = "01", "12"
    image = derived_image(documents.drawn(), StudyContext.of([source]))
    assert (image.LossyImageCompression, image.LossyImageCompressionRatio) == ("01", 12)


def test_the_same_image_at_the_same_time_gives_the_same_bytes(documents, ct) -> None:
    one, other = (as_file(derived_image(documents.drawn(), ct, at=documents.AT)) for _ in range(2))
    assert one == other


def test_a_pdf_becomes_a_document_of_the_study(documents, ct) -> None:
    pdf = b"%PDF-1.7 odd"[:11]
    document = pydicom.dcmread(io.BytesIO(as_file(encapsulated_pdf(pdf, ct, documents.report()))))
    assert document.EncapsulatedDocument[: document.EncapsulatedDocumentLength] == pdf
    assert document.StudyInstanceUID == ct.study_uid and document.BurnedInAnnotation == "YES"
    assert document.SourceInstanceSequence[0].ReferencedSOPInstanceUID == ct.sources[0].SOPInstanceUID
    assert "not verified" in document.DocumentTitle
    with pytest.raises(HospitalError, match="no PDF"):
        encapsulated_pdf(b"<html>", ct, documents.report())
