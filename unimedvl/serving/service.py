"""What all routes share: the settings, the engine, and whether the server is shutting down."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from unimedvl.serving.errors import ApiError
from unimedvl.serving.late import LateEngine
from unimedvl.serving.settings import ServerSettings


@dataclass
class Service:
    """One server's parts; routes get it as a `Served` parameter.

    draining: no new requests are taken. running: requests under way. started: seconds since 1970.
    """

    settings: ServerSettings
    engine: LateEngine
    draining: bool = False
    running: int = 0
    started: int = field(default_factory=lambda: int(time.time()))

    def check_model(self, name: str | None) -> None:
        """Raises ApiError for a model that is not served here."""
        if name not in (None, self.settings.called):
            raise ApiError(
                404, f"model: {name!r} is not served here; there is {self.settings.called!r}",
                param="model", code="model_not_found",
            )  # fmt: skip


def _service(request: Request) -> Service:
    return request.app.state.service


Served = Annotated[Service, Depends(_service)]
