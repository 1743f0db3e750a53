"""The mask of a structure or finding that is named in words, white on black."""

from __future__ import annotations

from unimedvl.data.interleaved.task import InterleavedTask
from unimedvl.data.interleaved.wording import Wording

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
)
