"""Where a made picture goes: told beforehand, and written whole or not at all."""

import os
import stat

import pytest

from unimedvl.imaging import ImagingError, check_output
from unimedvl.imaging.output import write_whole

DATA = b"a picture"


def test_new_files_have_the_usual_permissions(tmp_path):
    write_whole(DATA, tmp_path / "a.png")
    (tmp_path / "b").touch()
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_a_file_is_replaced_and_links_are_followed(tmp_path):
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to("real.png")
    write_whole(DATA, tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink() and (tmp_path / "real.png").read_bytes() == DATA


def test_relative_names_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_whole(DATA, "out.PNG")
    assert (tmp_path / "out.PNG").read_bytes() == DATA


def test_output_that_cannot_be_is_told_beforehand(tmp_path):
    (tmp_path / "file").touch()
    for path, why in ((tmp_path / "no" / "out.png", "does not exist"), (tmp_path, "is a folder"),
                      (str(tmp_path / "x") + "/", "is a folder"), (tmp_path / "out.bmp", "must end in one of .png"),
                      (tmp_path / "file" / "out.png", "not a folder|cannot be written"),
                      (tmp_path / ("x" * 300 + ".png"), "too long"), ("a\x00.png", "null")):
        with pytest.raises(ImagingError, match=why) as caught:
            check_output(path)
        assert "\n" not in str(caught.value)
        with pytest.raises(ImagingError):
            write_whole(DATA, path)
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
    write_whole(b"old", path)

    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr("unimedvl.imaging.output.os.fsync", full)
    with pytest.raises(ImagingError, match="No space left"):
        write_whole(DATA, path)
    assert os.listdir(tmp_path) == ["out.png"] and path.read_bytes() == b"old"
