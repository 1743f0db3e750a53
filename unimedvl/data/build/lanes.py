"""A stage's work shared out over processes: each lane walks the same input and takes every n-th piece of it.

What a lane writes does not depend on how many there are, so a build gives the same files on any number of
processes, and one that was stopped may go on with another number.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from unimedvl.data.error import DataError

# A lane's work: (settings, lane, lanes); it yields how many items it has done, as it does them.
Work = Callable[[Any, int, int], Iterator[int]]
# What runs all lanes of a work: (work, settings, lanes); it yields what they yield, as they do.
Engine = Callable[[Work, Any, int], Iterator[int]]
_WAIT = 0.5  # seconds between looks at whether the lanes still live


def run_lanes(work: Work, settings: Any, lanes: int) -> Iterator[int]:
    """Run every lane to its end; yields the number of items done, as they are done.

    One lane runs in this process. `work` and `settings` must be picklable where there are more.

    Raises:
        DataError: a lane failed or was killed; the others are stopped.
    """
    if lanes == 1:
        yield from work(settings, 0, 1)
        return
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    arguments = [(work, settings, lane, lanes, told) for lane in range(lanes)]
    processes = [context.Process(target=_lane, args=a, daemon=True) for a in arguments]
    for process in processes:
        process.start()
    try:
        yield from _until_done(processes, told)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _until_done(processes: list, told) -> Iterator[int]:
    running = len(processes)
    while running:
        try:
            message = told.get(timeout=_WAIT)
        except queue.Empty:
            for number, process in enumerate(processes):
                if process.exitcode not in (None, 0):
                    raise DataError(f"process {number} of the build was killed ({process.exitcode})") from None
            continue
        if isinstance(message, int):
            yield message
        elif message is None:
            running -= 1
        else:
            raise DataError(message)


def _lane(work: Work, settings: Any, lane: int, lanes: int, told) -> None:
    # An interrupt at the terminal reaches all processes; the build ends its lanes itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_the_build, daemon=True).start()
    try:
        for done in work(settings, lane, lanes):
            told.put(done)
        told.put(None)
    except DataError as error:
        told.put(str(error))
    except Exception:  # noqa: BLE001 - whatever it was, the build must hear of it
        told.put(f"a process of the build failed: {traceback.format_exc()}")


def _die_with_the_build() -> None:
    """End this process when the one that started it is gone: a build that is started again must be alone."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
