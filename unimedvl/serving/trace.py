"""What is told of a request afterwards, in the log, in the numbers and in the audit. Never text or pixels."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from unimedvl.serving.service import Service

if TYPE_CHECKING:
    from unimedvl.imaging import Image
    from unimedvl.serving.audit import AuditLine


@dataclass
class Trace:
    """One request; routes fill it in, as `request.state.trace`.

    body: the hash of what came. inputs: SHA-256 of each image that came. outputs: of each text or image that went.
    failure: of an answer that had begun. first: seconds until the first output.
    """

    id: str
    started: float = field(default_factory=time.perf_counter)
    who: str | None = None
    task: str = ""
    seed: int | None = None
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    failure: str = ""
    first: float | None = None
    body: hashlib._Hash = field(default_factory=hashlib.sha256)

    def took(self, images: Sequence[Image]) -> None:
        self.inputs += [image.sha256 for image in images]

    def gave(self, output: str | bytes) -> None:
        """A text or an image's file that goes to the client."""
        data = output.encode("utf-8", "surrogatepass") if isinstance(output, str) else output
        self.outputs.append(hashlib.sha256(data).hexdigest())

    def spoke(self) -> None:
        """An output is on its way; only the first is noted."""
        if self.first is None:
            self.first = self.seconds

    @property
    def seconds(self) -> float:
        """Since it came."""
        return time.perf_counter() - self.started

    def line(self, service: Service, outcome: str) -> AuditLine:
        """Its line of the audit. Where the weights are not hashed yet, this waits until they are."""
        from unimedvl.serving.audit import AuditLine

        return AuditLine(
            who=self.who or "",
            task=self.task,
            request_sha256=self.body.hexdigest(),
            input_sha256s=tuple(self.inputs),
            output_sha256=_together(self.outputs),
            model=service.settings.called,
            weights_sha256=service.engine.model.weights if service.engine.ready else "",
            seed=self.seed,
            outcome=outcome,
            seconds=self.seconds,
            at=datetime.now(UTC),
            request=self.id,
        )


def _together(hashes: list[str]) -> str:
    """One hash of the outputs: the one there is, or that of all in their order."""
    if len(hashes) < 2:
        return "".join(hashes)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
