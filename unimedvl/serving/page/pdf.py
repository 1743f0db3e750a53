"""A result as a PDF for reading and printing: images, words, how sure, by which model; on each page that it is not for
clinical use."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from unimedvl.inference.results import NOT_CLINICAL, ImageResult
from unimedvl.serving.page.session import Made
from unimedvl.serving.page.task_forms import TITLES

# Fonts with letters of most languages, where the system has one; else PDF's own, which has those of Western Europe.
_FONTS = (
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
    "/usr/share/fonts/TTF/DejaVuSans.ttf", "/usr/share/fonts/truetype/noto/NotoSans-Regular.ttf",
    "/Library/Fonts/Arial Unicode.ttf", "C:/Windows/Fonts/arial.ttf",
)  # fmt: skip
_INK, _FAINT, _WARN = (25, 33, 44), (84, 96, 112), (150, 40, 20)
_WIDEST, _TALLEST = 86, 100  # mm, of an image
_SECTIONS = ("Findings:", "Impression:")
_LONGEST, _LONGEST_SOURCE = 20_000, 4_000  # characters, so that a PDF takes a moment and few pages


def pdf_of(made: Made) -> bytes:
    """The PDF of a result. The same result gives the same bytes."""
    page = _Page(made)
    page.add_page()
    page.heading(TITLES.get(made.task, made.task.capitalize()), 18)
    page.small(f"{made.at:%Y-%m-%d %H:%M} · {made.seconds:.1f} s")
    page.part("Asked", made.words)
    page.pictures()
    page.answer()
    page.source()
    return bytes(page.output())


class _Page(FPDF):
    """One document. Its pages open and close with what it is not for."""

    def __init__(self, made: Made) -> None:
        super().__init__(format="A4")
        self.made = made
        self.set_title(f"UniMedVL: {made.task}")
        self.set_creator("UniMedVL")
        self.set_creation_date(made.at.astimezone())
        self.set_margins(18, 16)
        self.set_auto_page_break(True, 22)
        font = _font()
        self._wide = font is not None
        self._family = "wide" if font else "Helvetica"
        if font:
            self.add_font("wide", "", font)

    def header(self) -> None:
        self._notice()
        self.ln(3)

    def footer(self) -> None:
        self.set_y(-16)
        self._notice()
        self.small(f"Made by a model, not verified by a person. Page {self.page_no()}")

    def heading(self, words: str, size: float = 12) -> None:
        self._write(words, size, _INK)
        self.ln(1)

    def small(self, words: str) -> None:
        self._write(words, 8, _FAINT)

    def part(self, title: str, words: str) -> None:
        self.ln(3)
        self.heading(title)
        self._write(_cut(words, _LONGEST), 10.5, _INK)

    def pictures(self) -> None:
        """What was given, then what was drawn, side by side, with what each is."""
        drawn = isinstance(self.made.result, ImageResult)
        shown = [(png, "Given") for png in self.made.given[: 1 if drawn else 4]]
        if drawn:
            shown.append((self.made.png, "Synthetic: drawn by the model"))
        self.ln(4)
        for start in range(0, len(shown), 2):
            self._row(shown[start : start + 2])

    def _row(self, shown: list[tuple[bytes, str]]) -> None:
        sizes = [_size(png) for png, _ in shown]
        if self.get_y() + max(h for _, h in sizes) + 8 > self.h - 22:
            self.add_page()
        top, lowest = self.get_y(), 0.0
        for column, ((png, caption), (width, height)) in enumerate(zip(shown, sizes, strict=True)):
            x = self.l_margin + column * (_WIDEST + 2)
            self.image(io.BytesIO(png), x=x, y=top, w=width, h=height, alt_text=caption)
            self.set_xy(x, top + height + 1)
            self.set_font(self._family, size=8)
            self.set_text_color(*(_WARN if caption.startswith("Synthetic") else _FAINT))
            self.cell(_WIDEST, 4, self._fit(caption))
            lowest = max(lowest, height)
        self.set_xy(self.l_margin, top + lowest + 7)

    def answer(self) -> None:
        result = self.made.result
        if result.text:
            self.part("Answer", _in_sections(result.text))
        if result.confidence is not None:
            self.ln(1)
            self.small(
                f"Confidence {result.confidence:.0%}: how sure the model is of its own words, not how likely they are"
                " to be true."
            )
        if result.finish == "length":
            self.small("The answer was cut at the longest that was asked for.")
        if result.thought:
            self.part("Reasoning", result.thought)

    def source(self) -> None:
        came = self.made.result.provenance
        model = came.get("model", {})
        self.part("Model", f"{model.get('name')}, trained on: {model.get('trained_on')}. {NOT_CLINICAL}")
        self.ln(3)
        self.heading("Where it came from")
        told = json.dumps(came, indent=1, sort_keys=True, ensure_ascii=False)
        self._write(_cut(told, _LONGEST_SOURCE), 7, _FAINT)

    def _notice(self) -> None:
        self._write(NOT_CLINICAL, 9, _WARN)

    def _write(self, words: str, size: float, colour: tuple[int, int, int]) -> None:
        self.set_font(self._family, size=size)
        self.set_text_color(*colour)
        wrap = "CHAR" if size < 8 else "WORD"
        self.multi_cell(
            0, size * 0.48, self._fit(words), new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L", wrapmode=wrap
        )  # fmt: skip

    def _fit(self, words: str) -> str:
        """Without characters that the font has not; each is shown as a question mark."""
        words = "".join(c if c.isprintable() or c == "\n" else " " for c in words)
        return words if self._wide else words.encode("latin-1", "replace").decode("latin-1")


@cache
def _font() -> str | None:
    return next((path for path in _FONTS if Path(path).is_file()), None)


def _size(png: bytes) -> tuple[float, float]:
    """Width and height in mm at which an image fits its place."""
    from PIL import Image as PillowImage

    with PillowImage.open(io.BytesIO(png)) as picture:
        width, height = picture.size
    scale = min(_WIDEST / width, _TALLEST / height)
    return width * scale, height * scale


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} ... (cut; {len(text)} characters in all)"


def _in_sections(text: str) -> str:
    """A report with its sections on lines of their own."""
    for section in _SECTIONS[1:]:
        text = text.replace(f" {section}", f"\n{section}")
    return text
