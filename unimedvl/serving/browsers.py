"""What browsers are told, and what pages of other sites may not make them do.

A browser sends a page's requests with whatever lets its user in: a password that it keeps, or simply that it runs on
the machine that an open server listens to. So two things are refused that no program does: a request that another
site's page makes (cross-site request forgery), and at an open server one that asks for another host's name, as a page
does whose name was made to point here (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unimedvl.serving.errors import ApiError

_SAFE = ("GET", "HEAD", "OPTIONS")
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
# What is always so; a route that sets one of them itself is left its own.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Of the API, whose answers are no pages: kept by no cache, shown in no frame, run by no browser.
_API_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_PAGE_HEADERS = {"Content-Security-Policy": "frame-ancestors 'self'; object-src 'none'; base-uri 'self'"}
_STRICT = "max-age=31536000"


class BrowserHeaders:
    """ASGI middleware that adds the headers above to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                own = _API_HEADERS if scope["path"].startswith("/v1/") else _PAGE_HEADERS
                strict = {"Strict-Transport-Security": _STRICT} if scope.get("scheme") == "https" else {}
                for name, value in (_HEADERS | own | strict).items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, told)


def check_browser(scope: Scope, *, host: str | None, origins: Sequence[str] = ()) -> None:
    """Refuse what only a page of another site asks, of HTTP or of a websocket.

    host: that an open server listens at, on this machine alone; None where keys are asked for, or something before the
        server checks who asks.
    origins: whose pages may ask; ``*`` for all.

    Raises:
        ApiError: 403.
    """
    headers = Headers(scope=scope)
    asked = headers.get("host", "").lower()
    if host is not None and _name(asked) not in (*_LOCAL, host.lower(), f"[{host.lower()}]"):
        raise ApiError(
            403, "this server is asked by another name than its own; ask it as 127.0.0.1, give it keys, or set"
            " open=true where something before it checks who asks", code="wrong_host",
        )  # fmt: skip
    origin, site = headers.get("origin", "").lower(), headers.get("sec-fetch-site")
    if scope["type"] == "http" and scope["method"] in _SAFE:
        return
    if "*" in origins or origin in {o.rstrip("/").lower() for o in origins}:
        return
    # Browsers say it themselves where they trust the connection; else the two names are compared.
    foreign = site not in ("same-origin", "none") if site else origin and urlsplit(origin).netloc != asked
    if foreign:
        raise ApiError(
            403, "a page of another site may not ask this server; the setting cors lists those that may",
            code="cross_site",
        )  # fmt: skip


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].rstrip(".")
