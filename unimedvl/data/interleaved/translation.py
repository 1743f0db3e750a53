"""One slice in another contrast or modality: T1 and T2, T2 and FLAIR, MRI and CT, each to the other."""

from __future__ import annotations

from collections.abc import Mapping

from unimedvl.data.interleaved.task import InterleavedTask
from unimedvl.data.interleaved.wording import Wording
from unimedvl.data.record import Record

_MR = "grey follows the signal of water and fat, and dense bone is dark"
_CT = "grey follows how much the tissue attenuates X-rays, and dense bone is white"
# What the image to be drawn looks like, by what it is made of and what it is. FLAIR nulls the signal of free fluid by
# an inversion pulse. The other image of a CT is called MR or MRI, or by its weighting.
_CONTRASTS = {
    ("FLAIR", "T2"): "free fluid is bright",
    ("T2", "FLAIR"): "the signal of free fluid is suppressed, so that it is dark",
    ("T1", "T2"): "free fluid is bright, and grey matter brighter than white",
    ("T2", "T1"): "free fluid is dark, and white matter brighter than grey",
    **{("CT", mr): _MR for mr in ("MR", "MRI", "T1", "T2")},
    **{(mr, "CT"): _CT for mr in ("MR", "MRI", "T1", "T2")},
}


def _pair(told: Mapping[str, str]) -> tuple[str, str]:
    return told.get("source", ""), told.get("target", "")


def _told(record: Record) -> Mapping[str, str]:
    return record.attributes | {"contrast": _CONTRASTS.get(_pair(record.attributes), "")}


TRANSLATION = InterleavedTask(
    name="translation",
    sub_task_type="translation",
    wishes=("source", "target", "contrast"),
    wording=Wording(
        requests=(
            "(Please |)(translate|convert|turn) this {source} (image|slice) (to|into) {target}.",
            "(Show|Draw) this {source} (image|slice) as {target}.",
            "What would this {source} (image|slice) look like (as|on) {target}?",
            "From this {source} (image|slice), (make|synthesise) the {target} image.",
        ),
        replies=(
            "This is the {target} image: {contrast}; the anatomy is unchanged.",
            "On {target}, {contrast}. The anatomy is (the same|unchanged).",
            "(The same slice|The slice) (as|on) {target}; {contrast}.",
        ),
    ),
    kept=("source", "target"),
    aligned=True,
    takes=lambda told: _pair(told) in _CONTRASTS,
    complete=_told,
)
