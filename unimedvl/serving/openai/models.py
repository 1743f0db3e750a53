"""`/v1/models`: the one model that is served."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from unimedvl.inference.results import NOT_CLINICAL
from unimedvl.serving.service import Served, Service

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", summary="The models that are served")
async def models(service: Served) -> dict:
    return {"object": "list", "data": [_told(service)]}


@router.get("/{model:path}", summary="One model")
async def model(model: Annotated[str, Path(examples=["nano"])], service: Served) -> dict:
    service.check_model(model)
    return _told(service)


def _told(service: Service) -> dict:
    told = {"id": service.settings.called, "object": "model", "created": service.started, "owned_by": "unimedvl"}
    if service.engine.ready:
        card = service.engine.model.card
        told["trained_on"] = card.get("trained_on", "data that its checkpoint does not state")
    return told | {"notice": NOT_CLINICAL}
