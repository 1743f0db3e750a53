"""Every document has what its modules demand, by the tables of the standard that highdicom ships."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom.dataset import Dataset

from unimedvl.hospital.context import StudyContext
from unimedvl.hospital.derived import derived_image
from unimedvl.hospital.encapsulated import encapsulated_pdf
from unimedvl.hospital.mask import segmentation
from unimedvl.hospital.report import report_sr

# Checked apart, as they hang on values of other attributes: the tables know modules, not macros of content items.
_NESTED = ("sr-document-content", "segmentation-multi-frame-functional-groups", "multi-frame-functional-groups")


def missing(document: Dataset) -> list[str]:
    """Attributes of types 1 and 2 of mandatory modules that are missing, or empty where they may not be."""
    iod = get_sop_class_iod_map()[document.SOPClassUID]
    found = []
    for module in get_iod_module_map()[iod]:
        if module["usage"] != "M" or module["key"] in _NESTED:
            continue
        for attribute in get_module_attribute_map()[module["key"]]:
            if attribute["type"] not in ("1", "2"):
                continue
            for place in places(document, attribute["path"]):
                keyword = attribute["keyword"]
                if keyword not in place or (attribute["type"] == "1" and place[keyword].value in (None, "", [])):
                    found.append(".".join([module["key"], *attribute["path"], keyword]))
    return found


def places(dataset: Dataset, path: list[str]) -> list[Dataset]:
    """The items at the end of a path of sequences; none where a sequence is not there."""
    items = [dataset]
    for keyword in path:
        items = [item for one in items for item in one.get(keyword, [])]
    return items


@pytest.fixture(scope="module", params=["CT_small.dcm", "MR_small.dcm", "JPEG-lossy.dcm", "SC_rgb_small_odd.dcm",
                                        "examples_palette.dcm", "examples_ybr_color.dcm", "ultrasound", "enhanced_mr"])
def context(request, documents) -> StudyContext:
    name = request.param
    source = documents.real(name) if name.endswith(".dcm") else getattr(documents, name)()
    return StudyContext.of([source], [1 if int(source.get("NumberOfFrames") or 1) > 1 else None])


def test_nothing_that_the_standard_demands_is_missing(documents, context) -> None:
    mask = segmentation(documents.mask_result(np.eye(64, dtype=bool)), context, "lesion")
    made = [
        report_sr(documents.report(), context),
        report_sr(documents.report(), context, kind="comprehensive3d", masks=[mask]),
        mask,
        derived_image(documents.drawn(), context),
        derived_image(documents.drawn(grey=False), context),
        derived_image(documents.drawn()),
        encapsulated_pdf(b"%PDF-1.7", context, documents.report()),
    ]
    for document in made:
        stream = io.BytesIO()
        document.save_as(stream, enforce_file_format=True)
        stream.seek(0)
        assert missing(pydicom.dcmread(stream)) == [], document.SOPClassUID.name


def test_an_mr_that_was_made_has_what_mr_images_have(documents) -> None:
    context = StudyContext.of([documents.real("MR_small.dcm")])
    assert missing(derived_image(documents.drawn(), context, kind="mr")) == []


def test_the_check_finds_what_is_missing(documents) -> None:
    document = derived_image(documents.drawn())
    del document.ConversionType, document.PatientSex
    document.SeriesInstanceUID = ""
    assert missing(document) == [
        "patient.PatientSex", "general-series.SeriesInstanceUID", "sc-equipment.ConversionType"]  # fmt: skip
