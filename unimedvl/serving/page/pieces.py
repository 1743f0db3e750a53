"""Pieces of the page as HTML: which model runs, the image that is shown, and sentences on what went wrong."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from unimedvl.inference.results import NOT_CLINICAL
from unimedvl.serving.page.upload import shown
from unimedvl.serving.pictures import base64_of

if TYPE_CHECKING:
    from unimedvl.serving.page.session import Session
    from unimedvl.serving.page.upload import Item
    from unimedvl.serving.service import Service

_NO_IMAGE = '<p class="empty">No image yet. Choose a file, drop one here, or take an example study.</p>'


def banner(service: Service) -> str:
    """Which model runs, in a sentence, and what it is not for."""
    engine = service.engine
    if engine.failure is not None:
        state = '<span class="problem">The model could not be loaded; the log of the server says why.</span>'
    elif not engine.ready:
        state = '<span role="status">The model is being loaded. You can choose images meanwhile …</span>'
    else:
        card, model = engine.model.card, engine.model.model
        trained = str(card.get("trained_on", "")) or "data that it does not state"
        state = (
            f"Model <b>{escape(str(card.get('name') or service.settings.called))}</b>, trained on:"
            f" {escape(trained)}. Runs on {escape(model.device.type)}, {str(model.dtype).removeprefix('torch.')}."
        )
    return f'<p class="model">{state}</p><p class="notice" role="note">{escape(NOT_CLINICAL)}</p>'


def viewer(item: Item | None, session: Session) -> str:
    """The image that is shown, how it was read, and which of several it is."""
    if item is None:
        return _NO_IMAGE
    kind, data = shown(item.image)
    mark = '<span class="synthetic">Simulated</span>' if item.simulated else ""
    several = f"{session.shown + 1} of {len(session.items)}: " if len(session.items) > 1 else ""
    return (
        f'<figure class="viewer"><div class="frame"><img src="data:{kind};base64,{base64_of(data)}"'
        f' alt="{escape(item.name)}, {escape(item.how)}">{mark}</div>'
        f"<figcaption>{several}<b>{escape(item.name)}</b><br>{escape(item.how)}</figcaption></figure>"
    )


def problem(sentence: str) -> str:
    """What went wrong, for people; a file's name at its beginning stays as it is."""
    if not sentence.partition(" ")[0].endswith(":"):
        sentence = sentence[:1].upper() + sentence[1:]
    ended = sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."
    return f'<p class="problem" role="alert">{escape(ended)}</p>'
