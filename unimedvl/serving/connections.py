"""Connections that say nothing, or say it slowly, are closed: uvicorn itself waits for a request's headers for ever."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEADER_SECONDS = 20


class PatientProtocol(AutoHTTPProtocol):
    """Uvicorn's protocol, with a time for the headers of a request to arrive in. Bodies are `BodyLimit`'s to time."""

    header_seconds: float = HEADER_SECONDS
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        handed_on = self.transport.get_protocol() is not self  # to a websocket
        if handed_on or (self.cycle is not None and not self.cycle.response_complete):  # the headers are there
            self._done()
        elif self._timer is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._done()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.header_seconds, self._late)

    def _done(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()
