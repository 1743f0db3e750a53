"""The progress of a build's stages on standard error: bars where somebody looks, else a line as each stage ends."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from unimedvl.cli.terminal import Terminal


class StageProgress:
    """Takes what a build tells, (stage, done more, of how many), and shows it."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        columns = (TextColumn("{task.description:<16}"), BarColumn(), TextColumn("{task.fields[count]}"),
                   TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
        self._bars = Progress(*columns, console=terminal.errors, disable=not terminal.progress)
        self._tasks: dict[str, TaskID] = {}
        self._stage, self._done, self._began = "", 0, 0.0

    def __enter__(self) -> StageProgress:
        self._bars.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._ended()
        self._bars.stop()

    def told(self, stage: str, done: int, total: int | None) -> None:
        if stage != self._stage:
            self._ended()
            self._stage, self._done, self._began = stage, 0, time.monotonic()
            self._tasks[stage] = self._bars.add_task(stage, total=total, count="")
        self._done += done
        # More may come than was thought, where a source has more than is published of it.
        total = None if total is None else max(total, self._done)
        count = f"{self._done:,}" if total is None else f"{self._done:,} of {total:,}"
        self._bars.update(self._tasks[stage], completed=self._done, total=total, count=count)

    def _ended(self) -> None:
        if self._stage:
            self._bars.update(self._tasks[self._stage], total=max(self._done, 1), completed=max(self._done, 1))
            if not self.terminal.progress:
                took = time.monotonic() - self._began
                self.terminal.note(f"{self._stage}: {self._done:,} in {took:.1f} s")
