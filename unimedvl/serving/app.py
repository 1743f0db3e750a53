"""The application: routes, errors and what every request passes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from unimedvl.inference.results import NOT_CLINICAL, package_version
from unimedvl.serving import health
from unimedvl.serving.errors import add_error_handlers
from unimedvl.serving.late import LateEngine
from unimedvl.serving.openai import chat, models
from unimedvl.serving.service import Service
from unimedvl.serving.settings import ServerSettings

if TYPE_CHECKING:
    from unimedvl.inference.engine import Engine

_ROUTERS = (health.router, models.router, chat.router)


def make_app(engine: Engine | Callable[[], Engine], settings: ServerSettings) -> FastAPI:
    """The application over an engine.

    engine: one that is there, which the caller closes; or a function that loads one, which is called in a thread
        when the server starts, and whose engine is closed when it ends.
    """
    late = LateEngine(engine) if callable(engine) else LateEngine.loaded(engine)
    service = Service(settings, late)
    app = FastAPI(title="UniMedVL", version=package_version(), description=NOT_CLINICAL, lifespan=_lifespan)
    app.state.service = service
    add_error_handlers(app)
    for router in _ROUTERS:
        app.include_router(router)
    if settings.page:
        _mount_page(app, service)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    service.engine.start()
    yield
    await run_in_threadpool(service.engine.close, finish=False)


def _mount_page(app: FastAPI, service: Service) -> None:
    """The page at "/", where it and Gradio are installed. It is given the engine as `LateEngine`."""
    try:
        from unimedvl.serving.page import mount_page
    except ImportError:
        return
    mount_page(app, service.engine, service.settings)
