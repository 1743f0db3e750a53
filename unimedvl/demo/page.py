"""The demonstration as one HTML file: no scripts, no fonts and no pictures from elsewhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from unimedvl.demo.entries import Entry, Line, Picture
from unimedvl.demo.run import Chapter
from unimedvl.inference.results import NOT_CLINICAL

CAN = (
    "Run every task of the large model through the same code, on two processor cores, in seconds.",
    "Tell the kinds of simulated image apart, name findings that are large on 128 pixels, and write short "
    "reports in the words it was taught.",
    "Draw and edit simulated images so that layout and contrast are right; fine detail is smoothed.",
)
CANNOT = (
    "Be trusted on a real image. It has never seen one. Where an answer below is right, the image looks "
    "like a simulated one; that is resemblance, not diagnosis.",
    "Say that it doesn't know. Every image gets an answer from its own small list, and the confidence beside "
    "it is often high when the answer is wrong.",
    "See what is lost at 128 pixels: counts, sizes, thin vessels, small lesions.",
    "Follow instructions in other words than those of its training, or in other languages.",
    "Draw a faithful image of a patient. Whatever it draws is invented and marked as synthetic.",
)
HEADINGS = {
    "simulated": (
        "On simulated studies",
        "Each study is that of the first held-out seed of its modality with exactly one finding. Training "
        "never used these seeds. All of it is simulated, so the truth beside each output is exact.",
    ),
    "real": (
        "On real files",
        "Files that the dependencies of this package carry as test data. What each shows is known only "
        "roughly, so little can be judged; what is to be expected is said before the result.",
    ),
}


@dataclass(frozen=True)
class About:
    """What is said at the head. facts: (name, value) pairs: model, hash, machine, versions."""

    facts: tuple[tuple[str, str], ...]
    seconds: float


def render(chapters: Sequence[Chapter], about: About) -> str:
    """The page's HTML."""
    style = files("unimedvl.demo").joinpath("page.css").read_text(encoding="utf-8")
    body = [
        _header(about, chapters),
        _summary(chapters),
        *(_section(section, chapters) for section in HEADINGS),
        _limits(),
        f"<footer><p>{escape(NOT_CLINICAL)} Pictures that were drawn hold their provenance and the mark of a "
        "synthetic image in their PNG data.</p></footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>UniMedVL demonstration</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def rows(chapters: Iterable[Chapter]) -> list[tuple[str, Entry]]:
    """(section, entry) of every entry in order, for tables."""
    return [(chapter.group.section, entry) for chapter in chapters for entry in chapter.entries]


def score(chapters: Iterable[Chapter], section: str) -> tuple[int, int]:
    """Right answers and judged answers of a section."""
    lines = [line for kind, entry in rows(chapters) if kind == section for line in entry.lines]
    judged = [line.right for line in lines if line.right is not None]
    return sum(judged), len(judged)


def _header(about: About, chapters: Sequence[Chapter]) -> str:
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in about.facts)
    simulated, real = score(chapters, "simulated"), score(chapters, "real")
    return (
        "<header>\n<h1>UniMedVL demonstration</h1>\n"
        '<p class="lead">Every task, on simulated studies with known truth and on real files.</p>\n'
        f'<p class="notice"><strong>{escape(NOT_CLINICAL)}</strong> What the model was trained on is said '
        "below. One that was trained on simulated images says nothing of worth about real ones.</p>\n"
        f"<dl>{facts}</dl>\n"
        f"<p>Judged answers that are right: {simulated[0]} of {simulated[1]} on simulated studies, "
        f"{real[0]} of {real[1]} on real files. The whole took {about.seconds:.0f} s.</p>\n</header>"
    )


