"""What was taken in and made, in tokens as the model counts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from unimedvl.serving.service import Service

if TYPE_CHECKING:
    from unimedvl.inference.engine import Ticket


def drawn_tokens(ticket: Ticket) -> int:
    """Latent tokens of the image that is drawn; 0 where none is."""
    rows, columns = ticket.asked.shape
    return rows * columns


def count(service: Service, tickets: Sequence[Ticket]) -> None:
    """Add finished requests to the server's numbers."""
    for ticket in tickets:
        service.metrics.tokens.labels("prompt").inc(ticket.prompt_tokens)
        service.metrics.tokens.labels("answer").inc(ticket.answer_tokens)
        if ticket.asked.draws:
            service.metrics.images.inc()


def chat_usage(tickets: Sequence[Ticket]) -> dict[str, Any]:
    """As in a chat completion. The prompt is counted once, though several answers follow it."""
    prompt, image = tickets[0].prompt_tokens, tickets[0].image_tokens
    said, drawn = sum(t.answer_tokens for t in tickets), sum(map(drawn_tokens, tickets))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": said + drawn,
        "total_tokens": prompt + said + drawn,
        "prompt_tokens_details": {
            "text_tokens": prompt - image, "image_tokens": image, "cached_tokens": tickets[0].reused_tokens,
        },
        "completion_tokens_details": {"text_tokens": said, "image_tokens": drawn},
    }  # fmt: skip


def image_usage(tickets: Sequence[Ticket]) -> dict[str, Any]:
    """As in a reply of the image routes."""
    told = chat_usage(tickets)
    details = {name: told["prompt_tokens_details"][name] for name in ("text_tokens", "image_tokens")}
    return {
        "input_tokens": told["prompt_tokens"],
        "output_tokens": told["completion_tokens"],
        "total_tokens": told["total_tokens"],
        "input_tokens_details": details,
        "output_tokens_details": told["completion_tokens_details"],
    }
