"""HTML pages of the data engine: one file, with no scripts, fonts or pictures from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.quality.coarse import image_size
from unimedvl.data.record import Record
from unimedvl.data.whole import written_whole
from unimedvl.imaging.metadata import says_made

# Attributes that say an image was made and not taken, and the word that a page then shows.
_MADE = {"simulated": "simulated", "synthetic": "synthetic", "phantom": "simulated", "phantoms": "simulated"}
_DENIED = {"", "0", "no", "false"}
# What damaged image files raise, by format.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, Image.DecompressionBombError)
# Modes whose values do not fit into 8 bits.
_WIDE = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")

STYLE = """
:root { --paper: #fcfcfa; --ink: #1c2126; --soft: #59626a; --line: #d9dddb; --panel: #f2f4f1;
  --kept: #2f6f9f; --dropped: #b3541e; --made: #8a4a00; --link: #1f5a96; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181b; --ink: #e5e7e7; --soft: #a0a8ae; --line: #343a3f;
  --panel: #1e2327; --kept: #6fb1e0; --dropped: #ec9a63; --made: #f0b46c; --link: #8bbbea; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; overflow-wrap: anywhere; }
p { max-width: 46rem; margin: 0 0 .8rem; overflow-wrap: anywhere; }
a { color: var(--link); }
.soft { color: var(--soft); }
.made { color: var(--made); font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); }
td { max-width: 24rem; overflow-wrap: break-word; }
td:not(.number) { min-width: 4.5rem; }
th { font-weight: 600; color: var(--soft); }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); gap: 1rem 2rem; }
figure { margin: 0; }
figcaption { font-size: .82rem; color: var(--soft); overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--ink); font: 11px system-ui, sans-serif; }
svg .kept { fill: var(--kept); } svg .dropped { fill: var(--dropped); } svg .axis { stroke: var(--line); }
.images { display: flex; flex-wrap: wrap; gap: .8rem; margin: .6rem 0; }
.images img { display: block; max-width: 100%; height: auto; background: #000; }
details { margin: .4rem 0 .8rem; }
.turn { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; }
.turn b { color: var(--soft); }
"""


@dataclass(frozen=True)
class Thumbnail:
    """A small PNG of an image. width, height: of the PNG. full: (width, height) of the image. made: as
    `made_by_model`."""

    png: bytes
    width: int
    height: int
    full: tuple[int, int]
    made: bool

    @property
    def url(self) -> str:
        """The PNG as a data URL."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


def thumbnail(data: bytes, name: str, side: int = 256) -> Thumbnail:
    """A PNG at most `side` pixels wide and high. name: what an error calls the image.

    Grey levels of more than 8 bits are stretched from the darkest to the brightest.

    Raises:
        DataError: no image that can be read, or a damaged one.
    """
    full = image_size(data, name)
    try:
        with Image.open(io.BytesIO(data)) as opened:
            made = says_made(opened)
            opened.draft("RGB", (side, side))  # JPEG decodes at a fraction of its size
            shown = _eight_bits(opened)
        shown.thumbnail((side, side))
        out = io.BytesIO()
        shown.save(out, format="PNG")
    except _DAMAGED as error:
        raise DataError(f"{name}: damaged: {error}") from error
    return Thumbnail(out.getvalue(), shown.width, shown.height, full, made)


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode not in _WIDE:
        return image.convert("RGB")
    grey = image.convert("F")
    low, high = grey.getextrema()
    scale = 255 / (high - low) if high > low else 0.0
    return grey.point(lambda v: v * scale - low * scale).convert("L").convert("RGB")


def made_how(record: Record, simulated: Collection[str] = ()) -> str:
    """`simulated` or `synthetic` where the record says that its images are; empty where it says nothing.

    simulated: data sets of which a build says it.
    """
    if record.dataset in simulated:
        return "simulated"
    if record.dataset in _MADE:
        return _MADE[record.dataset]
    for name, value in record.attributes.items():
        if name in _MADE and value.strip().lower() not in _DENIED:
            return _MADE[name]
        if value.strip().lower() in _MADE:
            return _MADE[value.strip().lower()]
    return ""


def made_by_model(data: bytes) -> bool:
    """Whether an encoded image says of itself that a model made it; only its header is read."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return says_made(opened)
    except _DAMAGED:
        return False


def simulated_note(names: Iterable[str]) -> str:
    """What a page says of inputs that a build calls simulated; empty where there are none."""
    told = escape(", ".join(names))
    return f'<p class="made">Simulated inputs, with no patient behind them: {told}.</p>' if told else ""


def document(title: str, body: str, style: str = "") -> str:
    """A whole page. body: HTML, escaped already."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as HTML; numbers are set to the right, with thousands apart."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in header)
    lines = ("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _cell(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f'<td class="number">{number(value)}</td>'
    return f"<td>{escape(str(value))}</td>"


def number(value: float) -> str:
    """A number as read by people: whole ones with thousands apart, others to four digits."""
    return f"{int(value):,}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"


def turns(record: Record) -> str:
    """A record's messages as HTML."""
    names = {"human": "user", "gpt": "model"}
    return "".join(
        f'<div class="turn"><b>{names[m.speaker]}</b> {escape(m.value.strip())}</div>' for m in record.message
    )


def write_page(file: Path, text: str) -> None:
    """Write a page whole or not at all. Raises DataError where it can't be written."""
    with written_whole(Path(file)) as part:
        part.write_text(text, encoding="utf-8")
