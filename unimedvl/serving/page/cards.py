"""Results as HTML: one form for what was just made and for the history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from unimedvl.inference.results import NOT_CLINICAL, ImageResult
from unimedvl.serving.page.downloads import LABELS, kinds, name_of
from unimedvl.serving.page.running import Progress
from unimedvl.serving.page.session import Made
from unimedvl.serving.page.task_forms import TITLES

CERTAINTY = "how sure the model is of its own words, not how likely they are to be true"


def title(made: Made) -> str:
    return TITLES.get(made.task, made.task.capitalize())


def card(made: Made, level: int = 2) -> str:
    """A result with all that is known of it. level: of its heading."""
    parts = [
        f"<h{level}>{escape(title(made))}</h{level}>",
        f'<p class="asked"><span class="quiet">Asked:</span> {escape(made.words)}</p>',
    ]
    if made.result is None:
        parts.append(f'<p class="problem">{escape(made.problem)}</p>')
        return f'<article class="card">{"".join(parts)}</article>'
    result = made.result
    parts.append(_picture(made) if isinstance(result, ImageResult) else "")
    parts.append(_words(result.text))
    parts.append(confidence(result.confidence))
    if result.finish == "length":
        parts.append('<p class="quiet">The answer was cut at the longest that was asked for.</p>')
    parts.append(_links(made))
    if result.thought:
        parts.append(f"<details><summary>Reasoning</summary><p>{escape(result.thought)}</p></details>")
    parts.append(_source(made))
    return f'<article class="card" data-result="{made.id}">{"".join(parts)}</article>'


def confidence(value: float | None) -> str:
    """How sure the model is, 0 to 1, as a bar and a number; empty where nothing was said."""
    if value is None:
        return ""
    return (
        f'<p class="confidence"><span>Confidence {value:.0%}</span>'
        f'<meter min="0" max="1" value="{value:.3f}" aria-label="Confidence {value:.0%}"></meter>'
        f'<span class="quiet">{CERTAINTY}</span></p>'
    )


def progress(now: Progress, draws: bool) -> str:
    """A run on its way."""
    parts = []
    if draws and now.steps:
        parts.append(
            f'<p class="bar"><progress max="{now.steps}" value="{now.step}" aria-label="Steps drawn"></progress>'
            f"<span>step {now.step} of {now.steps}</span></p>"
        )
    else:
        doing = "Waiting for the model" if now.waits else "Writing"
        parts.append(f'<p class="bar"><progress aria-label="{doing}"></progress><span>{doing} …</span></p>')
    if now.preview:
        parts.append(
            f'<figure class="forming"><img src="{now.preview}" alt="The image as it forms"><figcaption>Synthetic, not'
            " finished</figcaption></figure>"
        )
    if now.thought and not now.text:
        parts.append(f'<p class="quiet">{escape(now.thought)}</p>')
    parts.append(_words(now.text))
    return f'<article class="card">{"".join(parts)}</article>'


def history(made: Sequence[Made]) -> str:
    """All results of a tab, the last first, each folded."""
    if not made:
        return '<p class="quiet">Nothing yet. Results stay here until you clear them or close this tab.</p>'
    rows = []
    for one in reversed(made):
        picture = f'<img src="{_place(one, "thumb")}" alt="" loading="lazy">' if one.given or one.png else ""
        told = (one.result.text if one.result else one.problem) or "an image"
        rows.append(
            f'<details class="past"><summary>{picture}<span><b>{escape(title(one))}</b> {one.at:%H:%M}<br>'
            f'<span class="quiet">{escape(_short(told))}</span></span></summary>{card(one, 3)}</details>'
        )
    return "".join(rows)


def _words(text: str) -> str:
    if not text:
        return ""
    broken = escape(text).replace(" Impression:", "<br>Impression:").replace("\n", "<br>")
    for section in ("Findings:", "Impression:"):
        broken = broken.replace(section, f"<b>{section}</b>")
    return f'<p class="answer">{broken}</p>'


def _picture(made: Made) -> str:
    """The drawing; before and after where it was made of an image."""
    height, width = made.result.array.shape[:2]
    drawn = f'<img class="after" src="{_place(made, "png")}" alt="Synthetic image: {escape(made.words)}">'
    mark = '<span class="synthetic">Synthetic</span>'
    box = f'style="aspect-ratio:{width}/{height}"'
    caption = f"<figcaption>Synthetic image, {width} x {height}, drawn by the model. {NOT_CLINICAL}</figcaption>"
    if not made.given:
        return f'<figure><div class="frame" {box}>{drawn}{mark}</div>{caption}</figure>'
    return (
        f'<figure><div class="frame compare" {box}>{drawn}<img class="before" src="{_place(made, "given")}"'
        f' alt="The image that was given">{mark}<span class="edge"></span></div>'
        '<label class="split"><span>Before</span><input type="range" min="0" max="100" value="50"'
        ' aria-label="Before and after: how much of the image that was given is shown"><span>After</span></label>'
        f"{caption}</figure>"
    )


def _links(made: Made) -> str:
    links = [
        f'<a class="button" href="{_place(made, kind)}" download="{name_of(made, kind)}">{LABELS[kind]}</a>'
        for kind in kinds(made)
    ]
    return f'<p class="downloads"><span class="quiet">Download</span> {" ".join(links)}</p>' if links else ""


def _source(made: Made) -> str:
    came = made.result.provenance
    told = escape(json.dumps(came, indent=1, sort_keys=True, ensure_ascii=False))
    model = came.get("model", {})
    short = (
        f"{made.seconds:.1f} s, seed {came.get('seed', 0)}, model {model.get('name')}, weights"
        f" {str(model.get('weights_sha256'))[:12]}"
    )
    return f"<details><summary>Where it came from: {escape(short)}</summary><pre>{told}</pre></details>"


def _place(made: Made, kind: str) -> str:
    """Relative, so that it holds behind a proxy, too."""
    return f"page/results/{made.id}/{kind}"


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]} …"
