"""Attributes of an image: pseudonyms, UIDs, dates, and identities where the profile doesn't look."""

from __future__ import annotations

import re
from datetime import datetime
from io import BytesIO

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom._uid_dict import UID_dictionary
from pydicom.config import disable_value_validation
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from unimedvl.data.error import DataError
from unimedvl.data.privacy.attributes import deidentify_attributes
from unimedvl.data.privacy.file import Options, deidentify_bytes
from unimedvl.data.privacy.key import VARIABLE, Key, read_key, write_key


def read(data: bytes) -> Dataset:
    return pydicom.dcmread(BytesIO(data))


@pytest.mark.parametrize("dates", ["remove", "shift"])
def test_no_planted_value_is_in_the_new_bytes(made, key, dates) -> None:
    source = made.file_bytes(made.planted())
    assert len(made.secrets_in(source)) > 15
    left = made.secrets_in(deidentify_bytes(source, key, Options(dates)).data)
    assert left == (["101530"] if dates == "shift" else [])  # the time of day, which that option keeps


def test_overlays_curves_private_attributes_and_padding_are_gone_at_any_depth(made, key) -> None:
    new = read(deidentify_bytes(made.file_bytes(made.planted()), key).data)
    for element in new.iterall():
        assert not element.tag.is_private and element.tag.group not in (0x5000, 0x6000, 0xFFFC)
    assert new.preamble == bytes(128) and "SourceApplicationEntityTitle" not in new.file_meta


def test_the_file_says_what_was_done(made, key) -> None:
    new = read(deidentify_bytes(made.file_bytes(made.planted()), key).data)
    assert new.PatientIdentityRemoved == "YES" and "PS3.15" in new.DeidentificationMethod
    assert [c.CodeValue for c in new.DeidentificationMethodCodeSequence] == ["113100"]
    assert new.LongitudinalTemporalInformationModified == "REMOVED" and "BurnedInAnnotation" not in new
    shifted = read(deidentify_bytes(made.file_bytes(made.planted()), key, Options("shift", "always")).data)
    assert [c.CodeValue for c in shifted.DeidentificationMethodCodeSequence] == ["113100", "113107", "113101"]
    assert shifted.LongitudinalTemporalInformationModified == "MODIFIED" and shifted.BurnedInAnnotation == "NO"


def test_pixels_of_icons_and_bytes_of_no_image_go(made, key) -> None:
    d, icon = made.planted(), made.planted()
    d.IconImageSequence = [icon]
    d.SharedFunctionalGroupsSequence = [made.planted()]
    d.add_new(0x00420011, "OB", b"%PDF Mustermann")
    d.ICCProfile = b"profile!"
    new = read(deidentify_bytes(made.file_bytes(d), key).data)
    assert "IconImageSequence" not in new and "PixelData" not in new.SharedFunctionalGroupsSequence[0]
    assert "PixelData" in new and new.ICCProfile == b"profile!" and b"PDF" not in new.EncapsulatedDocument


def test_what_says_nothing_of_the_patient_stays(made, key) -> None:
    new = read(deidentify_bytes(made.file_bytes(made.planted()), key).data)
    assert (new.Modality, new.BodyPartExamined, new.SequenceName) == ("CT", "CHEST", "epi2d")
    assert new.Manufacturer == "Maker of scanners" and new.ConvolutionKernel == "REMOVED"
    assert new.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "MR_small_implicit.dcm", "image_dfl.dcm", "rtdose_1frame.dcm"])
def test_damaged_files_give_one_error_that_holds_nothing_of_them(key, name) -> None:
    with open(get_testdata_file(name, download=False), "rb") as stream:
        source = stream.read()
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(source[: random.integers(200, len(source) + 1)])
        for place in random.integers(132, min(len(damaged), 2500), 6):
            damaged[place] = random.integers(256)
        try:
            deidentify_bytes(bytes(damaged), key, Options(text="never"))
        except DataError as error:
            assert re.fullmatch(r"[\w ,.;:()/'%-]{5,200}", str(error))


def values(d: Dataset, vrs: tuple[str, ...]) -> set[str]:
    """All values of these kinds, at any depth, that are long enough to be told from others."""
    with disable_value_validation():
        found = ((e.value if e.VM > 1 else [e.value]) for e in d.iterall() if e.VR in vrs)
        return {str(v) for many in found for v in many if len(str(v or "")) > 2}


