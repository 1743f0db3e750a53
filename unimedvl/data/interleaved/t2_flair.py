"""T2 to FLAIR and back, of one slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from unimedvl.data.interleaved.task import InterleavedTask, Pair, as_png
from unimedvl.data.interleaved.wording import Wording
from unimedvl.data.record import Record
from unimedvl.phantoms.study import Study

# What FLAIR is: the signal of free fluid is nulled by an inversion pulse.
_CONTRAST = {
    "T2": "free fluid is bright",
    "FLAIR": "the signal of free fluid is suppressed, so that it is dark",
}
_VIEWS = {"T2": "t2", "FLAIR": "flair"}


def _takes(told: Mapping[str, str]) -> bool:
    return {told.get("source"), told.get("target")} == set(_VIEWS)


def _told(record: Record) -> Mapping[str, str]:
    return record.attributes | {"contrast": _CONTRAST.get(record.attributes.get("target", ""), "")}


def _pairs(study: Study) -> Iterator[Pair]:
    if not set(_VIEWS.values()) <= set(study.images):
        return
    for source, target in (("T2", "FLAIR"), ("FLAIR", "T2")):
        before, after = (as_png(study.images[_VIEWS[name]]) for name in (source, target))
        key = f"{_VIEWS[source]}-{_VIEWS[target]}"
        yield Pair(key, study.modality, before, after, {"source": source, "target": target})


T2_FLAIR = InterleavedTask(
    name="t2_flair",
    sub_task_type="translation",
    wishes=("source", "target", "contrast"),
    wording=Wording(
        requests=(
            "(Please |)(translate|convert|turn) this {source} (image|slice) (to|into) {target}.",
            "(Show|Draw) this {source} (image|slice) as {target}.",
            "What would this {source} (image|slice) look like as {target}?",
            "From this {source} (image|slice), (make|synthesise) the {target} image.",
        ),
        replies=(
            "This is the {target} image: {contrast}; the anatomy is unchanged.",
            "On {target}, {contrast}. The anatomy is (the same|unchanged).",
            "(The same slice|The slice) as {target}; {contrast}.",
        ),
    ),
    kept=("source", "target"),
    aligned=True,
    takes=_takes,
    complete=_told,
    pairs=_pairs,
)
