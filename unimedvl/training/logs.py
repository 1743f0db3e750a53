"""What a training tells: JSON lines and TensorBoard always, Weights & Biases where wished for, and what ran it.

A run that goes on from a checkpoint takes steps again; lines of those are removed, so a log reads as if the run had
never been interrupted.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from unimedvl.inference.results import versions

logger = logging.getLogger(__name__)


class LineLog:
    """Means of what was added, one JSON line every so many steps.

    done: steps that the run has behind it.
    """

    def __init__(self, file: Path, done: int = 0) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = file.read_text().splitlines() if file.is_file() else []
        kept = [line for line in lines if _is_record(line) and json.loads(line)["step"] <= done]
        if kept != lines:
            part = file.with_suffix(".part")
            part.write_text("".join(line + "\n" for line in kept))
            part.replace(file)
        self.file = file
        self.started = time.monotonic() - (json.loads(kept[-1])["seconds"] if kept else 0)
        self.sums: dict[str, Tensor | float] = {}
        self.counts: dict[str, int] = {}

    def add(self, step: int, every: int, **values: Tensor | float) -> None:
        """Add values of a step; every so many steps the means are written."""
        for name, value in values.items():
            # Not yet a number of Python's: that would wait for the GPU in each step.
            self.sums[name] = self.sums.get(name, 0.0) + (value.double() if isinstance(value, Tensor) else value)
            self.counts[name] = self.counts.get(name, 0) + 1
        if step % every == 0:
            self.write(step, {name: float(total) / self.counts[name] for name, total in self.sums.items()})
            self.sums, self.counts = {}, {}

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Write one line. Numbers keep six digits."""
        record = {"step": step, "seconds": round(time.monotonic() - self.started, 1)}
        record |= {n: float(f"{v:.6g}") if isinstance(v, float) else v for n, v in values.items()}
        with self.file.open("a") as out:
            out.write(json.dumps(record) + "\n")
        logger.info("%s: %s", self.file.stem, record)


def _is_record(line: str) -> bool:
    """False for what a killed process left half-written."""
    try:
        return "step" in json.loads(line)
    except ValueError:
        return False


class Logs:
    """The logs of a run's folder: `log.jsonl`, `tensorboard/`, and a project of Weights & Biases."""

    def __init__(self, folder: Path, done: int, wandb: str | None, recipe: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._lines = LineLog(folder / "log.jsonl", done)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)
        self._wandb = _wandb(folder, wandb, recipe) if wandb else None

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Values of a step, by name; those that are numbers become curves."""
        self._lines.write(step, values)
        numbers = {name: v for name, v in values.items() if isinstance(v, int | float)}
        for name, value in numbers.items():
            self._board.add_scalar(name, value, step)
        if self._wandb:
            self._wandb.log(numbers, step=step)

    def picture(self, step: int, name: str, image) -> None:
        """An image [H, W, 3] uint8."""
        self._board.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        self._board.close()
        if self._wandb:
            self._wandb.finish()


def _wandb(folder: Path, project: str, recipe: dict[str, Any]):
    from unimedvl.training.error import TrainingError

    try:
        import wandb
    except ImportError as error:
        raise TrainingError("log.wandb needs Weights & Biases: pip install 'unimedvl[wandb]'") from error
    return wandb.init(project=project, dir=str(folder), config=recipe, id=folder.name, resume="allow")


def surroundings() -> dict[str, Any]:
    """What a run depends on beside its recipe: versions, the state of the repository, the machine and variables."""
    named = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "WORLD_SIZE", "PYTORCH_ALLOC_CONF")
    return {
        "versions": versions(),
        "python": sys.version.split()[0],
        "git": _git(),
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "gpu": _gpu()},
        "environment": {name: os.environ[name] for name in named if name in os.environ},
        "command": sys.argv,
    }


def _git() -> dict[str, Any] | None:
    """Commit of the source and whether it was changed; None for an installed package."""
    place = Path(__file__).parent

    def ask(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=place, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain", "."))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
