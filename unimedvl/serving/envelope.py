"""What every request passes first and last: its id, who asks, its numbers, its line in the log and in the audit."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unimedvl.serving.access import UNCOUNTED
from unimedvl.serving.errors import told
from unimedvl.serving.logs import request_line
from unimedvl.serving.service import Service
from unimedvl.serving.trace import Trace

logger = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
# What clients may call their requests; anything else is not repeated in headers and logs.
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Whatever else a client calls its method, it gets no number of its own: there would be no end to them.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
CLIENT_GONE = 499  # as nginx calls it


class Envelope:
    """The outermost middleware."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        trace = Trace(given if _ID.fullmatch(given) else f"req_{uuid.uuid4().hex}")
        scope.setdefault("state", {})["trace"] = trace
        counted = scope["path"] not in UNCOUNTED
        told = False

        async def tell() -> None:
            nonlocal told
            if not told:
                told = True
                await self._tell(scope, passed, trace, counted)

        passed = _Passed(receive, send, trace, tell, self.service.closing)
        works = scope["path"].startswith("/v1/")  # what the page does, its engine tells; its open streams are no work
        self.service.running += works
        try:
            await self._answer(scope, passed, trace)
        finally:
            self.service.running -= works
            await tell()

    async def _answer(self, scope: Scope, passed: _Passed, trace: Trace) -> None:
        try:
            await self.app(scope, passed.receive, passed.send)
        except Exception as error:  # noqa: BLE001 - nothing may leave in another form
            answer = told(error, trace.id)
            if passed.status is None:
                await answer.response()(scope, passed.receive, passed.send)

    async def _tell(self, scope: Scope, passed: _Passed, trace: Trace, counted: bool) -> None:
        route = getattr(scope.get("route"), "path", None) or "other"
        status = passed.status or CLIENT_GONE
        metrics = self.service.metrics
        method = scope["method"] if route != "other" and scope["method"] in _METHODS else "any"
        metrics.requests.labels(method, route, status).inc()
        if not counted:
            return
        metrics.seconds.labels(route).observe(trace.seconds)
        if trace.first is not None:
            metrics.first.labels(route).observe(trace.first)
        request_line(
            logger, request=trace.id, who=trace.who, method=scope["method"], route=route, status=status,
            seconds=trace.seconds, failure=trace.failure,
        )  # fmt: skip
        if self.service.audit is not None and scope["path"].startswith("/v1/"):
            await run_in_threadpool(self._audit, trace, trace.failure or str(status))

    def _audit(self, trace: Trace, outcome: str) -> None:
        try:
            self.service.audit.record(trace.line(self.service, outcome))
        except Exception as error:  # noqa: BLE001 - the answer is sent; what can be done is to tell
            self.service.metrics.unwritten.inc()
            logger.error("%s: its line of the audit could not be written: %s", trace.id, type(error).__name__)


class _Passed:
    """A request's messages on their way: the body is hashed, the response gets its id, and its status is noted.

    What there is to tell of the request is told before the last part of its answer goes: who has that, finds it told.
    """

    def __init__(
        self, receive: Receive, send: Send, trace: Trace, tell: Callable[[], Awaitable[None]], closing: asyncio.Event
    ) -> None:
        self._receive, self._send, self._trace, self._tell, self._closing = receive, send, trace, tell, closing
        self._whole = False  # the body is there
        self.status: int | None = None

    async def receive(self) -> Message:
        if self._whole:
            return await self._end()
        message = await self._receive()
        if message["type"] == "http.request":
            self._trace.body.update(message.get("body", b""))
            self._whole = not message.get("more_body")
        return message

    async def _end(self) -> Message:
        """That the client is gone; or that it is to be treated so, because the server closes: a page's streams stay
        open as long as it is shown."""
        waiting = asyncio.ensure_future(self._receive()), asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return waiting[0].result() if waiting[0].done() else {"type": "http.disconnect"}
        finally:
            for one in waiting:
                one.cancel()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self._trace.id
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            await self._tell()
        await self._send(message)

