"""Server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse

from unimedvl.serving.errors import told
from unimedvl.serving.trace import Trace

DONE = "data: [DONE]\n\n"
# A comment, which clients pass over: it keeps proxies from closing a stream that is silent for long.
ALIVE = ": still at it\n\n"


def data(value: dict[str, Any], event: str | None = None) -> str:
    """One event, with a name of its own or without."""
    name = "" if event is None else f"event: {event}\n"
    return f"{name}data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"


def streamed(lines: AsyncIterator[str], trace: Trace) -> StreamingResponse:
    """A response of such lines; an error in the middle becomes an event with OpenAI's error, which ends it."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the second: nginx shall not wait
    return StreamingResponse(_guarded(lines, trace), media_type="text/event-stream", headers=headers)


async def _guarded(lines: AsyncIterator[str], trace: Trace) -> AsyncIterator[str]:
    try:
        async for line in lines:
            yield line
    except Exception as error:  # noqa: BLE001 - the status is sent, so that the error goes where the answer went
        answer = told(error, trace.id)
        trace.failure = answer.code or type(error).__name__
        yield data(answer.body)
