"""The pages of the audit's form: HTML that works without scripts, and a script that adds the keyboard.

Every control is a labelled radio button, so that the form can be used with a mouse, by touch, and with a screen
reader; the order of focus is that of the page: image, text, dimensions, save.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from unimedvl.data.page import turns
from unimedvl.data.quality.audit import DIMENSIONS, Dimension, Rating
from unimedvl.data.record import Record

# What is said of a dimension that is not about a record.
_NOT_APPLICABLE = "does not apply"
_QUESTIONS = {
    "modality_match": "Do the text and the image agree on the kind of image?",
    "factual_accuracy": "Is what the text says true of the image?",
    "completeness": "Does it say what matters?",
    "position_and_quantity": "Are places, sides, sizes and counts right?",
    "professionalism": "Is it said as a professional would?",
    "planning_coherence": "Does the plan before a drawing hold together?",
    "clinical_reasoning": "Does the reasoning follow, clinically?",
}


@dataclass(frozen=True)
class Item:
    """One record to be rated. number: from 1, of `total`. rated: how many this rater has done. made: simulated,
    synthetic or empty. saved: what this rater said of it before."""

    rater: str
    number: int
    total: int
    rated: int
    record: Record
    made: str = ""
    saved: Rating | None = None


def steps(dimension: Dimension) -> tuple[float, ...]:
    """The ratings that are offered: 0 to 5, or 0, a half and 1. Others in the range are taken from elsewhere."""
    return tuple(range(int(dimension.most) + 1)) if dimension.most > 1 else (0, 0.5, 1)


def item_page(item: Item) -> str:
    """The page of one record: its images and messages, and the dimensions, with what was rated before."""
    record, made = item.record, item.made
    said = f'<p class="made">These images are {made}.</p>' if made else ""
    figures = "".join(_figure(item, place, made) for place in range(len(record.pictures)))
    groups = "".join(_group(d, item.saved) for d in DIMENSIONS)
    comment = escape(item.saved.comment) if item.saved else ""
    body = (
        f'<nav aria-label="Records">{_step(item, -1, "Previous")}<span>Record {item.number} of {item.total}</span>'
        f"{_step(item, 1, 'Next')}</nav>"
        f'<p class="progress"><label for="done">{item.rated} of {item.total} rated by {escape(item.rater)}</label> '
        f'<progress id="done" max="{item.total}" value="{item.rated}"></progress></p>'
        f'<div class="sides"><section aria-label="Record"><h1>{escape(record.modality)}, '
        f"{escape(record.sub_task_type)}</h1>{said}"
        f'<div class="images">{figures}</div>{turns(record)}</section>'
        f'<form method="post" autocomplete="off" aria-label="Ratings">{groups}'
        f'<p><label for="comment">Comment</label><input id="comment" name="comment" maxlength="2000" '
        f'value="{comment}"></p><div class="save"><button>Save and go on</button>{_state(item)}</div>'
        '<p class="soft keys">Keys: a digit rates (5 is a half where 1 is the most), n: does not apply, up and down '
        "go from one to the next, Enter saves and goes on.</p></form></div>"
    )
    return _document(f"Record {item.number} of {item.total}", body, script=True)


def _state(item: Item) -> str:
    if item.saved is None:
        return '<p id="state" class="soft" role="status">Not rated yet.</p>'
    return '<p id="state" class="saved" role="status">Saved; saving again replaces it.</p>'


def _step(item: Item, by: int, words: str) -> str:
    number = item.number + by
    if not 1 <= number <= item.total:
        return f'<span class="soft">{words}</span>'
    towards = "prev" if by < 0 else "next"
    return f'<a href="/rate/{item.rater}/{number}" rel="{towards}">{words}</a>'


def _figure(item: Item, place: int, made: str) -> str:
    record = item.record
    role = "input" if place < len(record.input_img) else "output"
    words = f"{made + ' ' if made else ''}{record.modality} image, {role} {place + 1}"
    source = f"/image/{item.number}/{place + 1}"
    mark = f", {made}" if made else ""
    return (
        f'<figure><a href="{source}"><img src="{source}" alt="{escape(words)}"></a>'
        f"<figcaption>{role}{mark}</figcaption></figure>"
    )


def _group(dimension: Dimension, saved: Rating | None) -> str:
    choices = [(f"{step:g}", f"{step:g}") for step in steps(dimension)]
    chosen = None
    if saved is not None:
        score = saved.scores.get(dimension.name)
        chosen = "" if score is None else f"{score:g}"
        if score is not None and chosen not in dict(choices):
            chosen = repr(score)
            choices.append((chosen, chosen))  # rated elsewhere, between the steps
    choices.append(("", _NOT_APPLICABLE))
    checked, no = " checked", ""
    radios = "".join(
        f'<label><input type="radio" name="{dimension.name}" value="{value}" required'
        f"{checked if value == chosen else no}><span>{words}</span></label>"
        for value, words in choices
    )
    about = f"{dimension.name}-about"
    return (
        f'<fieldset aria-describedby="{about}"><legend>{escape(dimension.title)}</legend>'
        f'<p id="{about}" class="soft">{escape(_QUESTIONS.get(dimension.name, ""))} 0 is worst, '
        f'{dimension.most:g} best.</p><div class="choices">{radios}</div></fieldset>'
    )


def start_page(progress: Sequence[tuple[str, int]], total: int) -> str:
    """Where a rater gives a name. progress: (rater, records rated) of those who have begun."""
    items = "".join(
        f'<li><a href="/rate/{escape(name)}">{escape(name)}</a>: {done} of {total}</li>' for name, done in progress
    )
    begun = f"<h2>Begun</h2><ul>{items}</ul>" if items else ""
    body = (
        f"<h1>Expert audit</h1><p>{total} records are rated in {len(DIMENSIONS)} dimensions. Everyone who rates "
        "uses a name of their own, such as initials; what was rated is there again under the same name.</p>"
        '<form class="begin" method="get" action="/rate"><p><label for="rater">Name</label><input id="rater" '
        'name="rater" required maxlength="32" pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*" autocomplete="username" '
        'aria-describedby="name-form"></p><p id="name-form" class="soft">Letters, digits, dot, dash and underscore.'
        f"</p><button>Begin</button></form>{begun}"
        '<p><a href="/ratings.csv">All ratings as CSV</a></p>'
    )
    return _document("Expert audit", body)


def done_page(rater: str, total: int) -> str:
    """What a rater sees after the last record."""
    body = (
        f"<h1>All {total} records are rated</h1><p>Thank you, {escape(rater)}. "
        f'<a href="/rate/{escape(rater)}/1">Look at them again</a>, or go <a href="/">back to the start</a>.</p>'
    )
    return _document("All rated", body)


def refused_page(message: str) -> str:
    """What a browser shows of a request that is not answered."""
    body = f'<h1>This did not work</h1><p>{escape(message)}</p><p><a href="/">To the start</a></p>'
    return _document("This did not work", body)


def _document(title: str, body: str, script: bool = False) -> str:
    loaded = '<script src="/form.js" defer></script>' if script else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="/icon.svg"><link rel="stylesheet" href="/form.css">'
        f"{loaded}</head><body><main>{body}"
        '<footer class="soft">For the quality control of data. Not for clinical use.</footer>'
        "</main></body></html>\n"
    )
