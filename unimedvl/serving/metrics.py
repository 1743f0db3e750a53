"""`/metrics`: what Prometheus reads, of one process or of all replicas together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)  # fmt: skip

from unimedvl.serving.service import Served

if TYPE_CHECKING:
    from unimedvl.serving.late import LateEngine

# Where replicas put their numbers; prometheus-client looks at it when it is imported.
REPLICAS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# Of requests and of first output, in seconds: from a word of nano's to an image of 50 steps on a CPU.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
# What the engine tells of itself: gauges of now, and counts since it began.
_ENGINE = {
    "waiting": "Requests that wait for the model.",
    "reading": "Requests whose prompts are taken in.",
    "speaking": "Requests in the batch that speaks.",
    "drawing": "Requests in the batch that draws.",
    "taken": "Requests taken since the start.",
    "finished": "Requests finished since the start.",
    "failed": "Requests failed since the start.",
    "cancelled": "Requests cancelled since the start.",
    "expired": "Requests whose deadline passed since the start.",
    "refused": "Requests refused since the start, for want of a place.",
    "reused_tokens": "Tokens of prompts that were not taken in again since the start.",
}

router = APIRouter(tags=["health"])


class Metrics:
    """The numbers of one process, in a registry of its own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "unimedvl_requests", "Requests, by route and status.", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "unimedvl_request_seconds", "From a request to the end of its answer.", ["route"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.first = Histogram(
            "unimedvl_first_output_seconds", "From a request to its first text or step, of those that stream.",
            ["route"], buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.tokens = Counter("unimedvl_tokens", "Tokens, taken in and made.", ["kind"], registry=registry)
        self.images = Counter("unimedvl_images_made", "Images made.", registry=registry)
        self.unwritten = Counter(
            "unimedvl_audit_failures", "Lines of the audit that could not be written.", registry=registry
        )
        self.ready = Gauge(
            "unimedvl_replicas_ready", "Processes whose model is loaded.", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self.engine = {
            name: Gauge(f"unimedvl_engine_{name}", told, registry=registry, multiprocess_mode="livesum")
            for name, told in _ENGINE.items()
        }

    def look(self, engine: LateEngine) -> None:
        """Take down how the engine stands."""
        self.ready.set(engine.ready)
        if engine.ready:
            state = engine.state()
            for name, gauge in self.engine.items():
                gauge.set(getattr(state, name))

    def text(self) -> bytes:
        """All numbers in Prometheus' form; where there are replicas, those of all of them added up."""
        if REPLICAS_FOLDER not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)
        return generate_latest(together)


@router.get("/metrics", summary="Numbers for Prometheus", response_class=Response)
async def metrics(service: Served) -> Response:
    """Requests, latencies, tokens, and how full queue and batches are; of all replicas together."""
    service.metrics.look(service.engine)
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
