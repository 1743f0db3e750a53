"""All jobs of the demonstration, one after the other, and where they ran."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from unimedvl.demo import files, studies
from unimedvl.demo.entries import Bench, Entry, Group, Job


@dataclass(frozen=True)
class Chapter:
    """A group with what its jobs gave."""

    group: Group
    entries: tuple[Entry, ...]


def plan(modalities: Sequence[str]) -> list[Group]:
    """Everything that is to be done: simulated studies of some modalities first, then real files."""
    return [*studies.groups(modalities), *files.groups()]


def run(
    groups: Iterable[Group], bench: Bench, starting: Callable[[Group, Job], None] = lambda group, job: None
) -> list[Chapter]:
    """Do all jobs in order. starting: told before each one."""
    chapters = []
    for group in groups:
        entries = []
        for job in group.jobs:
            starting(group, job)
            entries.append(job.run(bench))
        chapters.append(Chapter(group, tuple(entries)))
    return chapters


def machine(device: torch.device) -> str:
    """What computed: the accelerator, or the processor and the threads that PyTorch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    # Only Linux says which cores a process may use.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cores} cores, {torch.get_num_threads()} threads"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
