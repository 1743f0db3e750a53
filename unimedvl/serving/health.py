"""Whether the server is there, and whether it can answer."""

from __future__ import annotations

from fastapi import APIRouter

from unimedvl.inference.results import NOT_CLINICAL, package_version
from unimedvl.serving.errors import ApiError, unavailable
from unimedvl.serving.service import Served

router = APIRouter(tags=["health"])


@router.get("/health", summary="Whether the process is there")
async def health(service: Served) -> dict:
    """Answers as long as the process runs, before the model is loaded too."""
    return {"status": "ok", "version": package_version(), "notice": NOT_CLINICAL}


@router.get("/ready", summary="Whether it can answer")
async def ready(service: Served) -> dict:
    """503 until the model is loaded and from when the server shuts down."""
    if service.draining:
        raise unavailable("the server is shutting down")
    if service.engine.broken:
        raise ApiError(503, "the engine has failed; the server's log says why", code="engine_failed")
    if service.engine.failure is not None:
        raise ApiError(503, "the model could not be loaded; the server's log says why", code="not_loaded")
    if not service.engine.ready:
        raise unavailable("the model is still being loaded", "loading")
    return {"status": "ready", "model": service.settings.called}
