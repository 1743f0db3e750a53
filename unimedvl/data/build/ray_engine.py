"""The lanes of a stage as tasks of Ray, on this machine or on a cluster that `RAY_ADDRESS` names.

Plain tasks, not Ray Data: a lane is a walk over the input that leaves files, and its rows need not travel. On a
cluster the build's folder and those of the sources must be the same on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unimedvl.data.build.lanes import Work
from unimedvl.data.error import DataError

_NICENESS = "RAY_worker_niceness"


def run_ray(work: Work, settings: Any, lanes: int) -> Iterator[int]:
    """As `lanes.run_lanes`. Ray is started where it does not run yet, and ended again.

    Raises:
        DataError: a lane failed or was killed; the others are stopped.
    """
    import ray

    started = not ray.is_initialized()
    if started:
        start_ray(lanes)
    try:
        yield from _until_done(work, settings, lanes)
    finally:
        if started:
            ray.shutdown()


def start_ray(lanes: int) -> None:
    """Join the cluster that `RAY_ADDRESS` names, else start Ray here for so many lanes."""
    import ray

    options: dict = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    if "RAY_ADDRESS" not in os.environ:
        options["num_cpus"] = lanes
    given = os.environ.get(_NICENESS)
    # Ray's own 15 leaves its workers next to nothing where other programs run.
    os.environ[_NICENESS] = given or "0"
    try:
        ray.init(**options)
    finally:
        del os.environ[_NICENESS]
        if given is not None:
            os.environ[_NICENESS] = given


def _until_done(work: Work, settings: Any, lanes: int) -> Iterator[int]:
    import ray

    # A lane that failed is told of, not tried again: what went wrong will go wrong again.
    task = ray.remote(num_returns="streaming", max_retries=0)(_lane)
    running = [task.remote(work, settings, lane, lanes, str(Path.cwd())) for lane in range(lanes)]
    try:
        while running:
            (ready, *_), _ = ray.wait(running, num_returns=1)
            try:
                yield ray.get(next(ready))
            except StopIteration:
                running.remove(ready)
            except ray.exceptions.RayTaskError as error:
                raise _told(error) from error
            except ray.exceptions.RayError as error:
                raise DataError(f"a task of the build was killed: {str(error).splitlines()[0]}") from error
    finally:
        for left in running:
            ray.cancel(left, force=True)


def _told(error) -> DataError:
    if isinstance(error.cause, DataError):
        return DataError(str(error.cause))
    return DataError(f"a task of the build failed: {error}")


def _lane(work: Work, settings: Any, lane: int, lanes: int, folder: str) -> Iterator[int]:
    os.chdir(folder)  # from where the recipe's relative paths are meant
    # One by one: Ray sends into the generator, which not all that `yield from` hands on can take.
    for done in work(settings, lane, lanes):  # noqa: UP028
        yield done
