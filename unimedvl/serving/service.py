"""What all routes share: the settings, the engine, who may ask, and whether the server is shutting down."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from unimedvl.serving.errors import ApiError
from unimedvl.serving.keys import is_loopback
from unimedvl.serving.late import LateEngine
from unimedvl.serving.limits import Allowance, Limits
from unimedvl.serving.settings import ServerSettings

if TYPE_CHECKING:
    from unimedvl.serving.audit import Audit
    from unimedvl.serving.decoding import Decoders
    from unimedvl.serving.keys import Keys
    from unimedvl.serving.metrics import Metrics


@dataclass
class Service:
    """One server's parts; routes get it as a `Served` parameter.

    keys: None where nobody is asked for one. audit: None where nothing is recorded. draining: no new requests are
    taken. running: requests under way. closing: set when streams that are still open are to end. started: seconds since
    1970.
    """

    settings: ServerSettings
    engine: LateEngine
    metrics: Metrics
    decoders: Decoders
    allowance: Allowance
    keys: Keys | None = None
    audit: Audit | None = None
    draining: bool = False
    running: int = 0
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    started: int = field(default_factory=lambda: int(time.time()))

    @property
    def limits(self) -> Limits:
        return self.settings.limits

    @property
    def alone(self) -> bool:
        """Whether only this machine reaches the server, which therefore asks for no keys."""
        return self.keys is None and not self.settings.open and is_loopback(self.settings.host)

    def check_model(self, name: str | None) -> None:
        """Raises ApiError for a model that is not served here."""
        if name not in (None, self.settings.called):
            raise ApiError(
                404, f"model: {name[:100]!r} is not served here; there is {self.settings.called!r}",
                param="model", code="model_not_found",
            )  # fmt: skip


def _service(request: Request) -> Service:
    return request.app.state.service


Served = Annotated[Service, Depends(_service)]
