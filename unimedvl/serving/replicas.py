"""Several processes behind one port, each with an engine of its own; one that dies is replaced.

The processes share the listening socket (`sharing`), and take from it when they are ready: a replica answers nothing
while it loads. Weights are read from mapped files, whose memory the system shares.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from unimedvl.serving.settings import ServerSettings

logger = logging.getLogger(__name__)

# Where replicas put their numbers; prometheus-client looks at it when it is imported.
_NUMBERS = "PROMETHEUS_MULTIPROC_DIR"
# Seconds before a replica that died is started again, by how often it died young.
_PAUSES = (0, 1, 5, 15, 30)
_YOUNG = 60
# Seconds beyond the grace that replicas have to end, before they are killed.
_KILLED = 15


class ReplicaFailed(RuntimeError):
    """A replica that can't start, such as one whose model can't be loaded; as its message says."""


@dataclass
class _Replica:
    """One place among the replicas, and the process that is in it."""

    number: int
    process: BaseProcess | None = None
    news: Connection | None = None
    since: float = 0
    deaths: int = 0
    again: float = field(default=0)  # when it is to be started


class Replicas:
    """The parent: starts the processes, replaces those that die, and ends all of them."""

    def __init__(self, settings: ServerSettings, listening: socket.socket, told: Callable[[str], None]) -> None:
        self._settings, self._listening, self._told = settings, listening, told
        self._places = [_Replica(n) for n in range(settings.replicas)]
        self._ready: set[int] = set()
        self._ending = False

    def run(self) -> None:
        """Until a signal ends it.

        Raises:
            ValueError: the model can't be loaded, in the words of the replica that tried. ReplicaFailed: else.
        """
        folder = tempfile.mkdtemp(prefix="unimedvl-metrics-")
        before = {s: signal.signal(s, self._end) for s in (signal.SIGTERM, signal.SIGINT)}
        os.environ[_NUMBERS] = folder
        try:
            while not self._ending:
                self._start_due()
                self._listen()
        finally:
            self._stop()
            os.environ.pop(_NUMBERS)
            for number, handler in before.items():
                signal.signal(number, handler)
            shutil.rmtree(folder, ignore_errors=True)

    def _end(self, *_: object) -> None:
        self._ending = True

    def _start_due(self) -> None:
        for place in self._places:
            if place.process is None and time.monotonic() >= place.again:
                self._start(place)

    def _start(self, place: _Replica) -> None:
        spawn = multiprocessing.get_context("spawn")
        place.news, theirs = spawn.Pipe(duplex=False)
        arguments = (self._settings, self._listening, place.number, theirs)
        place.process = spawn.Process(target=_work, args=arguments, name=f"replica-{place.number}")
        place.process.start()
        theirs.close()
        place.since = time.monotonic()

    def _listen(self) -> None:
        """Wait for news of the replicas, for a moment."""
        there = [p for p in self._places if p.process is not None]
        heard = wait([*(p.process.sentinel for p in there), *(p.news for p in there if p.news)], timeout=0.2)
        for place in there:
            if place.news in heard:
                self._hear(place)
        for place in there:
            if place.process.sentinel in heard and not self._ending:
                self._died(place)

    def _hear(self, place: _Replica) -> None:
        try:
            word, text, wrong = place.news.recv()
        except (EOFError, OSError):
            place.news = None
            return
        if word == "failed" and place.number not in self._ready:
            raise ValueError(text) if wrong else ReplicaFailed(text)
        if word == "failed":  # one that replaces another; those that are there go on, and it is tried again
            logger.error("replica %d could not be loaded: %s", place.number, text)
            return
        if place.number not in self._ready:
            self._ready.add(place.number)
            if len(self._ready) == len(self._places):
                self._told(f"ready, {len(self._places)} replicas")

    def _died(self, place: _Replica) -> None:
        from prometheus_client import multiprocess

        process = place.process
        process.join()
        multiprocess.mark_process_dead(process.pid)
        lived = time.monotonic() - place.since
        # Before any could answer each counts: a large model may take minutes to die of want of memory.
        place.deaths = place.deaths + 1 if lived < _YOUNG or not self._ready else 0
        if not self._ready and place.deaths == len(_PAUSES):
            raise ReplicaFailed(f"replicas die (exit status {process.exitcode}) before one can answer; see the log")
        pause = _PAUSES[min(place.deaths, len(_PAUSES) - 1)]
        place.process, place.news, place.again = None, None, time.monotonic() + pause
        logger.error("replica %d died (exit status %s); a new one is started", place.number, process.exitcode)

    def _stop(self) -> None:
        processes = [p.process for p in self._places if p.process is not None]
        for process in processes:
            with suppress(OSError):
                process.terminate()
        until = time.monotonic() + self._settings.grace + _KILLED
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()


def _work(settings: ServerSettings, listening: socket.socket, number: int, news: Connection) -> None:
    """One replica: loads, says so, and answers. Ends when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the parent hears it and says what to do
    from unimedvl.serving.logs import set_up

    set_up(settings.log_level, settings.log_json)
    try:
        from unimedvl.serving.app import make_app
        from unimedvl.serving.run import load_engine
        from unimedvl.serving.sharing import SharingServer

        settings = settings.model_copy(update={"pack": settings.pack or False})
        engine = load_engine(settings, _device(settings, number))
    except Exception as error:  # noqa: BLE001 - told by the parent
        with suppress(OSError):
            news.send(("failed", f"{error}", isinstance(error, ValueError)))
        sys.exit(3)
    try:
        server = SharingServer(make_app(lambda: engine, settings), settings, lambda: news.send(("ready", "", False)))
        _end_with_parent(server)
        server.run([listening])
        broken = server.service.engine.broken
    finally:
        engine.close(finish=False)  # what had time to end has ended
        gc.freeze()  # the process ends: what PyTorch holds need not be gone through once more
    if broken:
        sys.exit(1)  # and another takes its place


def _device(settings: ServerSettings, number: int) -> str | None:
    """Each replica its own GPU, where there are several and none is named."""
    import torch

    if settings.device in (None, "cuda") and torch.cuda.device_count() > 1:
        return f"cuda:{number % torch.cuda.device_count()}"
    return settings.device


def _end_with_parent(server) -> None:
    """Shut down when the parent is gone, however it went: nobody would replace or end this process."""
    import threading

    def watch() -> None:
        multiprocessing.parent_process().join()
        server.drain()

    threading.Thread(target=watch, name="parent", daemon=True).start()
