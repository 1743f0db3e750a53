"""What every training here shares: the rate's schedule, its chance, the log, and states written whole or not at all.

A step's batch and noise follow from the seed, the step and the process alone. So a run that was killed and goes on
from its last state takes the same steps, to the last bit, as one that was never interrupted.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None

logger = logging.getLogger(__name__)

T = TypeVar("T")
# How long processes wait for each other, for one may train a smaller part alone.
PATIENCE = timedelta(hours=12)


def cosine(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then half a cosine down to a twentieth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def chance(seed: int, step: int) -> np.random.Generator:
    """What is drawn by chance for a step, in this process."""
    return np.random.default_rng((seed, step, rank()))


def reseed(seed: int, step: int) -> None:
    """Make what torch draws by chance in a step depend on the seed, the step and the process alone."""
    torch.manual_seed(int(chance(seed, step).integers(2**62)))


def batches_of(steps: range, data: Dataset, workers: int | None = 1) -> Iterator:
    """The batches ``data[step]`` of some steps in order, made by other processes while one is trained on.

    workers: how many processes; where None, one beside a CPU that trains, and beside a GPU all cores.
    """
    if workers is None:
        workers = max(1, (os.cpu_count() or 1) // local_processes() - 1) if device().type == "cuda" else 1
    _allow_many_files()
    return iter(DataLoader(data, batch_size=None, sampler=steps, num_workers=workers, prefetch_factor=2 + 2 // workers))


def _allow_many_files() -> None:
    """Each tensor of a batch that waits is an open file, and the usual limit is meant to be raised by who needs it."""
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class RunLog:
    """Means of what was added, one JSON line every so many steps.

    done: steps that the run has behind it. Lines of later ones, which will be taken again, are removed.
    writes: whether this process is the one that adds; where several train together, one of them does.
    """

    def __init__(self, file: Path, done: int = 0, writes: bool = True) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = file.read_text().splitlines() if file.is_file() else []
        kept = [line for line in lines if _is_record(line) and json.loads(line)["step"] <= done]
        if kept != lines and writes:
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
        if step % every:
            return
        record = {"step": step, "seconds": round(time.monotonic() - self.started, 1)}
        record |= {name: round(float(total) / self.counts[name], 4) for name, total in self.sums.items()}
        with self.file.open("a") as out:
            out.write(json.dumps(record) + "\n")
        logger.info("%s: %s", self.file.stem, record)
        self.sums, self.counts = {}, {}


def _is_record(line: str) -> bool:
    """False for what a killed process left half-written."""
    try:
        return "step" in json.loads(line)
    except ValueError:
        return False


def save_state(file: Path, state: dict) -> None:
    """Write a state so that the last good one stays until the new one is whole."""
    part = file.with_suffix(".part")
    torch.save(state, part)
    part.replace(file)


def device() -> torch.device:
    """Where to train: the process's own GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", rank() % torch.cuda.device_count())
    return torch.device("cpu")


def join_processes() -> None:
    """Join the other processes where torchrun started several, and share the cores with them."""
    if "RANK" not in os.environ or dist.is_initialized():
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // local_processes()))


def shared_out(*works: Callable[[], T]) -> list[T]:
    """Results of pieces of work that do not need each other, each done by one of the processes.

    A piece must leave its result on disk, and give it from there when called again, as the other processes do.
    """
    done = {i: work() for i, work in enumerate(works) if i % processes() == rank()}
    if dist.is_initialized():
        dist.barrier()
    return [done[i] if i in done else work() for i, work in enumerate(works)]


def leave_processes() -> None:
    """Let the others go: what follows is the first process's work alone."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def rank() -> int:
    """Which of the processes of this run we are; 0 where there is one."""
    return int(os.environ.get("RANK", 0))


def processes() -> int:
    """How many processes this run has, over all machines."""
    return int(os.environ.get("WORLD_SIZE", 1))


def local_processes() -> int:
    """How many processes this run has on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def average_gradients(model: nn.Module) -> None:
    """Make every process's gradients their mean, in one exchange. Nothing to do where there is one process.

    A gradient that a process has not got (no image in its batch, say) counts as zero.
    """
    if not dist.is_initialized() or processes() == 1:
        return
    parameters = [p for p in model.parameters() if p.requires_grad]
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    flat = torch.cat([p.grad.flatten() for p in parameters])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad.copy_(part.view_as(p))
