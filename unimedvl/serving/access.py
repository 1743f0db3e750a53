"""Who may ask, and how often."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from unimedvl.serving.body import refuse
from unimedvl.serving.browsers import check_browser
from unimedvl.serving.errors import ApiError, as_api_error, unavailable
from unimedvl.serving.service import Service

# Asked by machines that hold no key: whether the server is there. They tell nothing else.
_OPEN = ("/health", "/ready")
# Answered while the server shuts down.
UNCOUNTED = (*_OPEN, "/metrics")
_BASIC = 'Basic realm="unimedvl", charset="UTF-8"'


class Access:
    """ASGI middleware that lets in who may ask (401, 403, 429), as long as the server doesn't shut down (503)."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        with ExitStack() as stack:
            try:
                self._let_in(scope, stack)
            except Exception as error:  # noqa: BLE001 - TooMany is a ValueError
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": 1008})
                    return
                await refuse(as_api_error(error), scope, receive, send)
                return
            await self.app(scope, receive, send)

    def _let_in(self, scope: Scope, stack: ExitStack) -> None:
        if self.service.draining and scope["path"] not in UNCOUNTED:
            raise unavailable("the server is shutting down")
        settings = self.service.settings
        check_browser(scope, host=settings.host if self.service.alone else None, origins=settings.cors)
        who = who_asks(scope, self.service)
        if scope["type"] == "http":
            scope["state"]["trace"].who = who
        stack.enter_context(allowed(scope, who, self.service))


def who_asks(scope: Scope, service: Service) -> str | None:
    """The name of the key's owner; None where no keys are asked for.

    Programs send ``Authorization: Bearer KEY``. At the page, browsers ask people for it: any name, and the key as the
    password.

    Raises:
        ApiError: 401, no key or a wrong one.
    """
    path: str = scope["path"]
    if service.keys is None or path in _OPEN:
        return None
    given = Headers(scope=scope).get("authorization")
    who = service.keys.who(given)
    if who is not None:
        return who
    message = "no API key was given" if given is None else "the API key is not known here"
    message += "; send it as 'Authorization: Bearer KEY'"
    how = "Bearer" if path.startswith("/v1/") or path == "/metrics" else _BASIC
    raise ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": how})


def allowed(scope: Scope, who: str | None, service: Service) -> AbstractContextManager[None]:
    """For as long as a request of the API runs; counted by key, or by address where there are no keys.

    Raises:
        TooMany: when it is entered.
    """
    if not scope["path"].startswith("/v1/"):
        return nullcontext()
    client = scope.get("client")
    return service.allowance.of(who or f"address {client[0] if client else ''}")
