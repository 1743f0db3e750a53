"""Errors as OpenAI's clients know them: a body of one form, a status, and what a client may do about it."""

from __future__ import annotations

import logging
import math
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from unimedvl.serving.late import NotReady
from unimedvl.serving.logs import places

logger = logging.getLogger(__name__)

# Status -> the type that OpenAI's bodies name; 5xx are server_error.
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
# A message that begins with the field that it is about.
_NAMED = re.compile(r"([a-z_]+): ")
# Waiting that is proposed where nothing better is known, in seconds.
_RETRY = 2


class ApiError(Exception):
    """An answer that is an error.

    param: the field that is wrong, as in ``messages[0].content``. code: a word for programs.
    headers: such as Retry-After. again: whether the same request may work a little later; where it is false, clients
        are told not to try.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
        again: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})
        if status in (408, 409, 429) or status >= 500:  # those that OpenAI's clients send again by themselves
            self.headers.setdefault("x-should-retry", "true" if again else "false")

    @property
    def body(self) -> dict[str, Any]:
        kind = "server_error" if self.status >= 500 else _TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


def wrong(param: str, message: str, code: str | None = "invalid_value") -> ApiError:
    """A 400 that names the field; the message goes on after its name."""
    return ApiError(400, f"{param}: {message}", param=param, code=code)


def as_api_error(error: Exception) -> ApiError:
    """What a client is told of an error. What the user can't put right is told without its words: they may be of
    somebody's request."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, NotReady):
        return unavailable(str(error), "loading")
    from unimedvl.inference.engine import DeadlinePassed, EngineClosed, EngineFailed, QueueFull
    from unimedvl.inference.image import Cancelled
    from unimedvl.provenance import ProvenanceError

    if isinstance(error, ProvenanceError):
        return ApiError(503, "the image could not be signed; the server's log says why", code="not_signed")
    if isinstance(error, QueueFull):
        wait = {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
        return ApiError(429, "too many requests are waiting; try later", code="queue_full", headers=wait, again=True)
    if isinstance(error, DeadlinePassed):
        return ApiError(504, "the request took longer than its deadline", code="deadline_passed")
    if isinstance(error, EngineFailed):  # and this process ends
        return unavailable("the engine has failed, and is started anew", "engine_failed")
    if isinstance(error, EngineClosed):
        return unavailable("the server is shutting down")
    if isinstance(error, Cancelled):
        return ApiError(503, "the request was stopped", code="cancelled")
    if isinstance(error, ValueError):  # of the package: one line for the user
        wait = getattr(error, "retry_after", None)
        headers = None if wait is None else {"Retry-After": str(wait)}
        status, code = getattr(error, "status", 400), getattr(error, "code", "invalid_value")
        return ApiError(status, str(error), code=code, headers=headers, again=wait is not None)
    return ApiError(500, "the server failed to answer; its log says where", code="internal_error")


def told(error: Exception, request_id: str) -> ApiError:
    """`as_api_error`; what is nobody's fault but the server's also goes to the log, without its words."""
    made = as_api_error(error)
    if made.code == "not_signed":  # of the server's own keys
        logger.error("%s failed: %s", request_id, error)
    if made.status == 500:
        cause = error.__cause__ if isinstance(error, ApiError) and error.__cause__ is not None else error
        logger.error("%s failed: %s", request_id, places(cause))
    return made


def unavailable(message: str, code: str = "shutting_down") -> ApiError:
    return ApiError(503, message, code=code, headers={"Retry-After": str(_RETRY)}, again=True)


def field(place: tuple[str | int, ...]) -> str:
    """A place in a form as OpenAI writes it: ``messages[0].content``."""
    out = ""
    for part in place:
        out += f"[{part}]" if isinstance(part, int) else f"{'.' if out else ''}{part}"
    return out


def validation_error(errors: list[dict[str, Any]]) -> ApiError:
    """The first thing wrong with a form, without the value given, which may be somebody's text."""
    first = errors[0]
    place = tuple(first["loc"])
    # A part of one of several kinds is placed by its kind, too, which here is what its field is called.
    place = tuple(p for n, p in enumerate(place) if n == 0 or p != place[n - 1])
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is not JSON: {first.get('ctx', {}).get('error', 'not to be read')}")
    name = field(place)
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"{name}: not known here", param=name, code="unknown_parameter")
    message = first["msg"].removeprefix("Value error, ")
    named = _NAMED.match(message) if first["type"] == "value_error" else None
    if named:  # by the check itself
        name = f"{name}.{named[1]}" if name else named[1]
        message = message[named.end() :]
    return ApiError(400, f"{name}: {message}" if name else message, param=name or None, code="invalid_value")


def add_error_handlers(app: FastAPI) -> None:
    """Every error that the routes or the framework raise, in OpenAI's form."""

    async def failed(request: Request, error: Exception) -> JSONResponse:
        return told(error, request.state.trace.id).response()

    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
        return ApiError(error.status_code, str(error.detail), code=code, headers=dict(error.headers or {})).response()

    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # Of the address or a header, whose kind comes first.
        return validation_error([e | {"loc": e["loc"][1:]} for e in error.errors()]).response()

    for kind in (ApiError, NotReady):
        app.add_exception_handler(kind, failed)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
