"""What `verify` tells of files that were made here, of what became of them, and of files that were not."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from unimedvl.imaging import ImagingError
from unimedvl.imaging.metadata import chunks
from unimedvl.provenance import encoded, find_credentials, payload_of, written
from unimedvl.provenance.verify import verify


@pytest.mark.parametrize("name", ["made.png", "made.jpg", "made.webp"])
def test_a_made_file_is_told_from_all_three(made, provenance, name):
    found = verify(made / name)
    assert found.verdict == "made" and not found.notes and "unchanged" in found.closing
    assert found.told.provenance == found.manifest.provenance == found.provenance == provenance
    assert found.manifest.state == "valid" and found.matches and found.watermark.payload == payload_of(provenance)
    assert json.loads(json.dumps(found.to_dict()))["verdict"] == "made"


def test_a_signer_that_is_trusted_is_told(made):
    found = verify(made / "made.png", trust=find_credentials().certificates)
    assert found.manifest.state == "trusted" and "a signer that is trusted here" in found.closing


@pytest.mark.parametrize(("kind", "options"), [
    ("JPEG", {"quality": 75}), ("PNG", {}), ("WEBP", {"quality": 95}), ("TIFF", {}), ("BMP", {}),
])  # fmt: skip
def test_of_what_was_saved_again_the_watermark_is_left(marked_pixels, provenance, kind, options):
    stream = io.BytesIO()
    Image.fromarray(marked_pixels).resize((64, 64)).save(stream, kind, **options)
    found = verify(stream.getvalue())
    assert (found.verdict, found.manifest.state, found.told.provenance) == ("signs", "none", None)
    assert found.watermark.payload in (payload_of(provenance), None) and "the watermark" in found.closing


def test_a_made_file_without_a_manifest_is_still_told(marked_pixels, provenance):
    found = verify(written(marked_pixels, provenance, sign=False))
    assert (found.verdict, found.manifest.state) == ("made", "none") and "no manifest" in found.closing


def test_other_pixels_under_a_manifest_are_seen(made, picture_of):
    """The manifest and the metadata of a made file around pixels of another."""
    data = (made / "made.png").read_bytes()
    start = data.index(b"IDAT") - 4
    stream = io.BytesIO()
    Image.fromarray(picture_of("cxr", 128, 9001)).save(stream, "PNG")
    other = stream.getvalue()
    found = verify(data[:start] + other[other.index(b"IDAT") - 4 :])
    assert found.verdict == "signs" and "changes since it was signed" in found.closing
    assert found.manifest.state == "invalid"
    assert any("does not hold" in note for note in found.notes) and any("no watermark" in note for note in found.notes)


def test_a_provenance_that_was_rewritten_is_seen(marked_pixels, provenance):
    forged, stream = provenance | {"seed": 8}, io.BytesIO()
    Image.fromarray(marked_pixels).save(stream, "PNG", pnginfo=chunks(forged))
    found = verify(stream.getvalue())
    assert found.verdict == "signs" and found.matches is False
    assert any("watermark is of another picture" in note for note in found.notes)


def test_a_provenance_that_has_not_the_hash_beside_it_is_seen(marked_pixels, provenance):
    info, stream = PngInfo(), io.BytesIO()
    info.add_itxt("unimedvl:provenance", json.dumps(provenance | {"seed": 8}))
    packet = Image.open(io.BytesIO(written(marked_pixels, provenance))).text["XML:com.adobe.xmp"]
    info.add_itxt("XML:com.adobe.xmp", packet)
    Image.fromarray(marked_pixels).save(stream, "PNG", pnginfo=info)
    assert any("has not the hash" in note for note in verify(stream.getvalue()).notes)


def test_a_turned_picture_is_told_to_be(marked_pixels):
    stream = io.BytesIO()
    Image.fromarray(marked_pixels).rotate(90).save(stream, "PNG")
    found = verify(stream.getvalue())
    assert found.verdict == "signs" and any("turned by 90 degrees" in note for note in found.notes)


def test_a_mask_has_everything_but_the_watermark(picture_of, provenance):
    mask = np.where(picture_of("cxr", 128) > 128, np.uint8(255), np.uint8(0))
    data = encoded(mask, provenance | {"task": "segment"})
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), mask)
    found = verify(data)
    assert found.verdict == "made" and not found.watermark.found and not found.notes


def test_real_files_have_no_signs(picture_of, tmp_path):
    stream = io.BytesIO()
    Image.fromarray(picture_of("mri", 128)).save(stream, "PNG")
    for file in (stream.getvalue(), get_testdata_file("CT_small.dcm", download=False)):
        found = verify(file)
        assert (found.verdict, found.notes) == ("nothing", ()) and "proves nothing" in found.closing


def test_what_another_program_made_is_no_sign_of_this_one(picture_of):
    stream = io.BytesIO()
    xmp = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
      <rdf:Description xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"><i:DigitalSourceType>
      http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia</i:DigitalSourceType></rdf:Description>
      </rdf:RDF></x:xmpmeta>"""
    Image.fromarray(picture_of("mri", 128)).save(stream, "JPEG", xmp=xmp)
    found = verify(stream.getvalue())
    assert found.told.made and found.verdict == "nothing" and "no sign of UniMedVL" in found.closing


