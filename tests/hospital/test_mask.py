"""Masks as DICOM Segmentation: on the rows and columns of the source, whatever the model drew on."""

from __future__ import annotations

import io

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimedvl.hospital import coding
from unimedvl.hospital.context import StudyContext
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.mask import on_source, segmentation, stored_mask
from unimedvl.imaging import fit, read_image, resize
from unimedvl.inference.results import ImageResult


def ellipse(rows: int, columns: int) -> np.ndarray:
    """An ellipse off the centre, [rows, columns] bool."""
    y, x = np.mgrid[:rows, :columns] + 0.5
    return ((y / rows - 0.6) / 0.25) ** 2 + ((x / columns - 0.35) / 0.2) ** 2 < 1


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union."""
    return (one & other).sum() / (one | other).sum()


@given(rows=st.integers(40, 400), columns=st.integers(40, 400))
def test_a_mask_comes_back_to_the_rows_and_columns_of_its_image(rows: int, columns: int) -> None:
    mask = ellipse(rows, columns)
    size = fit(columns, rows, max_size=128, min_size=64, stride=16, max_pixels=10**6)
    seen = resize(mask.astype(np.float32), size)
    drawn = np.repeat((seen[..., None] * 255).round().astype(np.uint8), 3, axis=2)
    back = on_source(ImageResult(drawn), rows, columns)
    assert back.shape == mask.shape
    assert overlap(back, mask) > (0.93 if max(rows, columns) > 256 else 0.9)


def test_a_mask_of_the_same_size_is_the_mask_of_the_result() -> None:
    drawn = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    result = ImageResult(drawn)
    assert np.array_equal(on_source(result, 32, 48), result.mask)


def test_a_mask_is_stored_in_the_geometry_of_its_source(documents) -> None:
    source = documents.real("CT_small.dcm")
    mask = ellipse(128, 128)
    document = segmentation(documents.mask_result(mask), StudyContext.of([source]), "left lung", at=documents.AT)
    stream = io.BytesIO()
    document.save_as(stream, enforce_file_format=True)
    read = hd.seg.segread(io.BytesIO(stream.getvalue()))
    pixels = read.get_pixels_by_source_instance([source.SOPInstanceUID])
    assert np.array_equal(pixels[0, ..., 0].astype(bool), mask)
    assert np.array_equal(stored_mask(document), mask)
    assert read.FrameOfReferenceUID == source.FrameOfReferenceUID
    place = read.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    assert place.ImagePositionPatient == source.ImagePositionPatient


def test_an_image_that_was_made_square_gets_its_mask_back_unstretched(documents, tmp_path) -> None:
    """Pixels twice as high as wide: the model sees twice the rows, the mask has those of the file."""
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    source = dcmread(get_testdata_file("CT_small.dcm", download=False))
    source.PixelSpacing = [2.0, 1.0]
    source.save_as(tmp_path / "flat.dcm")
    image = read_image(tmp_path / "flat.dcm")
    assert (image.height, image.width) == (256, 128)
    result = documents.mask_result(ellipse(image.height, image.width))
    document = segmentation(result, StudyContext.of_files([tmp_path / "flat.dcm"], [image]), "lesion")
    assert (document.Rows, document.Columns) == (128, 128)
    assert overlap(stored_mask(document), ellipse(128, 128)) > 0.97


@pytest.mark.parametrize("kind", ["ultrasound", "enhanced_mr"])
def test_a_frame_of_a_multi_frame_image_is_named(documents, kind: str) -> None:
    source = getattr(documents, kind)()
    context = StudyContext.of([source], [1])
    before = str(context.sources[0])
    document = segmentation(documents.mask_result(ellipse(30, 40)), context, "liver")
    assert str(context.sources[0]) == before, "the source was changed"
    (group,) = document.PerFrameFunctionalGroupsSequence
    (item,) = group.DerivationImageSequence[0].SourceImageSequence
    assert (item.ReferencedSOPClassUID, item.ReferencedFrameNumber) == (source.SOPClassUID, 2)
    assert document.NumberOfFrames == 1
    if kind == "enhanced_mr":
        assert group.PlanePositionSequence[0].ImagePositionPatient == [0, 0, 5]


def test_which_frame_was_segmented_must_be_said(documents) -> None:
    with pytest.raises(HospitalError, match="3 frames"):
        segmentation(documents.mask_result(ellipse(30, 40)), StudyContext.of([documents.ultrasound()]), "liver")


def test_an_empty_mask_is_stored_too(documents) -> None:
    context = StudyContext.of([documents.ultrasound()], [0])
    document = segmentation(documents.mask_result(np.zeros((30, 40), bool)), context, "liver")
    assert document.NumberOfFrames == 1 and not stored_mask(document).any()


def test_the_segment_says_what_it_is_and_who_outlined_it(documents) -> None:
    context = StudyContext.of([documents.real("CT_small.dcm")])
    document = segmentation(documents.mask_result(ellipse(64, 64)), context, "the left lung", at=documents.AT)
    (segment,) = document.SegmentSequence
    (kind,) = segment.SegmentedPropertyTypeCodeSequence
    assert (kind.CodeValue, kind.CodeMeaning) == ("39607008", "Lung")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert segment.SegmentLabel == "the left lung" and segment.SegmentAlgorithmType == "AUTOMATIC"
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    assert "Not for clinical use" in segment.SegmentDescription
    assert document.ContentQualification == "RESEARCH"


def test_the_same_mask_at_the_same_time_gives_the_same_bytes(documents) -> None:
    context = StudyContext.of([documents.real("CT_small.dcm")])
    written = set()
    for _ in range(2):
        stream = io.BytesIO()
        document = segmentation(documents.mask_result(ellipse(64, 64)), context, "lung", at=documents.AT)
        document.save_as(stream, enforce_file_format=True)
        written.add(stream.getvalue())
    assert len(written) == 1


def test_words_without_a_code_keep_the_words(documents) -> None:
    context = StudyContext.of([documents.ultrasound()], [0])
    (segment,) = segmentation(documents.mask_result(ellipse(30, 40)), context, "odd\\\n thing").SegmentSequence
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    assert segment.SegmentLabel == "odd/ thing"


def test_every_code_is_in_the_tables_of_the_standard() -> None:
    from pydicom.sr._concepts_dict import concepts

    meanings: dict[tuple[str, str], set[str]] = {}
    for scheme, named in concepts.items():
        for entries in named.values():
            for value, (meaning, _) in entries.items():
                meanings.setdefault((scheme, value), set()).add(meaning)
    ours = [*coding.STRUCTURES.values(), *coding.ABNORMALITIES.values()]
    ours += [coding.region(part) for part in coding._REGIONS]
    ours += [coding.acquisition(code) for code in coding._ACQUISITIONS]
    ours += [*coding._TITLES.values(), *coding._TITLES_OF_PARTS.values(), *coding._PROCEDURES.values()]
    for code in ours:
        assert code.meaning in meanings[code.scheme_designator, code.value], code


def test_names_are_found_in_many_forms() -> None:
    assert coding.named("Vessels").kind.meaning == "Blood Vessel"
    assert coding.named("the right kidney").side.meaning == "Right"
    assert coding.named("left and right lung").side is None
    assert coding.named("pleural effusion").category.meaning == "Morphologically Abnormal Structure"
    assert coding.named("lenses").kind.meaning == "Lens"


def test_what_makes_no_mask_is_refused_in_one_line(documents) -> None:
    one = documents.real("CT_small.dcm")
    result = documents.mask_result(ellipse(30, 40))
    two = documents.real("CT_small.dcm")
    two.SOPInstanceUID = "2.25.4"
    with pytest.raises(HospitalError, match="this context has 2"):
        segmentation(result, StudyContext.of([one, two]), "lung")
    with pytest.raises(HospitalError, match="needs the words"):
        segmentation(result, StudyContext.of([one]), " ")
    del one.Rows
    with pytest.raises(HospitalError, match="no Rows"):
        segmentation(result, StudyContext.of([one]), "lung")
