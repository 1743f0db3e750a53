"""How much one request, and one key, may ask of the server."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict, Field

from unimedvl.imaging import Bounds

_MIB = 2**20
# Keys of which no trace is kept any more once this many are known; those that are full again are forgotten first.
_MOST_BUCKETS = 10_000


class Limits(BaseModel):
    """What a server takes. The defaults suit a machine with 16 GB; every one may be set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    body_bytes: int = Field(64 * _MIB, ge=1024, description="Of a request's body, its images in base64 included.")
    body_seconds: float = Field(60, gt=0, description="For a request's body to arrive in.")
    bodies_bytes: int = Field(1024 * _MIB, ge=1024, description="Of all bodies that are held at one time.")
    json_depth: int = Field(64, ge=4, description="Objects and lists within one another in a body of JSON.")
    json_values: int = Field(100_000, ge=100, description="Values in a body of JSON.")
    images: int = Field(16, ge=1, description="Images of a request.")
    file_bytes: int = Field(48 * _MIB, ge=1024, description="Of one image's file.")
    pixels: int = Field(25_000_000, ge=1, description="Of one image, frame or slice.")
    request_pixels: int = Field(100_000_000, ge=1, description="Of all images of a request.")
    images_bytes: int = Field(
        4096 * _MIB, ge=1024, description="Of all read images that are held at one time, at 12 bytes a pixel."
    )
    unpacked_bytes: int = Field(512 * _MIB, ge=1024, description="That a compressed file may unpack to.")
    frames: int = Field(20_000, ge=1, description="Frames of a DICOM, pages of a TIFF, slices of a NIfTI.")
    decode_seconds: float = Field(20, gt=0, description="To read one image in, after which it is refused.")
    decode_bytes: int = Field(
        4096 * _MIB, ge=512 * _MIB, description="Memory of a process that reads images; where the system can hold it."
    )
    decoders: int = Field(2, ge=1, le=64, description="Processes that read images.")
    text_characters: int = Field(100_000, ge=1, description="Of all texts of a request together.")
    tokens: int = Field(16_384, ge=1, description="Of a request's texts and images, as the model counts them.")
    max_tokens: int = Field(4096, ge=1, description="Most that a request may ask for.")
    n: int = Field(8, ge=1, description="Answers or images of one request.")
    concurrent: int = Field(64, ge=1, description="Requests of one key at one time.")
    rate: float = Field(600, gt=0, description="Requests of one key a minute, in the long run.")
    burst: int = Field(120, ge=1, description="Requests of one key at once, after a while without any.")

    @property
    def bounds(self) -> Bounds:
        """Of reading one image."""
        return Bounds(self.unpacked_bytes, self.pixels, self.frames)


class TooMany(ValueError):
    """A key asks more often than it may. retry_after: whole seconds after which it may again, at least 1."""

    status, code = 429, "rate_limit_exceeded"

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.retry_after = max(1, math.ceil(seconds))


class Allowance:
    """What each key has left: a token bucket of requests, and how many are under way. Of any threads."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds that only grow."""
        self._limits, self._clock = limits, clock
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}  # left, and when that was
        self._running: dict[str, int] = {}

    @contextmanager
    def of(self, who: str) -> Iterator[None]:
        """For as long as one request of a key runs. Raises TooMany at once."""
        with self._lock:
            self._take(who)
        try:
            yield
        finally:
            with self._lock:
                left = self._running[who] - 1
                if left:
                    self._running[who] = left
                else:
                    del self._running[who]

    def _take(self, who: str) -> None:
        running = self._running.get(who, 0)
        if running >= self._limits.concurrent:
            raise TooMany(f"{running} requests of this key are under way, which is the most; wait for one", 1)
        now, per_second = self._clock(), self._limits.rate / 60
        left = self._left(who, now)
        if left < 1:
            raise TooMany(
                f"this key may ask {self._limits.rate:g} times a minute; wait a little", (1 - left) / per_second
            )
        if who not in self._buckets and len(self._buckets) >= _MOST_BUCKETS:
            self._buckets = {w: b for w, b in self._buckets.items() if self._left(w, now) < self._limits.burst}
        self._buckets[who] = left - 1, now
        self._running[who] = running + 1

    def _left(self, who: str, now: float) -> float:
        left, then = self._buckets.get(who, (self._limits.burst, now))
        return min(self._limits.burst, left + (now - then) * self._limits.rate / 60)
