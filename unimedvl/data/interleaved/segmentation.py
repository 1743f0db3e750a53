"""The mask of a structure or finding that is named in words, white on black."""

from __future__ import annotations

from collections.abc import Iterator

from unimedvl.data.interleaved.task import InterleavedTask, Pair, as_png
from unimedvl.data.interleaved.wording import Wording
from unimedvl.phantoms.study import Study


def _pairs(study: Study) -> Iterator[Pair]:
    """Every mask with something in it, on the study's first image."""
    view = next(iter(study.images))
    for name, mask in study.masks.items():
        if mask.any():
            key = f"{view}-{name.replace(' ', '_')}"
            yield Pair(key, study.modality, as_png(study.images[view]), as_png(mask), {"target": name, "view": view})


SEGMENTATION = InterleavedTask(
    name="segmentation",
    sub_task_type="segmentation",
    wishes=("target",),
    wording=Wording(
        requests=(
            "(Please |)segment the {target}( in this image|).",
            "(Outline|Mark|Delineate) the {target}( in this image|).",
            "(Show|Draw|Give) the mask of the {target}.",
            "Which (pixels|parts of this image) belong to the {target}?",
        ),
        replies=(
            "Here is the mask of the {target}.",
            "The mask has the {target} in white(, on black|).",
            "In white: the {target}.",
        ),
    ),
    kept=("target",),
    pairs=_pairs,
)
