"""What requests of all routes have in common: how long they may take, their seeds, and how they reach the engine."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from unimedvl.serving.errors import ApiError, as_api_error, unavailable, wrong
from unimedvl.serving.service import Service
from unimedvl.serving.trace import Trace

if TYPE_CHECKING:
    from unimedvl.inference.engine import Ticket
    from unimedvl.inference.text import Sampling
    from unimedvl.model.flow import Guidance

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
        raise wrong(TIMEOUT, "must be a number of seconds over 0")
    return min(seconds, service.settings.deadline)


def seeds(seed: int | None, count: int, by_chance: bool) -> list[int]:
    """The seeds of `count` answers: from the one that is given, or drawn by chance where chance plays a part."""
    if seed is None:
        seed = secrets.randbelow(_LARGEST_DRAWN_SEED) if by_chance else 0
    return [(seed + number) % 2**63 for number in range(count)]


def check_texts(texts: Iterable[str], service: Service) -> None:
    """Raises ApiError (413) where they are too long together."""
    most = service.limits.text_characters
    if sum(len(text) for text in texts) > most:
        raise ApiError(413, f"the texts have more than {most} characters together", code="text_too_long")


def check_most(param: str, given: int | None, most: int) -> None:
    """Raises ApiError (400) where a number is over what this server allows."""
    if given is not None and given > most:
        raise wrong(param, f"is {given}; at most {most} is allowed here")


def guidance(service: Service, task: str, text: float | None, image: float | None) -> Guidance | None:
    """The guidance of a task with other scales; None where both are the model's own."""
    from dataclasses import replace

    from unimedvl.tasks import TASKS

    if text is None and image is None:
        return None
    own = service.engine.model.drawing_for(TASKS[task]).guidance
    scales = {"text_scale": text, "image_scale": image}
    return replace(own, **{name: scale for name, scale in scales.items() if scale is not None})


def sampled(service: Service, seed: int, stop: str | list[str] | None = None, **given: Any) -> Sampling:
    """How a text is chosen; what is None is the model's own way. Raises ApiError."""
    from unimedvl.inference.text import Sampling

    check_most("max_tokens", given.get("max_tokens"), service.limits.max_tokens)
    stops = [stop] if isinstance(stop, str) else stop or []
    check_texts(stops, service)
    most = {"max_tokens": min(Sampling.max_tokens, service.limits.max_tokens)}  # where it is not said
    try:
        return Sampling(seed=seed, stop=tuple(stops), **most | {k: v for k, v in given.items() if v is not None})
    except ValueError as error:
        raise as_api_error(error) from None


async def submitted(
    service: Service, request: Request, asked: Sequence[tuple[Any, dict[str, Any]]]
) -> list[Ticket]:
    """Hand requests to the engine, all or none; each is what `Engine.submit` takes, and its options.

    Raises:
        ApiError: one of them is refused, or the server is loading or shutting down.
    """
    if service.draining:
        raise unavailable("the server is shutting down")
    most = deadline(request, service)
    return await run_in_threadpool(submit, service, request.state.trace, most, asked)


def submit(
    service: Service, trace: Trace, most: float, asked: Sequence[tuple[Any, dict[str, Any]]]
) -> list[Ticket]:
    """What `submitted` does in a thread. most: seconds that it may take. Raises ApiError."""
    tickets: list[Ticket] = []
    try:
        if service.audit is not None and service.audit.required:
            service.audit.begin(trace.line(service, "begun"))
        for what, options in asked:
            left = most - trace.seconds  # reading images took its time
            tickets.append(service.engine.submit(what, deadline=max(left, 0.001), **options))
            check_most("tokens of the request", tickets[-1].prompt_tokens, service.limits.tokens)
    except Exception as error:
        for ticket in tickets:
            ticket.cancel()
        raise as_api_error(error) from error
    return tickets
