"""A server from its settings: the port is bound first, the model loaded behind, and a shutdown lets work end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from unimedvl.serving.connections import PatientProtocol
from unimedvl.serving.keys import check_exposure, load_keys
from unimedvl.serving.settings import ServerSettings
from unimedvl.serving.tls import check_tls

if TYPE_CHECKING:
    from fastapi import FastAPI

    from unimedvl import UniMedVL
    from unimedvl.inference.engine import Engine
    from unimedvl.serving.service import Service

logger = logging.getLogger(__name__)

NOTICE = "Research software. Not for clinical use."  # `inference.results` has it too, and takes PyTorch
_BACKLOG = 2048
# Connections that idle longer are closed; load balancers in front often keep theirs for 60 s.
_IDLE = 75
# Of the server's ticks of 0.1 s, every which one looks whether the engine still works.
_HEALTH = 10
# Width of a decoder up to which products are too small to be shared among threads.
_SMALL = 512
# Once nothing runs any more, connections need no more than this to close.
_CLOSING = 5


class ServingError(ValueError):
    """A server that can't start; the message is one line."""


def check(settings: ServerSettings) -> None:
    """What can be told before anything starts.

    Raises:
        KeysError: keys that can't be read, or none at an address that others reach. TlsError: TLS files that are
            none. AuditError: an audit that can't be opened. ProvenanceError: images could not be signed.
    """
    check_exposure(settings.host, load_keys(settings.keys), settings.open)
    if settings.tls is not None:
        for warning in check_tls(settings.tls.certificate, settings.tls.key):
            logger.warning("tls: %s", warning)
    if settings.fetch:
        from unimedvl.serving.fetch import parse_allowed

        parse_allowed(settings.fetch)
    if settings.audit is not None:
        from unimedvl.serving.audit import Audit

        Audit.open(settings.audit).close()
    if settings.generation:
        from unimedvl.provenance.manifest import check_signer

        check_signer()


def bound(settings: ServerSettings) -> socket.socket:
    """A socket that listens already: whoever connects now waits until the server answers.

    Raises:
        ServingError: no such address, or its port is taken.
    """
    host, port = settings.host, settings.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        # asyncio sends small packets at once only where the protocol is named.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise ServingError(f"host {host}: no address of this machine ({error.strerror})") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise ServingError(f"can't listen at {host} port {port}: {error.strerror}; give another with --port") from error
    listening.set_inheritable(True)
    return listening


def address(settings: ServerSettings, listening: socket.socket) -> str:
    """Where a client finds the server."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'http' if settings.tls is None else 'https'}://{host}:{listening.getsockname()[1]}"


def load_engine(settings: ServerSettings, device: str | None = None) -> Engine:
    """The engine over the model that the settings name. device: another than theirs.

    Raises:
        CheckpointError: no such model, or its files are not what they should be.
    """
    import torch

    from unimedvl import UniMedVL
    from unimedvl.inference.engine import Engine, EngineLimits

    model = UniMedVL.load(
        settings.model,
        dtype=getattr(torch, settings.dtype) if settings.dtype else None,
        device=device or settings.device,
        generation=settings.generation,
        pack=settings.pack,
        adapters=settings.adapters,
    )
    torch.set_num_threads(settings.threads or _threads(settings, model))
    if settings.audit is not None:
        _ = model.weights  # hashed now, and not while the first request waits
    return Engine(model, limits=EngineLimits(**settings.engine.model_dump()))


def _threads(settings: ServerSettings, model: UniMedVL) -> int:
    """Of PyTorch, for this process.

    The engine calculates in a thread beside the main one. There nano by two threads says half as much as by one, and
    both together take the time of one core: they seem to wait for each other longer than its products take.
    """
    import torch

    if model.model.config.decoder.hidden_size <= _SMALL:
        return 1
    return max(1, torch.get_num_threads() // settings.replicas)


class Server(uvicorn.Server):
    """Uvicorn's server, that at a signal first lets what runs end, and answers 503 to what comes meanwhile."""

    def __init__(self, app: FastAPI, settings: ServerSettings, ready: Callable[[], None] = lambda: None) -> None:
        """ready: called once, when the model is loaded."""
        super().__init__(configured(app, settings))
        self.service: Service = app.state.service
        self._ready: Callable[[], None] | None = ready
        self._until: float | None = None  # when running requests are no longer waited for
        self._grace = settings.grace

    def drain(self) -> None:
        """Begin to shut down; again, shut down at once."""
        if self._until is not None:
            self.should_exit = True
            return
        self.service.draining = True
        self._until = time.monotonic() + self._grace
        logger.info("shutting down; %d requests run, and have %g s to end", self.service.running, self._grace)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._until is not None and sig == signal.SIGINT:
            self.force_exit = True
        self.drain()

    async def on_tick(self, counter: int) -> bool:
        if self._ready is not None and self.service.engine.ready:
            self._ready()
            self._ready = None
        if self.service.engine.failure is not None:
            self.should_exit = True
        if counter % _HEALTH == 0 and self.service.engine.broken:
            logger.error("the engine has failed; the server ends")
            self.should_exit = True
        if self._until is not None and not self.should_exit:
            late = time.monotonic() > self._until
            if late and self.service.running:  # their clients are told
                logger.warning("%d requests did not end in time, and are stopped", self.service.running)
                await asyncio.to_thread(self.service.engine.close, finish=False)
            self.should_exit = late or not (self.service.running or self.service.engine.busy)
        if self.should_exit:
            self.service.closing.set()
        return await super().on_tick(counter)


def configured(app: FastAPI, settings: ServerSettings) -> uvicorn.Config:
    tls = settings.tls
    return uvicorn.Config(
        app, http=PatientProtocol, log_config=None, access_log=False, server_header=False, timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=_CLOSING, backlog=_BACKLOG, lifespan="on",
        ssl_certfile=None if tls is None else tls.certificate, ssl_keyfile=None if tls is None else tls.key,
    )  # fmt: skip


def serve(settings: ServerSettings, told: Callable[[str], None]) -> None:
    """Serve until a signal ends it. told: gets the lines that are for whoever started it.

    Raises:
        ServingError, KeysError, TlsError, AuditError, ProvenanceError: it can't start. CheckpointError: the model can't
            be loaded.
    """
    check(settings)
    with closing(bound(settings)) as listening:
        told(f"{settings.called} at {address(settings, listening)}; {NOTICE}")
        if settings.replicas > 1:
            from unimedvl.serving.replicas import Replicas

            Replicas(settings, listening, told).run()
            return
        from unimedvl.serving.app import make_app

        app = make_app(lambda: load_engine(settings), settings)
        # While the model loads, so that the first image need not wait for it.
        threading.Thread(target=app.state.service.decoders.start, name="decoders", daemon=True).start()
        Server(app, settings, lambda: told("ready")).run([listening])
        engine = app.state.service.engine
        if engine.failure is not None:
            raise engine.failure
        if engine.broken:
            raise RuntimeError(engine.broken)
