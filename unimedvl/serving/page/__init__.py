"""The page at "/": every task with its own form, on images that are uploaded or simulated, over the server's engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from unimedvl.serving.late import LateEngine
    from unimedvl.serving.settings import ServerSettings


def mount_page(app: FastAPI, engine: LateEngine, settings: ServerSettings) -> None:
    """Add the page to the application of a server, behind all its routes. Needs Gradio.

    engine: may still load; the page says so and waits. The rest of the server is taken from ``app.state.service``.
    """
    from unimedvl.serving.page.mount import mount

    mount(app, engine, settings)