def dicom(pixels: np.ndarray | None, **elements) -> bytes:
    """A secondary capture that says it was synthesised here; pixels [H, W] or [frames, H, W] uint8."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = SecondaryCaptureImageStorage, generate_uid(), "OT"
    maker, purpose = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "109100", "DCM", "Synthesizing Equipment"
    maker.Manufacturer, maker.ManufacturerModelName = "UniMedVL", "nano"
    maker.PurposeOfReferenceCodeSequence = [purpose]
    data.SyntheticData, data.ContributingEquipmentSequence = "YES", [maker]
    if pixels is not None:
        data.Rows, data.Columns = pixels.shape[-2:]
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit, data.PixelData = 7, pixels.tobytes()
        data["PixelData"].VR = "OB"
        if pixels.ndim == 3:
            data.NumberOfFrames = len(pixels)
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    meta = data.file_meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_a_dicom_file_is_told_by_its_attributes_and_its_pixels(marked_pixels):
    found = verify(dicom(marked_pixels[..., 0]))
    assert found.told.made and found.told.software == "UniMedVL nano" and found.watermark.found
    assert found.verdict == "made"


def test_a_window_does_not_hide_the_watermark(marked_pixels):
    assert verify(dicom(marked_pixels[..., 0], WindowCenter="128", WindowWidth="280")).watermark.found


def test_it_is_found_on_one_frame_of_several(marked_pixels, picture_of):
    plain = picture_of("mri", 128)[..., 0]
    found = verify(dicom(np.stack([marked_pixels[..., 0], plain, plain, plain])))
    assert found.watermark.found and found.verdict == "made"


def test_a_dicom_file_without_pixels_is_told_by_its_attributes():
    found = verify(dicom(None))
    assert (found.size, found.verdict) == (None, "signs") and "the metadata" in found.closing


def test_a_large_picture_is_looked_at_smaller(picture_of, provenance):
    large = np.asarray(Image.fromarray(picture_of("endoscopy", 256)).resize((2600, 2300)))
    found = verify(encoded(large[:, :, :], provenance, "jpeg"))
    assert found.size == (2600, 2300) and found.watermark.found and found.verdict == "made"


@pytest.mark.parametrize("data", [b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 99])
def test_what_is_no_picture_is_refused_in_one_line(data):
    with pytest.raises(ImagingError) as caught:
        verify(data)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_refused(made):
    for name in ("made.png", "made.jpg", "made.webp"):
        with pytest.raises(ImagingError, match=r"made\.|damaged|bytes"):
            verify((made / name).read_bytes()[:3000])
