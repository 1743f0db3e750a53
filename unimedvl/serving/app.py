"""The application: routes, errors and what every request passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware.cors import CORSMiddleware

from unimedvl.inference.results import NOT_CLINICAL, package_version
from unimedvl.serving import health, metrics, tasks
from unimedvl.serving.access import Access
from unimedvl.serving.body import BodyLimit
from unimedvl.serving.browsers import BrowserHeaders
from unimedvl.serving.decoding import Decoders
from unimedvl.serving.document import document
from unimedvl.serving.envelope import REQUEST_ID, Envelope
from unimedvl.serving.errors import add_error_handlers
from unimedvl.serving.keys import Keys, is_loopback, load_keys
from unimedvl.serving.late import LateEngine
from unimedvl.serving.limits import Allowance
from unimedvl.serving.openai import chat, images, models
from unimedvl.serving.service import Service
from unimedvl.serving.settings import ServerSettings

if TYPE_CHECKING:
    from unimedvl.inference.engine import Engine

_ROUTERS = (chat.router, images.router, models.router, tasks.router, health.router, metrics.router)
_LOOK = 2  # seconds between two looks at the engine, for other replicas' /metrics


def make_app(engine: Engine | Callable[[], Engine], settings: ServerSettings) -> FastAPI:
    """The application over an engine.

    engine: one that is there, which the caller closes; or a function that loads one, which is called in a thread
        when the server starts, and whose engine is closed when it ends.

    Raises:
        KeysError, AuditError: one line on keys that can't be read, or an audit that can't be opened.
    """
    late = LateEngine(engine) if callable(engine) else LateEngine.loaded(engine)
    numbers, keys = metrics.Metrics(), load_keys(settings.keys)
    service = Service(
        settings, late, numbers, Decoders(settings.limits), _allowance(settings, keys), keys=keys,
        audit=_audit(settings, numbers),
    )  # fmt: skip
    app = FastAPI(
        title="UniMedVL", version=package_version(), description=NOT_CLINICAL, lifespan=_lifespan,
        # FastAPI's page of the API runs scripts of another site: not where keys and others' images are at hand.
        docs_url="/docs" if service.alone else None, redoc_url=None,
    )  # fmt: skip
    app.state.service = service
    app.openapi = lambda: document(app)
    add_error_handlers(app)
    for router in _ROUTERS:
        app.include_router(router)
    if settings.page:
        _mount_page(app, service)
    # The last one added is passed first.
    app.add_middleware(BodyLimit, limits=settings.limits)
    app.add_middleware(Access, service=service)
    app.add_middleware(Envelope, service=service)
    app.add_middleware(BrowserHeaders)
    if settings.cors:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors, allow_methods=["GET", "POST"], allow_headers=["*"],
            expose_headers=[REQUEST_ID, "Retry-After"],
        )  # fmt: skip
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    service.engine.start()
    looking = asyncio.create_task(_look(service))
    try:
        yield
    finally:
        looking.cancel()
        await run_in_threadpool(_close, service)


async def _look(service: Service) -> None:
    while True:
        with suppress(Exception):  # what there is to tell of it, its own state tells
            service.metrics.look(service.engine)
        await asyncio.sleep(_LOOK)


def _close(service: Service) -> None:
    service.engine.close(finish=False)
    service.decoders.close()
    if service.audit is not None:
        service.audit.close()


def _allowance(settings: ServerSettings, keys: Keys | None) -> Allowance:
    """How often who may ask. A server for its own machine alone counts only where that is set."""
    limits = settings.limits
    if keys is None and is_loopback(settings.host):
        endless = {"rate": 1e9, "burst": 10**9, "concurrent": 10**9}
        limits = limits.model_copy(update={k: v for k, v in endless.items() if k not in limits.model_fields_set})
    return Allowance(limits)


def _audit(settings: ServerSettings, numbers: metrics.Metrics):
    if settings.audit is None:
        return None
    from unimedvl.serving.audit import Audit

    return Audit.open(settings.audit, required=settings.audit_required, told=numbers.unwritten.inc)


def _mount_page(app: FastAPI, service: Service) -> None:
    """The page at "/", where Gradio is installed. It is given the engine as `LateEngine`."""
    if find_spec("gradio") is None or find_spec("unimedvl.serving.page") is None:
        return
    from unimedvl.serving.page import mount_page

    mount_page(app, service.engine, service.settings)
