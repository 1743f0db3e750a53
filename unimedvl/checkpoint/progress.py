"""How far a long read of a checkpoint is: told to a function, or drawn as a bar on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]


@contextmanager
def reporter(
    progress: Progress | bool, total: int, what: str, transient: bool = False
) -> Iterator[Callable[[int], None]]:
    """A function that takes bytes as they are read.

    progress: told the bytes read and `total`; True draws a bar called `what`; False keeps silent.
    transient: take the bar away at the end.
    """
    if progress is False:
        yield lambda count: None
    elif progress is True:
        with _bar(total, what, transient) as advance:
            yield advance
    else:
        read = 0

        def tell(count: int) -> None:
            nonlocal read
            read += count
            progress(read, total)

        yield tell


@contextmanager
def _bar(total: int, what: str, transient: bool) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=transient) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
