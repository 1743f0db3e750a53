"""Input, prediction and truth side by side: one HTML file with nothing from elsewhere.

What is right or wrong is told by a sign and a word, colours only repeat it. Without scripts all items are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.page import document, thumbnail
from unimedvl.data.whole import reason
from unimedvl.evaluation.item import LETTERS
from unimedvl.evaluation.outcomes import MODALITY, OUTCOMES, entries, headline, outcome, right_metric
from unimedvl.evaluation.results import Results
from unimedvl.inference.results import NOT_CLINICAL

# Items of each benchmark, pixels of an image's longer side, and bytes of all images as they stand in the page.
MOST = 60
SIDE = 256
BYTES = 24 * 2**20
# Characters of a text that are shown at once; the rest opens.
_SHORT = 400
_SIGNS = {"right": "✓ right", "wrong": "✗ wrong", "failed": "! failed", "not judged": "· not judged"}
_STYLE = """
:root { --right: #1b6e3c; --wrong: #a32a22; }
@media (prefers-color-scheme: dark) { :root { --right: #74c790; --wrong: #f0897f; } }
.notice { border-left: 4px solid var(--made); padding-left: .8rem; }
form { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: end;
  padding: .6rem 0; background: var(--paper); border-bottom: 1px solid var(--line); }
form[hidden], [hidden] { display: none; }
label { display: grid; grid-template-columns: minmax(0, 1fr); font-size: .82rem; color: var(--soft); min-width: 0;
  max-width: 100%; }
@media (max-width: 40rem) { form { position: static; } }
select, button { font: inherit; color: inherit; background: var(--panel); border: 1px solid var(--soft);
  border-radius: 4px; padding: .3rem .5rem; min-height: 2.2rem; max-width: 100%; }
select { color: var(--ink); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
[role=status] { margin: 0; padding-bottom: .35rem; font-size: .9rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); gap: 1rem; }
article { border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem; min-width: 0; }
article h3 { margin: 0 0 .1rem; }
.badge { display: inline-block; font-size: .85rem; font-weight: 600; padding: 0 .5rem; border: 2px solid currentColor;
  border-radius: 4px; }
.badge.right { color: var(--right); } .badge.wrong { color: var(--wrong); border-style: double; border-width: 4px; }
.badge.failed { color: var(--made); border-style: dashed; } .badge.not { color: var(--soft); border-style: dotted; }
article > .soft { font-size: .88rem; }
.pictures { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 12rem)); gap: .6rem;
  margin: .6rem 0; }
.pictures img { display: block; width: 100%; height: auto; background: #000; }
dl { margin: .5rem 0 0; font-size: .92rem; }
dt { color: var(--soft); font-size: .82rem; margin-top: .35rem; }
dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
"""
_SCRIPT = """
const form = document.querySelector("form"), cards = [...document.querySelectorAll("article")];
function filter() {
  const wanted = [...new FormData(form)];
  for (const card of cards) card.hidden = wanted.some(([name, value]) => value && card.dataset[name] !== value);
  for (const section of document.querySelectorAll("section"))
    section.hidden = !section.querySelector("article:not([hidden])");
  const shown = cards.filter((card) => !card.hidden).length;
  document.querySelector("[role=status]").textContent = `${shown} of ${cards.length} items shown`;
}
form.addEventListener("change", filter);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
form.hidden = false;
filter();
"""


def gallery(results: Results, most: int = MOST, side: int = SIDE, room: int = BYTES) -> str:
    """The page. The same results give the same page.

    most: items of each benchmark. side: pixels that images are made no longer than. room: bytes of all images together;
    those beyond are left out, and their places say so.

    Raises:
        EvaluationError: not the results of a suite.
    """
    found = entries(results)
    images = _Images(results.folder, side, room)
    sections, shown = [], []
    for name, entry in found.items():
        items = results.items(name)
        kept, metric = _chosen(items, most), right_metric(entry, items)
        shown += [(name, outcome(item, metric), _modality(item)) for item in kept]
        sections.append(_section(entry, items, kept, metric, images))
    title = f"{results.name}: input, prediction and truth"
    body = [
        f"<header><h1>{escape(title)}</h1>{_notice(results)}",
        f'<p class="soft">At most {most} items of each benchmark: those whose images the suite kept, then those that '
        f"failed, then others in order. Images are at most {side} pixels wide or high, and {room / 2**20:g} MB in all."
        "</p></header>",
        _form({name: entry["title"] for name, entry in found.items()}, shown),
        *sections,
        f"<script>{_SCRIPT}</script>",
    ]
    return document(title, "\n".join(body), _STYLE)


def _notice(results: Results) -> str:
    """What the images are. That nothing is for clinical use is said whatever the results say."""
    notice = str(results.content.get("notice", ""))
    told = [notice, "" if NOT_CLINICAL in notice or "clinical use" in notice else NOT_CLINICAL]
    if results.content.get("simulated") and "simulated" not in notice.lower():
        told.insert(0, "Simulated images.")
    return f'<p class="made notice">{escape(" ".join(filter(None, told)))}</p>'


def _chosen(items: Sequence[Mapping], most: int) -> list[Mapping]:
    """The items that are shown, in their order."""

    def rank(place: int) -> int:
        return 0 if _pictures(items[place]) else 1 if items[place].get("error") else 2

    return [items[k] for k in sorted(sorted(range(len(items)), key=rank)[:most])]


def _form(benchmarks: Mapping[str, str], shown: Sequence[tuple[str, str, str]]) -> str:
    used = {place: dict.fromkeys(each[place] for each in shown) for place in range(3)}
    fields = (
        ("benchmark", "benchmark", {name: title for name, title in benchmarks.items() if name in used[0]}),
        ("outcome", "outcome", {name: _SIGNS[name] for name in OUTCOMES if name in used[1]}),
        ("modality", "modality", {name: name for name in sorted(filter(None, used[2]))}),
    )
    selects = "".join(_select(name, label, options) for name, label, options in fields if options)
    return (
        f'<form hidden aria-label="Which items are shown">{selects}<button type="reset">Show all</button>'
        '<p role="status" aria-live="polite"></p></form>'
    )


def _select(name: str, label: str, options: Mapping[str, str]) -> str:
    lines = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options.items())
    return f'<label>{label}<select name="{name}"><option value="">all</option>{lines}</select></label>'


def _section(
    entry: Mapping, items: Sequence[Mapping], kept: Sequence[Mapping], metric: str, images: _Images
) -> str:
    first = headline(entry)
    told = f"{len(kept)} of {len(items)} items" + (f"; {first.metric} {first.text()}" if first else "")
    cards = "".join(_card(entry["name"], item, metric, images) for item in kept)
    simulated = '<p class="made">Simulated images.</p>' if entry.get("simulated") else ""
    return (
        f'<section><h2>{escape(entry["title"])}</h2>{simulated}<p class="soft">{escape(told)}</p>'
        f'<div class="cards">{cards}</div></section>'
    )


def _card(benchmark: str, item: Mapping, metric: str, images: _Images) -> str:
    became = outcome(item, metric)
    groups = ", ".join(f"{name}: {value}" for name, value in item.get("groups", {}).items())
    pictures = [images.figure(file, what, str(item["id"])) for what, file in _pictures(item)]
    columns = min(len(pictures), 3)
    return (
        f'<article data-benchmark="{escape(benchmark)}" data-outcome="{became}" '
        f'data-modality="{escape(_modality(item))}">'
        f'<h3>{escape(str(item["id"]))}</h3><span class="badge {became.split()[0]}">{_SIGNS[became]}</span>'
        f' <span class="soft">{escape(groups)}</span>'
        + (f'<div class="pictures" style="--columns: {columns}">{"".join(pictures)}</div>' if pictures else "")
        + f"<dl>{_lines(item)}</dl></article>"
    )


def _modality(item: Mapping) -> str:
    return str(item.get("groups", {}).get(MODALITY.removesuffix(": "), ""))


def _pictures(item: Mapping) -> list[tuple[str, str]]:
    """What each image of an item is, and its file."""
    inputs = item.get("images") or []
    named = [("input" if len(inputs) == 1 else f"input {k}", file) for k, file in enumerate(inputs, 1)]
    named += [("prediction", item["drawn"])] if item.get("drawn") else []
    named += [("truth", item["target"])] if item.get("target") else []
    return named + ([("nearest training image", item["nearest"])] if item.get("nearest") else [])


def _lines(item: Mapping) -> str:
    options = "\n".join(map(". ".join, zip(LETTERS, item.get("options") or (), strict=False)))
    answers = item.get("answers") or []
    sure = item.get("confidence")
    told = {
        "question": item.get("question") or "", "options": options, "prediction": item.get("prediction") or "",
        "truth" if len(answers) == 1 else "truth, any of": "\n".join(map(str, answers)),
        "scores": ", ".join(f"{name} {value:.4g}" for name, value in item.get("values", {}).items()),
        "confidence": "" if sure is None else f"{sure:.2f}", "failed with": item.get("error") or "",
    }  # fmt: skip
    return "".join(f"<dt>{name}</dt><dd>{_text(text)}</dd>" for name, text in told.items() if text)


def _text(text: str) -> str:
    if len(text) <= _SHORT:
        return escape(text)
    return f"{escape(text[:_SHORT])}<details><summary>the rest</summary>{escape(text[_SHORT:])}</details>"


class _Images:
    """Images as data URLs, while there is room."""

    def __init__(self, folder: Path, side: int, room: int) -> None:
        self.folder, self.side, self.room = folder.resolve(), side, room

    def figure(self, file: str, what: str, item: str) -> str:
        caption = f"<figcaption>{what}</figcaption></figure>"
        shown = self._image(file, f"{what} of {item}")
        return f"<figure>{shown}{caption}"

    def _image(self, file: str, alt: str) -> str:
        path = (self.folder / file).resolve()
        if not path.is_relative_to(self.folder):
            return _absent("not shown: its file is outside the results")
        try:
            small = thumbnail(path.read_bytes(), file, self.side)
        except OSError as error:
            return _absent(f"not shown: {file}: {reason(error)}")
        except DataError as error:
            return _absent(f"not shown: {error}")
        if len(small.url) > self.room:
            self.room = 0  # so that what follows is left out as well, not only what is large
            return _absent("left out: the page has as many images as it may")
        self.room -= len(small.url)
        return f'<img src="{small.url}" width="{small.width}" height="{small.height}" alt="{escape(alt)}">'


def _absent(why: str) -> str:
    return f'<p class="soft">{escape(why)}</p>'
