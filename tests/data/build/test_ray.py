"""The lanes as tasks of a real local Ray: the same bytes as processes make, and failures are told."""

from __future__ import annotations

import sys

import pytest
import ray

from unimedvl.data.build.ray_engine import run_ray, start_ray
from unimedvl.data.build.recipe import BuildRecipe
from unimedvl.data.build.run import run_build
from unimedvl.data.error import DataError


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One Ray for all tests here: starting it takes seconds."""
    # The workers can't import this file, so its functions travel to them.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    start_ray(2)
    yield
    ray.shutdown()


def count_in_turn(_, lane, lanes):
    yield from range(lane, 6, lanes)


def test_every_lane_is_run_and_told():
    assert sorted(run_ray(count_in_turn, None, 2)) == list(range(6))


def test_a_task_that_fails_ends_the_build(failing):
    work, error = failing
    # Nor can they import the file that it is in.
    ray.cloudpickle.register_pickle_by_value(sys.modules[work.__module__])
    with pytest.raises(DataError, match=error):
        list(run_ray(work, None, 2))


def test_ray_makes_the_same_bytes_as_processes(tmp_path, hashes):
    given = {"inputs": [{"name": name, "miniature": True} for name in ("vqa-rad", "openi")], "chunk": 2}
    reports = [
        run_build(BuildRecipe.model_validate(given | {"folder": tmp_path / name, "processes": processes}), *engine)
        for name, processes, *engine in (("ray", 2, run_ray), ("here", 1))
    ]
    assert reports[0] == reports[1] and hashes(tmp_path / "ray") == hashes(tmp_path / "here")
