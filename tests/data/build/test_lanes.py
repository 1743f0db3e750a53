"""Lanes and chunks: all work is done once, failures and kills are told, half-written files are no chunks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from unimedvl.data.build.chunks import Chunk, chunks_of, cut, write_json
from unimedvl.data.build.lanes import run_lanes
from unimedvl.data.error import DataError


def write_squares(folder, lane, lanes):
    for n in range(lane, 20, lanes):
        (Path(folder) / f"{n}").write_text(str(n * n))
        yield 1


def die_in_one(_, lane, lanes):
    yield 1
    if lane == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("lanes", [1, 2])
def test_every_item_is_done_once_and_told(tmp_path, lanes):
    assert sum(run_lanes(write_squares, str(tmp_path), lanes)) == 20
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {str(n): str(n * n) for n in range(20)}


def test_a_lane_that_fails_ends_the_build(failing):
    work, error = failing
    with pytest.raises(DataError, match=error):
        list(run_lanes(work, None, 2))


def test_a_lane_that_is_killed_ends_the_build():
    with pytest.raises(DataError, match=r"process 1 .* killed"):
        list(run_lanes(die_in_one, None, 2))


def write_for_ever(folder, lane, lanes):
    while True:
        (Path(folder) / f"{lane}").write_text(str(time.monotonic()))
        yield 1
        time.sleep(0.01)


def test_lanes_die_with_a_build_that_is_killed(tmp_path):
    build = multiprocessing.get_context("spawn").Process(target=_run_for_ever, args=(str(tmp_path),))
    build.start()
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    build.kill()
    build.join()
    while time.monotonic() < deadline:
        before = [p.read_text() for p in sorted(tmp_path.iterdir())]
        time.sleep(0.3)
        if before == [p.read_text() for p in sorted(tmp_path.iterdir())]:
            return
    raise AssertionError("the lanes still write")


def _run_for_ever(folder: str) -> None:
    list(run_lanes(write_for_ever, folder, 2))


def test_a_chunk_without_its_page_is_not_done(tmp_path):
    first, second = Chunk(tmp_path, 0), Chunk(tmp_path, 1)
    first.write_page({"read": 0})
    second.shard.write_bytes(b"half")
    (tmp_path / "000002.json.part").write_text("{")
    assert first.done and not second.done and chunks_of(tmp_path) == [first]
    assert first.read_page() == {"read": 0}
    first.page.write_text("{")
    with pytest.raises(DataError, match=r"000000.json: can't be read: .*; remove it and build again"):
        first.read_page()


def test_a_page_that_can_not_be_written_is_told(tmp_path):
    with pytest.raises(DataError, match="No such file or directory"):
        write_json(tmp_path / "none" / "x.json", {})


def test_items_are_cut_without_loss():
    assert list(cut(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]] and list(cut([], 3)) == []
