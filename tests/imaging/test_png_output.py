import os
import stat
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image as PillowImage

from unimedvl.imaging import ImagingError, check_output, read_image, read_provenance, save_png

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
PROVENANCE = {"seed": 7, "weights_sha256": "ab" * 32, "task": "generate", "prompt": "Röntgen \u2014 \n \"x\""}


def test_saved_picture_carries_provenance_and_the_synthetic_mark(tmp_path):
    path = tmp_path / "out.png"
    save_png(PIXELS, path, PROVENANCE)
    assert read_provenance(path) == PROVENANCE
    with PillowImage.open(path) as picture:
        assert np.array_equal(np.asarray(picture), PIXELS)
        assert "SYNTHETIC" in picture.text["Comment"] and "Not for clinical use" in picture.text["Comment"]
        assert picture.text["Software"] == "UniMedVL"
        assert "digitalsourcetype/trainedAlgorithmicMedia" in picture.text["XML:com.adobe.xmp"]
        ElementTree.fromstring(picture.text["XML:com.adobe.xmp"])
    assert read_image(path).details["synthetic"] is True
    assert os.listdir(tmp_path) == ["out.png"]


def test_new_files_have_the_usual_permissions(tmp_path):
    save_png(PIXELS, tmp_path / "a.png", {})
    (tmp_path / "b").touch()
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_a_file_is_replaced_and_links_are_followed(tmp_path):
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to("real.png")
    save_png(PIXELS, tmp_path / "link.png", {})
    assert (tmp_path / "link.png").is_symlink() and read_provenance(tmp_path / "real.png") == {}


def test_relative_names_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_png(PIXELS, "out.PNG", {"a": 1})
    assert read_provenance("out.PNG") == {"a": 1}


def test_output_that_cannot_be_is_told_beforehand(tmp_path):
    (tmp_path / "file").touch()
    for path, why in ((tmp_path / "no" / "out.png", "does not exist"), (tmp_path, "is a folder"),
                      (str(tmp_path / "x") + "/", "is a folder"), (tmp_path / "out.jpg", "must end in .png"),
                      (tmp_path / "file" / "out.png", "not a folder|cannot be written"),
                      (tmp_path / ("x" * 300 + ".png"), "too long"), ("a\x00.png", "null")):
        with pytest.raises(ImagingError, match=why) as caught:
            check_output(path)
        assert "\n" not in str(caught.value)
        with pytest.raises(ImagingError):
            save_png(PIXELS, path, {})
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs Unix permissions")
def test_read_only_folder(tmp_path):
    if os.geteuid() == 0:                     # root may write to any folder but those of the kernel
        folder = "/proc/self"
        if not os.path.isdir(folder):
            pytest.skip("no folder that root cannot write to")
    else:
        tmp_path.chmod(0o555)
        folder = str(tmp_path)
    with pytest.raises(ImagingError, match="cannot be written.*writable folder"):
        check_output(f"{folder}/out.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs Unix files")
def test_devices_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImagingError, match="pipe, socket or device"):
        check_output(tmp_path / "pipe.png")


def test_nothing_is_left_and_the_old_file_stays_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "out.png"
    save_png(PIXELS, path, {"old": True})

    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr("unimedvl.imaging.output.os.fsync", full)
    with pytest.raises(ImagingError, match="No space left"):
        save_png(PIXELS, path, {"old": False})
    assert os.listdir(tmp_path) == ["out.png"] and read_provenance(path) == {"old": True}


@pytest.mark.parametrize("pixels", [PIXELS[..., 0], PIXELS / 255, PIXELS[:0]])
def test_only_uint8_rgb_is_saved(tmp_path, pixels):
    with pytest.raises(ValueError):
        save_png(pixels, tmp_path / "out.png", {})
    assert os.listdir(tmp_path) == []


def test_provenance_must_be_json(tmp_path):
    with pytest.raises((TypeError, ValueError)):
        save_png(PIXELS, tmp_path / "out.png", {"x": object()})
    assert os.listdir(tmp_path) == []


def test_pictures_without_provenance(tmp_path, make_picture):
    (tmp_path / "plain.png").write_bytes(make_picture(PIXELS, "PNG"))
    (tmp_path / "plain.jpg").write_bytes(make_picture(PIXELS, "JPEG"))
    assert read_provenance(tmp_path / "plain.png") is None and read_provenance(tmp_path / "plain.jpg") is None
    with pytest.raises(ImagingError, match="no such file"):
        read_provenance(tmp_path / "none.png")
