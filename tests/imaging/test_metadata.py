"""What a made picture's file says of itself, in every format, and what is not believed."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from unimedvl.imaging import ImagingError, read_image, read_provenance
from unimedvl.imaging.metadata import PROVENANCE_KEY, SYNTHETIC, digest_of, packet, told_by
from unimedvl.provenance import written

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
PROVENANCE = {"seed": 7, "weights_sha256": "ab" * 32, "task": "generate", "prompt": "Röntgen \u2014 \n \"x\" <&'>"}


def test_a_png_carries_provenance_and_the_synthetic_mark():
    data = written(PIXELS, PROVENANCE)
    assert read_provenance(data) == PROVENANCE
    with PillowImage.open(io.BytesIO(data)) as picture:
        assert np.array_equal(np.asarray(picture), PIXELS)
        assert "SYNTHETIC" in picture.text["Comment"] and "Not for clinical use" in picture.text["Comment"]
        assert picture.text["Software"] == "UniMedVL"
        assert "digitalsourcetype/trainedAlgorithmicMedia" in picture.text["XML:com.adobe.xmp"]
        ElementTree.fromstring(picture.text["XML:com.adobe.xmp"])


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_every_format_says_the_same(kind):
    data = written(PIXELS, PROVENANCE, kind)
    with PillowImage.open(io.BytesIO(data)) as picture:
        told = told_by(picture)
    assert (told.provenance, told.digest, told.made) == (PROVENANCE, digest_of(PROVENANCE), True)
    assert (told.software, told.comment) == ("UniMedVL", SYNTHETIC)
    assert read_image(data).details["synthetic"] is True


def test_a_tiff_that_kept_the_packet_is_read():
    stream = io.BytesIO()
    tags = {700: packet(PROVENANCE, digest_of(PROVENANCE))}
    PillowImage.fromarray(PIXELS).save(stream, "TIFF", tiffinfo=tags)
    assert read_provenance(stream.getvalue()) == PROVENANCE


def test_what_a_jpeg_has_no_room_for_is_left_out_and_its_hash_stays():
    long = PROVENANCE | {"prompt": "x" * 70_000}
    data = written(PIXELS, long, "jpeg", sign=False)
    with PillowImage.open(io.BytesIO(data)) as picture:
        told = told_by(picture)
    assert told.provenance is None and told.made and told.digest == digest_of(long)
    assert read_provenance(written(PIXELS, long, "webp", sign=False)) == long


def test_the_hash_does_not_hang_on_the_order_of_keys_or_on_tuples():
    assert digest_of({"a": 1, "b": (2, 3)}) == digest_of({"b": [2, 3], "a": 1}) != digest_of({"a": 1})


@pytest.mark.parametrize("provenance", [{"x": object()}, {"x": float("nan")}])
def test_provenance_must_be_json(provenance):
    with pytest.raises((TypeError, ValueError)):
        written(PIXELS, provenance)


@pytest.mark.parametrize("text", ["[1]", "{", "nan"])
def test_a_damaged_provenance_is_told(text):
    info, stream = PngInfo(), io.BytesIO()
    info.add_itxt(PROVENANCE_KEY, text)
    PillowImage.fromarray(PIXELS).save(stream, "PNG", pnginfo=info)
    with pytest.raises(ImagingError, match="no JSON object|damaged PNG"):
        read_provenance(stream.getvalue())


@pytest.mark.parametrize("xmp", [b"", b"<broken", b"\xff\xfe", b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>"])
def test_a_packet_that_is_none_says_nothing(xmp):
    stream = io.BytesIO()
    PillowImage.fromarray(PIXELS).save(stream, "JPEG", xmp=xmp)
    with PillowImage.open(stream) as picture:
        told = told_by(picture)
    assert told.provenance is None and not told.made and not told.digest


def test_pictures_without_provenance(tmp_path, make_picture):
    (tmp_path / "plain.png").write_bytes(make_picture(PIXELS, "PNG"))
    (tmp_path / "plain.jpg").write_bytes(make_picture(PIXELS, "JPEG"))
    assert read_provenance(tmp_path / "plain.png") is None and read_provenance(tmp_path / "plain.jpg") is None
    assert "synthetic" not in read_image(tmp_path / "plain.png").details
    with pytest.raises(ImagingError, match="no such file"):
        read_provenance(tmp_path / "none.png")


def test_the_original_of_a_picture_is_read_again_only_while_it_is_the_same(tmp_path, make_picture):
    data = make_picture(PIXELS, "PNG")
    (tmp_path / "in.png").write_bytes(data)
    from_file, from_bytes = read_image(tmp_path / "in.png").original, read_image(data).original
    assert from_file.read() == from_bytes.read() == data and from_file.kind == "png"
    (tmp_path / "in.png").write_bytes(data + b"x")
    assert from_file.read() is None
    (tmp_path / "in.png").unlink()
    assert from_file.read() is None
    assert read_image(PIXELS).original is None