@pytest.mark.parametrize("name", [
    "CT_small.dcm", "MR_small_implicit.dcm", "examples_palette.dcm", "examples_ybr_color.dcm", "examples_overlay.dcm",
    "rtdose_expb.dcm", "JPEG2000.dcm", "SC_rgb_jpeg_gdcm.dcm", "693_J2KI.dcm",
])  # fmt: skip
def test_of_real_files_no_name_date_or_instance_is_left(key, name) -> None:
    with open(get_testdata_file(name, download=False), "rb") as stream:
        source = stream.read()
    kinds, instances = ("PN", "AE", "AS", "LT", "ST", "UT", "DA", "DT", "TM"), ("UI",)
    old, new = read(source), read(deidentify_bytes(source, key, Options(text="never")).data)
    assert values(old, kinds) and values(old, kinds) & values(new, (*kinds, "LO", "SH", "CS")) == set()
    left = values(old, instances) & values(new, instances)
    assert left <= set(UID_dictionary)


def test_what_somebody_typed_is_emptied(key) -> None:
    d = Dataset()
    d.PatientID, d.ContentDescription, d.SegmentLabel = "1", "Iowa result", "Liver"
    deidentify_attributes(d, key)
    assert d.ContentDescription == "" and d.SegmentLabel == "Liver"


def test_one_patient_has_one_pseudonym_and_another_project_another(made, key) -> None:
    one, two = (read(deidentify_bytes(made.file_bytes(made.planted(n)), key).data) for n in (3, 7))
    assert one.PatientID == two.PatientID == one.PatientName and one.SOPInstanceUID != two.SOPInstanceUID
    assert one.StudyInstanceUID == two.StudyInstanceUID
    other = read(deidentify_bytes(made.file_bytes(made.planted(3, "PID-4712")), key).data)
    elsewhere = read(deidentify_bytes(made.file_bytes(made.planted(3)), Key(b"another project's key")).data)
    assert len({one.PatientID, other.PatientID, elsewhere.PatientID}) == 3


def test_references_point_to_where_their_images_went(made, key) -> None:
    one, two = (read(deidentify_bytes(made.file_bytes(made.planted(n)), key).data) for n in (3, 4))
    assert one.ReferencedImageSequence[0].ReferencedSOPInstanceUID == two.SOPInstanceUID
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
    assert one.ReferencedImageSequence[0].ReferencedSOPClassUID == one.SOPClassUID


def test_dates_of_a_patient_move_by_the_same_days_and_a_birth_date_goes(made, key) -> None:
    new = read(deidentify_bytes(made.file_bytes(made.planted()), key, Options("shift")).data)
    study, series = (datetime.strptime(d, "%Y%m%d") for d in (new.StudyDate, new.SeriesDate))
    assert (series - study).days == 1 and 30 <= (datetime(2019, 7, 14) - study).days < 3650
    assert new.AcquisitionDateTime == f"{new.SeriesDate}101530.25+0100" and new.StudyTime == "101530"
    assert new.PatientBirthDate == ""


@given(st.text("0123456789.JOHN/", max_size=20))
def test_a_uid_that_is_none_is_replaced(text) -> None:
    key, d = Key(bytes(16)), Dataset()
    with disable_value_validation():
        d.SOPInstanceUID = d.StudyInstanceUID = d.SOPClassUID = "1.2.840.10008." + text
        deidentify_attributes(d, key)
    assert d.SOPInstanceUID.startswith("2.25.") and not set(d.SOPClassUID) & set("JOHN/")
    assert "JOHN" not in d.StudyInstanceUID


def test_a_name_in_another_script_is_found_in_short_text(key) -> None:
    d = Dataset()
    d.SpecificCharacterSet = "ISO_IR 192"
    d.PatientName, d.SequenceName, d.ConvolutionKernel = "山田^太郎", "t1太郎", "B30f"
    deidentify_attributes(d, key)
    assert d.SequenceName == "REMOVED" and d.ConvolutionKernel == "B30f"


def test_short_words_of_a_name_do_not_hide_in_longer_ones(key) -> None:
    d = Dataset()
    d.PatientName, d.SequenceName, d.ScanOptions = "Ann^Lee", "annual", "LEE"
    deidentify_attributes(d, key)
    assert d.SequenceName == "annual" and d.ScanOptions == "REMOVED"


def test_a_key_comes_from_a_file_or_the_environment_and_is_not_shown(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(DataError, match="no key: give a file with --key-file, or set UNIMEDVL_PRIVACY_KEY"):
        read_key()
    write_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    monkeypatch.setenv(VARIABLE, (tmp_path / "key").read_text())
    assert read_key().pseudonym("a") == read_key(tmp_path / "key").pseudonym("a") and "Key(...)" == repr(read_key())
    with pytest.raises(DataError, match="exists; a key is never replaced"):
        write_key(tmp_path / "key")
    (tmp_path / "short").write_text("short\n")
    with pytest.raises(DataError, match="at least 16 bytes, found 5"):
        read_key(tmp_path / "short")
