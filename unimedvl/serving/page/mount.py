"""The page at "/" of an application: Gradio's routes that it needs and no others, and its own for files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unimedvl.serving.bodies import read_body
from unimedvl.serving.errors import ApiError
from unimedvl.serving.late import LateEngine
from unimedvl.serving.page import downloads, examples
from unimedvl.serving.page.session import Sessions
from unimedvl.serving.page.upload import in_order, read_item
from unimedvl.serving.service import Service
from unimedvl.serving.settings import ServerSettings
from unimedvl.serving.uploads import Refused

_HERE = Path(__file__).parent
SECRET = "x-page-secret"
# What of Gradio the page uses. Its other routes read and write files, fetch URLs and log in; none of them is reached.
_EXACT = {
    "/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/gradio_api/queue/join",
    "/gradio_api/queue/data", "/gradio_api/run/predict", "/gradio_api/cancel", "/gradio_api/startup-events",
    "/gradio_api/app_id",
}  # fmt: skip
_UNDER = ("/assets/", "/static/", "/gradio_api/heartbeat/")
# Gradio's scripts are inline and make functions of text; nothing comes from, or goes to, another host.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:;"
    " object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_SEVERAL = """<!doctype html><html lang="en"><meta charset="utf-8"><title>UniMedVL</title><h1>UniMedVL</h1>
<p>Several replicas answer at this address, and the page needs one that remembers it: start the server with
replicas=1 to use it. The API is here.</p>"""


def mount(app: FastAPI, engine: LateEngine, settings: ServerSettings) -> None:
    """Add the page behind all routes that the application has. Raises ModuleNotFoundError without Gradio."""
    service: Service = app.state.service
    if settings.replicas > 1:
        app.get("/", include_in_schema=False, response_class=HTMLResponse)(lambda: _SEVERAL)
        return
    import gradio as gr

    from unimedvl.serving.page.blocks import build
    from unimedvl.serving.page.theme import theme

    sessions = Sessions(settings.limits.bodies_bytes)
    app.include_router(_files(service, sessions))
    gr.mount_gradio_app(
        app, build(service, sessions, app.docs_url is not None), "/", footer_links=[], run_history=False,
        show_error=False, ssr_mode=False, pwa=False, mcp_server=False, theme=theme(),
        css=(_HERE / "page.css").read_text(),
        head=f"<script>{(_HERE / 'page.js').read_text()}</script>", favicon_path=str(_HERE / "icon.svg"),
    )  # fmt: skip
    mounted = app.router.routes.pop()
    app.router.routes.append(_PageMount(mounted.app))
    _close_with(app, sessions)


class _PageMount(Mount):
    """Gradio's application, for the paths of the page alone: all others are the API's to answer."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__("", app=_Guarded(app))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path in _EXACT or path.startswith(_UNDER)):
            return Match.NONE, {}
        return super().matches(scope)


class _Guarded:
    """ASGI middleware that tells browsers what the page may load."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = _POLICY
                if not scope["path"].startswith(("/assets/", "/static/")):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await self.app(scope, receive, told)


def _files(service: Service, sessions: Sessions) -> APIRouter:
    """Files that come and go: uploads, results, examples."""
    router = APIRouter(prefix="/page", include_in_schema=False)

    @router.post("/upload")
    async def upload(request: Request) -> JSONResponse:
        """Files of a form, read one by one; those that can't be are told in a sentence each."""
        who = request.state.trace.who
        session = sessions.open(request.headers.get(SECRET, ""), who)
        counted = who or f"address {request.client.host if request.client else ''}"
        with service.allowance.of(counted):
            body = await read_body(request, service.limits)
            read, problems = [], []
            for sent in body.uploads:
                try:
                    read.append(await run_in_threadpool(read_item, service, sent.data, sent.name))
                except Refused as error:
                    problems.append(str(error))
        most = service.limits.images - len(session.items)
        if len(read) > most:
            problems.append(f"at most {service.limits.images} images are kept at a time; remove some")
        taken = (await run_in_threadpool(in_order, read))[: max(0, most)]
        if taken:
            session.shown = len(session.items)
            session.items = [*session.items, *taken]
        sessions.make_room()
        return JSONResponse({"added": len(taken), "problems": problems}, headers=_UNKEPT)

    @router.post("/leave")
    async def leave(request: Request) -> Response:
        sessions.leave((await request.body()).decode("ascii", "replace"), request.state.trace.who)
        return Response(status_code=204)

    @router.get("/results/{name}/{kind}")
    async def result(name: str, kind: str, request: Request) -> Response:
        made = sessions.result(name, request.state.trace.who)
        if kind in ("given", "thumb"):
            data = made.given[0] if made.given else made.png
            return Response(data, media_type="image/png", headers=_UNKEPT)
        try:
            data = await run_in_threadpool(downloads.file_of, made, kind)
        except KeyError:
            raise ApiError(404, "this result has no such file") from None
        name = f'{"inline" if kind == "png" else "attachment"}; filename="{downloads.name_of(made, kind)}"'
        headers = _UNKEPT | {"Content-Disposition": name}
        return Response(data, media_type=downloads.TYPES[kind], headers=headers)

    @router.get("/examples/{key}.png")
    async def example(key: str) -> Response:
        if key not in examples.EXAMPLES:
            raise ApiError(404, "there is no such example")
        return Response(await run_in_threadpool(examples.thumbnail_of, key), media_type="image/png",
                        headers={"Cache-Control": "private, max-age=3600"})  # fmt: skip

    return router


_UNKEPT = {"Cache-Control": "no-store"}


def _close_with(app: FastAPI, sessions: Sessions) -> None:
    """Forget everything when the server ends."""
    before: Callable[[Any], Any] = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI):
        try:
            async with before(app) as state:
                yield state
        finally:
            sessions.close()

    app.router.lifespan_context = lifespan
