"""Files that are written, or appended to, whole or not at all, where a file may have so many bytes alone."""

from __future__ import annotations

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.whole import append_whole, written_whole


def test_a_file_that_finds_no_room_leaves_the_one_before(tmp_path, room):
    file = tmp_path / "x.json"
    with written_whole(file) as part:
        part.write_text("before")
    with room(100), pytest.raises(DataError, match=r"x.json: File too large$"), written_whole(file) as part:
        part.write_text("y" * 101)
    assert file.read_text() == "before" and list(tmp_path.iterdir()) == [file]


def test_what_finds_room_in_part_only_is_taken_back(tmp_path, room):
    file = tmp_path / "x.jsonl"
    with room(100):
        append_whole(file, b"one\n")
        with pytest.raises(DataError, match="x.jsonl: File too large$"):
            append_whole(file, b"x" * 100 + b"\n")
        append_whole(file, b"two\n")
    assert file.read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("place", ["none/x", "file/x"])
def test_a_folder_that_is_none_is_told(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=f"{place}: N"), written_whole(tmp_path / place) as part:
        part.write_text("x")
    with pytest.raises(DataError, match=f"{place}: N"):
        append_whole(tmp_path / place, b"x")
