"""Bodies of requests, counted and timed as they arrive, before anything reads them.

A body is read whole and handed on as one piece. So what is refused is refused before a route runs, and a client that
sends slowly holds nothing but its own connection.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from unimedvl.serving.errors import ApiError
from unimedvl.serving.limits import Limits

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Strings, which are passed over, or what opens, closes and parts values. Possessive: nothing is tried twice.
_JSON = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+|[\[\]{},]', re.DOTALL)
# How much, and for how many seconds, is read of a body that is refused.
_THROWN_AWAY, _PATIENCE = 512 * 2**20, 10
# Larger JSON is looked at in a thread, so that other requests don't wait for it.
_AT_ONCE = 256 * 1024


class BodyLimit:
    """ASGI middleware that refuses bodies that are too large (413), too slow (408) or too deep (400)."""

    def __init__(self, app: App, limits: Limits) -> None:
        self.app, self.limits = app, limits
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(self, receive)
        try:
            try:
                whole = await body.read(_declared(scope))
                if _is_json(scope):
                    await check_json_soon(whole, self.limits)
            except ApiError as error:
                await refuse(error, scope, receive, send)
                return
            except ConnectionError:  # the client went before its body was there
                return
            await self.app(scope, body.replay(whole), send)
        finally:
            self._held -= body.held

    def hold(self, count: int) -> None:
        """Count bytes that are held from now on. Raises ApiError (503) where there is no room."""
        if self._held + count > self.limits.bodies_bytes:
            raise ApiError(
                503, "the server holds as many requests as it has room for; try again later",
                code="no_room", headers={"Retry-After": "2"}, again=True,
            )  # fmt: skip
        self._held += count


class _Body:
    """The body of one request. held: bytes of it that are counted."""

    def __init__(self, limit: BodyLimit, receive: Receive) -> None:
        self._limit, self._receive = limit, receive
        self.held = 0

    async def read(self, declared: int | None) -> bytes:
        """All of it.

        Raises:
            ApiError: it is larger than allowed or than it said, too slow, or there is no room.
            ConnectionError: the client went.
        """
        limits = self._limit.limits
        if declared is not None and declared > limits.body_bytes:
            raise _too_large(limits.body_bytes)
        until, pieces, more = time.monotonic() + limits.body_seconds, [], True
        while more:
            try:
                message = await asyncio.wait_for(self._receive(), max(0.0, until - time.monotonic()))
            except TimeoutError as error:
                problem = f"the body took over {limits.body_seconds:g} seconds to arrive"
                raise ApiError(408, problem, code="body_timeout") from error
            if message["type"] == "http.disconnect":
                raise ConnectionError
            piece, more = message.get("body", b""), message.get("more_body", False)
            if self.held + len(piece) > limits.body_bytes:
                raise _too_large(limits.body_bytes)
            self._limit.hold(len(piece))
            self.held += len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def replay(self, whole: bytes) -> Receive:
        """A `receive` that hands the body on, and then waits for the client to go as the server's own does."""
        given = False

        async def receive() -> Message:
            nonlocal given
            if given:
                return await self._receive()
            given = True
            return {"type": "http.request", "body": whole, "more_body": False}

        return receive


async def refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with an error before the body was read to its end, and close the connection.

    Most clients read nothing before they have sent everything, and of a connection that is closed on them meanwhile
    they tell no more than that. So what still comes is thrown away, for a while, before it is closed.
    """
    # What came after would be taken for the client's next request.
    error.headers["Connection"] = "close"
    answer = error.response()
    await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    # A client that waits to be told to go on has sent nothing yet.
    if not _header(scope, b"expect"):
        with suppress(TimeoutError):
            await asyncio.wait_for(_thrown_away(receive), _PATIENCE)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _thrown_away(receive: Receive) -> None:
    left, more = _THROWN_AWAY, True
    while more and left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)


def check_json(data: bytes, limits: Limits) -> None:
    """Refuse JSON of more values, or deeper, than allowed, without building any of it. Its parser tells other faults.

    Raises:
        ApiError: 400.
    """
    depth = values = 0
    for found in _JSON.finditer(data):
        sign = found[0][:1]
        if sign in b"[{":
            depth += 1
            values += 1
            if depth > limits.json_depth:
                raise ApiError(400, f"the body is nested more than {limits.json_depth} deep", code="too_deep")
        elif sign in b"]}":
            depth -= 1
        elif sign == b",":
            values += 1
        if values > limits.json_values:
            raise ApiError(400, f"the body holds more than {limits.json_values} values", code="too_many_values")


async def check_json_soon(data: bytes, limits: Limits) -> None:
    """`check_json`; of what is large in a thread. Raises ApiError (400)."""
    if len(data) > _AT_ONCE:
        await asyncio.to_thread(check_json, data, limits)
    else:
        check_json(data, limits)


def _too_large(most: int) -> ApiError:
    return ApiError(413, f"the body is too large; at most {most / 2**20:.4g} MiB are taken", code="body_too_large")


def _header(scope: Scope, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), "")


def _declared(scope: Scope) -> int | None:
    """The length that the client says; None where it says none, or nonsense, which the server's parser refuses."""
    length = _header(scope, b"content-length")
    return int(length) if length.isascii() and length.isdigit() else None


def _is_json(scope: Scope) -> bool:
    """Whether the body is parsed as JSON (`serving.bodies`): all that does not say that it is a form."""
    return _header(scope, b"content-type").partition(";")[0].strip().lower() != "multipart/form-data"
