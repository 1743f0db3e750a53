"""What requests of all routes have in common: how long they may take, their seeds, and how they reach the engine."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from unimedvl.serving.errors import as_api_error, unavailable, wrong
from unimedvl.serving.service import Service

if TYPE_CHECKING:
    from unimedvl.inference.engine import Ticket

TIMEOUT = "x-timeout"
# Seeds drawn by chance are of numbers that JSON holds exactly in every language.
_LARGEST_DRAWN_SEED = 2**53


def deadline(request: Request, service: Service) -> float:
    """Seconds that a request may take: the server's, or fewer where its header ``x-timeout`` says so."""
    given = request.headers.get(TIMEOUT)
    if given is None:
        return service.settings.deadline
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0
    if not seconds > 0:
        raise wrong(TIMEOUT, f"is {given[:20]!r}; it must be a number of seconds over 0")
    return min(seconds, service.settings.deadline)


def seeds(seed: int | None, count: int, by_chance: bool) -> list[int]:
    """The seeds of `count` answers: from the one that is given, or drawn by chance where chance plays a part."""
    if seed is None:
        seed = secrets.randbelow(_LARGEST_DRAWN_SEED) if by_chance else 0
    return [(seed + number) % 2**63 for number in range(count)]


async def submitted(service: Service, asked: Sequence[tuple[Any, dict[str, Any]]]) -> list[Ticket]:
    """Hand requests to the engine, all or none; each is what `Engine.submit` takes, and its options.

    Raises:
        ApiError: one of them is refused, or the server is loading or shutting down.
    """
    if service.draining:
        raise unavailable("the server is shutting down")
    return await run_in_threadpool(_submit, service, asked)


def _submit(service: Service, asked: Sequence[tuple[Any, dict[str, Any]]]) -> list[Ticket]:
    tickets: list[Ticket] = []
    try:
        for what, options in asked:
            tickets.append(service.engine.submit(what, **options))
    except Exception as error:
        for ticket in tickets:
            ticket.cancel()
        raise as_api_error(error) from error
    return tickets
