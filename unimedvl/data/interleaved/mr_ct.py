"""MRI to CT and back, of one slice. No simulated study has both: pairs come from data sets alone."""

from __future__ import annotations

from collections.abc import Mapping

from unimedvl.data.interleaved.task import InterleavedTask
from unimedvl.data.interleaved.wording import Wording
from unimedvl.data.record import Record

_CONTRAST = {
    "CT": "grey follows how much the tissue attenuates X-rays, and dense bone is white",
    "MRI": "grey follows the signal of water and fat, and dense bone is dark",
}


def _takes(told: Mapping[str, str]) -> bool:
    return {told.get("source"), told.get("target")} == set(_CONTRAST)


def _told(record: Record) -> Mapping[str, str]:
    return record.attributes | {"contrast": _CONTRAST.get(record.attributes.get("target", ""), "")}


MR_CT = InterleavedTask(
    name="mr_ct",
    sub_task_type="translation",
    wishes=("source", "target", "contrast"),
    wording=Wording(
        requests=(
            "(Please |)(translate|convert|turn) this {source} (image|slice) (to|into) {target}.",
            "(Show|Draw) this {source} (image|slice) as {target}.",
            "What would this {source} (image|slice) look like (on|in) {target}?",
            "From this {source} (image|slice), (make|synthesise) the {target} image.",
        ),
        replies=(
            "This is the {target} image: {contrast}; the anatomy is unchanged.",
            "On {target}, {contrast}. The anatomy is (the same|unchanged).",
            "(The same slice|The slice) on {target}; {contrast}.",
        ),
    ),
    kept=("source", "target"),
    aligned=True,
    takes=_takes,
    complete=_told,
)
