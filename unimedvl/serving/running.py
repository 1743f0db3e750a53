"""Tickets on their way: waited for or streamed, and cancelled when the client is gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from fastapi import Request

from unimedvl.serving.errors import ApiError, as_api_error

if TYPE_CHECKING:
    from unimedvl.inference.engine import Ticket
    from unimedvl.inference.job import Event
    from unimedvl.inference.results import ImageResult, TextResult

# Seconds of silence after which a stream says that it is still there.
_SILENCE = 15


class ClientGone(ApiError):
    """Nobody listens any more; 499 is what nginx calls it."""

    def __init__(self) -> None:
        super().__init__(499, "the client closed the connection", code="client_gone")


async def results(request: Request, tickets: Sequence[Ticket]) -> list[TextResult | ImageResult]:
    """The results of all tickets, which are cancelled when the client goes or one of them fails.

    Raises:
        ApiError: one failed, or nobody listens.
    """
    waiting = asyncio.gather(*(t.aresult() for t in tickets))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ClientGone
        return list(waiting.result())
    except ApiError:
        raise
    except Exception as error:
        raise as_api_error(error) from error
    finally:
        await _ended([waiting, gone], tickets)


async def events(request: Request, tickets: Sequence[Ticket]) -> AsyncIterator[tuple[int, Event] | None]:
    """The events of all tickets with the ticket's number, as they come; None where nothing came for a while.

    The tickets are cancelled when the client goes, one of them fails or the iterator is closed.

    Raises:
        Whatever a ticket raises; ClientGone.
    """
    queue: asyncio.Queue = asyncio.Queue()

    async def listen(number: int, ticket: Ticket) -> None:
        try:
            async for event in ticket.aevents():
                queue.put_nowait((number, event))
            queue.put_nowait(None)
        except Exception as error:  # noqa: BLE001 - raised where it is listened to
            queue.put_nowait(error)

    async def leave() -> None:
        await _gone(request)
        queue.put_nowait(ClientGone())

    tasks = [asyncio.ensure_future(listen(n, t)) for n, t in enumerate(tickets)]
    tasks.append(asyncio.ensure_future(leave()))
    left = len(tickets)
    try:
        while left:
            try:
                item = await asyncio.wait_for(queue.get(), _SILENCE)
            except TimeoutError:
                yield None
                continue
            if isinstance(item, Exception):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        await _ended(tasks, tickets)


async def _gone(request: Request) -> None:
    """Returns when the client closes the connection. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _ended(tasks: Sequence[asyncio.Future], tickets: Sequence[Ticket]) -> None:
    for ticket in tickets:
        ticket.cancel()  # of one that is done, it does nothing
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
