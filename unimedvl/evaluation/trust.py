"""How far answers can be trusted: calibration, consistency, what is guessed from words alone, gaps between groups.

`trust_of` makes a benchmark of any benchmark of questions: each question is asked as it is, in other words, of an image
that is changed a little, and without its image.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from unimedvl.evaluation.benchmark import Benchmark, Broken, Pairs, Scored
from unimedvl.evaluation.calibration import calibration
from unimedvl.evaluation.item import Item, Load
from unimedvl.evaluation.pictures import picture
from unimedvl.evaluation.score import Score, bootstrap, grouped, share

# What a question's sameness is not meant to depend on. Of words: what stands for the question in the prompt.
_WORDS: dict[str, Callable[[str], str]] = {
    "asked with a preface": lambda q: f"Look at this image. {q}",
    "asked in small letters": str.lower,
}
_CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "5 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.05),
    "moved by a hundredth": lambda image: _moved(image),
    "JPEG of quality 75": lambda image: _as_jpeg(image),
}
ORIGINAL, BLIND = "as it is", "without the image"
VARIANT = "variant"
# A group needs so many questions to have a figure of its own in the gap.
_FEWEST = 20


def trust_of(base: Benchmark) -> Benchmark:
    """A benchmark that asks the questions of `base` in every variant; it is named "<base>-trust"."""
    told = ", ".join([*_WORDS, *_CHANGES, BLIND])
    protocol = replace(
        base.protocol, prompt=f"{base.protocol.prompt}; each question as it is, then {told}",
        source=(base.protocol.source + " Agreement: the same words as to the question as it is.").strip(),
    )  # fmt: skip
    return replace(
        base, name=f"{base.name}-trust", title=f"{base.title}: trust", area="trust", protocol=protocol,
        read=partial(_variants, base), score=partial(_score, base), published_as="", expected=None,
    )  # fmt: skip


def _variants(base: Benchmark, root: Path | None) -> Iterator[Item | Broken]:
    for item in base.read(root):
        if isinstance(item, Broken) or not item.images or not item.answers:
            continue
        yield _named(item, ORIGINAL)
        for name, reword in _WORDS.items():
            if item.question and item.question in item.text:
                words = reword(item.question)
                yield _named(replace(item, text=item.text.replace(item.question, words), question=words), name)
        for name, change in _CHANGES.items():
            yield _named(replace(item, images=tuple(partial(_changed, load, change) for load in item.images)), name)
        yield _named(replace(item, images=()), BLIND)


def _named(item: Item, variant: str) -> Item:
    return replace(item, id=f"{item.id} {variant}", groups={**item.groups, VARIANT: variant})


def _changed(load: Load, change: Callable[[Image.Image], Image.Image]) -> bytes:
    out = io.BytesIO()
    change(Image.fromarray(picture(load()))).save(out, format="PNG", compress_level=1)
    return out.getvalue()


def _moved(image: Image.Image) -> Image.Image:
    """To the right and down by a hundredth of the sides, edges drawn out."""
    pixels = np.asarray(image)
    down, right = (max(1, round(side / 100)) for side in pixels.shape[:2])
    moved = np.pad(pixels, ((down, 0), (right, 0), (0, 0)), "edge")
    return Image.fromarray(moved[: pixels.shape[0], : pixels.shape[1]])


def _as_jpeg(image: Image.Image) -> Image.Image:
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=75)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


# ------------------------------------------------------------------------------------------- scores


def _score(base: Benchmark, pairs: Pairs) -> Scored:
    by_variant = grouped([item.groups[VARIANT] for item, _ in pairs], pairs)
    plain = by_variant.get(ORIGINAL, [])
    right = _right(base, plain)
    rights = [right[item.id.removesuffix(f" {ORIGINAL}")] for item, _ in plain]
    sure = [p.confidence or 0.0 for _, p in plain]
    scores = [share("accuracy", rights), *calibration(sure, rights)]
    said = {item.id.removesuffix(f" {ORIGINAL}"): p.text.strip().lower() for item, p in plain}
    kept = dict.fromkeys(said, True)
    for variant in (*_WORDS, *_CHANGES):
        part = by_variant.get(variant, [])
        same = {_key(i, variant): said.get(_key(i, variant)) == p.text.strip().lower() for i, p in part}
        scores.append(share("agreement", list(same.values()), group=f"{VARIANT}: {variant}"))
        scores.append(share("accuracy", list(_right(base, part).values()), group=f"{VARIANT}: {variant}"))
        kept = {key: held and same.get(key, True) for key, held in kept.items()}
    scores.append(share("agreement in every variant", list(kept.values())))
    blind = list(_right(base, by_variant.get(BLIND, [])).values())
    scores.append(share("accuracy", blind, group=f"{VARIANT}: {BLIND}", higher=False, beside="guessed from words"))
    scores += _gaps([item for item, _ in plain], rights)
    values = _right(base, pairs, whole=True)
    return Scored(scores, [{"accuracy": float(values[item.id])} for item, _ in pairs])


def _key(item: Item, variant: str) -> str:
    return item.id.removesuffix(f" {variant}")


def _right(base: Benchmark, pairs: Pairs, whole: bool = False) -> dict[str, bool]:
    """Whether each answer is right as `base` has it, by the question's id, or by the item's own where `whole`."""
    values = base.score(list(pairs)).values if pairs else []
    keys = [i.id if whole else _key(i, i.groups[VARIANT]) for i, _ in pairs]
    return {key: next(iter(v.values()), 0.0) == 1.0 for key, v in zip(keys, values, strict=True)}


def _gaps(items: Sequence[Item], rights: Sequence[bool]) -> list[Score]:
    """How far the groups with the best and the worst accuracy are apart, of each breakdown."""
    scores = []
    for name in dict.fromkeys(n for item in items for n in item.groups if n != VARIANT):
        parts = grouped([item.groups.get(name, "") for item in items], rights)
        parts = {value: hits for value, hits in parts.items() if value and len(hits) >= _FEWEST}
        if len(parts) < 2:
            continue
        means = {value: float(np.mean(hits)) for value, hits in parts.items()}
        best, worst = max(means, key=means.get), min(means, key=means.get)
        numbers = {value: place for place, value in enumerate(parts)}
        rows = [(numbers[i.groups[name]], r) for i, r in zip(items, rights, strict=True) if i.groups.get(name) in parts]
        low, high = bootstrap(rows, partial(_gap, groups=len(parts)))
        told = f"best {best}, worst {worst}; chance alone makes some gap"
        gap = means[best] - means[worst]
        scores.append(Score("gap of accuracy", gap, low, high, len(rows), "%", f"by {name}", False, beside=told))
    return scores


def _gap(rows: np.ndarray, groups: int) -> float:
    means = [rows[rows[:, 0] == g, 1].mean() for g in range(groups) if (rows[:, 0] == g).any()]
    return max(means) - min(means)
