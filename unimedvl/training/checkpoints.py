"""Checkpoints of a run: written beside the training, whole or not at all, and found again by any number of ranks.

A checkpoint is a folder `checkpoints/step-00001200` of PyTorch's distributed format (DCP), which ranks write together
and any other number of them reads, and `state.json` with where the run stood. It is written under another name and
renamed when all ranks are done, so a folder of that name is whole; what a killed run left half-written is
removed when the next checkpoint is. States are copied before the training goes on, and written by a thread.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from unimedvl.training.error import TrainingError
from unimedvl.training.parallel import World
from unimedvl.training.recipe import Saves

CHECKPOINTS = "checkpoints"  # the folder of a run's that they lie in
_NAME, _PART, _STATE = "step-{:08d}", ".part", "state.json"


@dataclass
class _Writing:
    future: Future
    part: Path
    done: Path
    state: dict


class Checkpoints:
    """The checkpoints of a run's folder."""

    def __init__(self, folder: Path, world: World, settings: Saves) -> None:
        self.folder, self.world, self.settings = folder / CHECKPOINTS, world, settings
        self._writing: _Writing | None = None

    def newest(self) -> Path | None:
        """The newest whole checkpoint."""
        found = whole_checkpoints(self.folder)
        return found[-1] if found else None

    def save(self, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Begin to write; the last one is finished first.

        tensors: what the ranks share or have alike. state: what goes into state.json.

        Raises:
            TrainingError: the disk refuses. The newest whole checkpoint stays.
        """
        import torch.distributed.checkpoint as dcp

        self.finish()
        done = self.folder / _NAME.format(step)
        if done.exists():
            return
        part = done.with_suffix(_PART)
        if self.world.first:
            self._make_room(part)
        self.world.wait()
        alone = self.world.saves is None

        # DCP warns where there are no ranks, and does so in its thread, which outlasts any `catch_warnings` here.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        future = self._told(
            lambda: dcp.async_save(tensors, checkpoint_id=part, process_group=self.world.saves, no_dist=alone)
        )
        self._writing = _Writing(future, part, done, state)

    def poll(self) -> None:
        """Finish what is written, if it is. All ranks must call this together."""
        if self._writing and self.world.sum([self._writing.future.done()]) == [self.world.size]:
            self.finish()

    def finish(self) -> None:
        """Wait until what is being written is whole. Raises TrainingError as `save`."""
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        self._told(writing.future.result)
        if self.world.first:
            self._told(lambda: self._complete(writing))
        self.world.wait()

    def _complete(self, writing: _Writing) -> None:
        file = writing.part / _STATE
        with file.open("w") as out:
            json.dump(writing.state, out)
            out.flush()
            os.fsync(out.fileno())
        writing.part.rename(writing.done)
        _remove_old(self.folder, self.settings)

    def _make_room(self, part: Path) -> None:
        def clear() -> None:
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob(f"*{_PART}"):
                shutil.rmtree(left)
            part.mkdir()

        self._told(clear)

    def _told(self, work):
        from torch.distributed.checkpoint.api import CheckpointException

        try:
            return work()
        except (Exception, CheckpointException) as error:  # the second is no Exception
            raise TrainingError(
                f"{self.folder}: a checkpoint can't be written: {_root(error)}; the newest whole one stays, and the "
                "run goes on from there when it is started again"
            ) from error


def _root(error: BaseException) -> str:
    """What the disk said, in one line."""
    failures = getattr(error, "failures", None)
    if failures:
        first = next(iter(failures.values()))
        error = first[0] if isinstance(first, tuple) else first
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return getattr(error, "strerror", None) or str(error).splitlines()[0] if str(error) else type(error).__name__


def whole_checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, the newest last."""
    return sorted(p for p in folder.glob("step-*") if p.suffix != _PART and (p / _STATE).is_file())


def _remove_old(folder: Path, settings: Saves) -> None:
    for path in whole_checkpoints(folder)[: -settings.last]:
        if not (settings.keep and step_of(path) % settings.keep == 0):
            # Under the other name first: half-removed it must not pass for whole.
            away = path.with_suffix(_PART)
            path.rename(away)
            shutil.rmtree(away)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[1])


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Where the run stood. Raises TrainingError where the checkpoint is no such folder."""
    try:
        return json.loads((checkpoint / _STATE).read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{checkpoint}: no checkpoint of a training: {error}") from error


def read_tensors(checkpoint: Path, into: dict[str, Tensor], world: World) -> None:
    """Fill tensors, however they are shared out now, with what the checkpoint has under their names.

    Raises:
        TrainingError: it lacks one of them, or has it in another shape.
    """
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        with warnings.catch_warnings():  # DCP warns where there are no ranks
            warnings.simplefilter("ignore")
            dcp.load(into, checkpoint_id=checkpoint, process_group=world.saves, no_dist=world.saves is None)
    except (Exception, CheckpointException) as error:
        raise TrainingError(f"{checkpoint}: not a checkpoint of this training: {_root(error)}") from error
