"""A build that finds no room: one line, nothing half-written, and it goes on later to the same bytes.

The room is the largest size that the system lets a file of the process have (RLIMIT_FSIZE), so failures are real.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from unimedvl.data.build.failure import told_in_one_line
from unimedvl.data.build.recipe import BuildRecipe
from unimedvl.data.build.run import run_build
from unimedvl.data.error import DataError

INPUTS = {"inputs": [{"name": "vqa-rad", "miniature": True}], "evaluation": [{"name": "slake", "miniature": True}]}


def recipe(folder: Path, processes: int = 1) -> BuildRecipe:
    return BuildRecipe.model_validate(INPUTS | {"folder": folder, "chunk": 2, "shard": 3, "processes": processes})


@pytest.fixture(scope="module")
def alone(tmp_path_factory, hashes) -> tuple[dict, dict[str, str], int]:
    """Of a build that has room its report, its hashes, and the size of its largest file."""
    folder = tmp_path_factory.mktemp("room") / "alone"
    report = run_build(recipe(folder))
    return report, hashes(folder), max(p.stat().st_size for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(("processes", "shares"), [(1, (0.01, 0.3, 0.6, 0.99)), (2, (0.99,))])
def test_a_build_without_room_leaves_whole_files_and_goes_on_later(alone, hashes, room, tmp_path, processes, shares):
    report, whole, largest = alone
    build = recipe(tmp_path / "torn")
    before: dict[str, str] = {}
    for share in shares:
        with room(int(share * largest)), pytest.raises(DataError, match=rf"^{tmp_path}[^\n]*: File too large$"):
            run_build(recipe(build.folder, processes))
        found = hashes(build.folder)
        assert before.items() <= found.items() <= whole.items()  # nothing is half-written, and nothing lost
        before = found
    assert before
    assert run_build(build) == report and hashes(build.folder) == whole


def no_folder(settings: Path, lane: int, lanes: int):
    yield 1
    (settings / "none" / "x").mkdir()


def test_an_error_of_the_system_in_a_lane_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"^/.*/none/x: No such file or directory$"):
        list(told_in_one_line(no_folder, tmp_path, 0, 1))