def _summary(chapters: Sequence[Chapter]) -> str:
    numbers = {id(c): i for i, c in enumerate(chapters)}
    lines = []
    for chapter in chapters:
        anchor = f"g{numbers[id(chapter)]}"
        for e in chapter.entries:
            lines.append(
                f'<tr><td><a href="#{anchor}">{escape(e.task)}</a></td><td>{escape(e.subject)}</td>'
                f'<td>{escape(e.verdict)}</td><td class="number">{e.seconds:.1f}</td></tr>'
            )
        if chapter.group.problem:
            lines.append(
                f'<tr><td><a href="#{anchor}">none</a></td><td>{escape(chapter.group.title)}</td>'
                f"<td>{escape(chapter.group.problem)}</td><td></td></tr>"
            )
    return (
        '<section><h2>Summary</h2>\n<div class="wide"><table class="summary"><thead><tr>'
        '<th scope="col">Task</th><th scope="col">On what</th><th scope="col">Result</th>'
        '<th scope="col" class="number">Seconds</th></tr></thead>\n<tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table></div></section>"
    )


def _section(section: str, chapters: Sequence[Chapter]) -> str:
    title, about = HEADINGS[section]
    articles = [_article(c, f"g{i}") for i, c in enumerate(chapters) if c.group.section == section]
    return f"<section><h2>{title}</h2>\n<p>{about}</p>\n" + "\n".join(articles) + "\n</section>"


def _article(chapter: Chapter, anchor: str) -> str:
    g = chapter.group
    parts = [f'<article id="{anchor}"><h3>{escape(g.title)}</h3>', f"<p>{escape(g.about)}</p>"]
    if g.expect:
        parts.append(f'<p class="expect"><strong>Expect:</strong> {escape(g.expect)}</p>')
    if g.problem:
        parts.append(f'<p class="expect"><strong>Not run:</strong> {escape(g.problem)}</p>')
    parts.append(_pictures(g.pictures))
    parts += [_entry(entry) for entry in chapter.entries]
    return "\n".join(filter(None, parts)) + "\n</article>"


def _entry(entry: Entry) -> str:
    parts = [
        f'<div class="entry"><h4>{escape(entry.task)} <span>{escape(entry.subject)}</span></h4>',
        f'<p class="verdict">{escape(entry.verdict)} <span>{entry.seconds:.1f} s</span></p>',
        _pictures(entry.pictures),
        _lines(entry.lines),
        _provenance(entry.provenance),
    ]
    return "\n".join(filter(None, parts)) + "\n</div>"


def _pictures(pictures: Sequence[Picture]) -> str:
    return f'<div class="pictures">{"".join(map(_figure, pictures))}</div>' if pictures else ""


def _figure(p: Picture) -> str:
    data = base64.b64encode(p.png).decode("ascii")
    return (
        f'<figure class="{p.role}"><img alt="{escape(p.alt)}" width="{p.size[0]}" height="{p.size[1]}" '
        f'src="data:image/png;base64,{data}">'
        f"<figcaption><b>{p.role}</b> {escape(p.caption)}</figcaption></figure>\n"
    )


def _lines(lines: Sequence[Line]) -> str:
    return f'<dl class="lines">{"".join(map(_line, lines))}</dl>' if lines else ""


def _line(line: Line) -> str:
    mark = {True: '<span class="right">✓ right</span>', False: '<span class="wrong">✗ wrong</span>', None: ""}
    sure = "" if line.confidence is None else f'<span class="sure">confidence {line.confidence:.2f}</span>'
    truth = ""
    if line.truth and line.right is not True:
        truth = f'<dd class="truth">truth: {escape(line.truth)}</dd>'
    answer = escape(line.answered) or "<i>no answer</i>"
    return f"<dt>{escape(line.asked)}</dt><dd>{answer} {mark[line.right]} {sure}</dd>{truth}\n"


def _provenance(records: Sequence[dict]) -> str:
    if not records:
        return ""
    text = escape(json.dumps(records[0] if len(records) == 1 else records, indent=1, ensure_ascii=False))
    return f"<details><summary>Provenance</summary><pre>{text}</pre></details>"


def _limits() -> str:
    can, cannot = ("".join(f"<li>{escape(line)}</li>" for line in lines) for lines in (CAN, CANNOT))
    return (
        "<section><h2>What nano can and can't do</h2>\n"
        "<p>nano is the embedded model: the architecture of the large one in 19 million parameters, for "
        "images of 128 pixels, trained on simulated images only. It shows that the software "
        "works; how well it does what it was made for is what the numbers above say.</p>\n"
        f"<h3>It was made to</h3><ul>{can}</ul>\n<h3>It can't</h3><ul>{cannot}</ul></section>"
    )
