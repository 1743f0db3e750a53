"""MRI to CT and back, of one slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from unimedvl.data.interleaved.task import InterleavedTask, Pair, as_png
from unimedvl.data.interleaved.wording import Wording
from unimedvl.data.record import Record
from unimedvl.phantoms.brain_ct import companion_ct
from unimedvl.phantoms.study import Study

_CONTRAST = {
    "CT": "grey follows how much the tissue attenuates X-rays, and dense bone is white",
    "MRI": "grey follows the signal of water and fat, and dense bone is dark",
}


# What the other image is called: MRI, or its weighting.
_MRI = ("MRI", "T1", "T2")


def _takes(told: Mapping[str, str]) -> bool:
    pair = [told.get("source"), told.get("target")]
    return "CT" in pair and any(name in pair for name in _MRI)


def _told(record: Record) -> Mapping[str, str]:
    return record.attributes | {"contrast": _CONTRAST["CT" if record.attributes.get("target") == "CT" else "MRI"]}


def _pairs(study: Study) -> Iterator[Pair]:
    """The T1 image of a simulated brain and the CT of the same head, both ways."""
    if study.modality != "mri" or "t1" not in study.images:
        return
    mr = study.images["t1"]
    images = {"T1": as_png(mr), "CT": as_png(companion_ct(study.case, mr.shape[0]))}
    for source, target in (("T1", "CT"), ("CT", "T1")):
        told = {"source": source, "target": target}
        modality = "ct" if target == "CT" else "mri"
        yield Pair(f"{source}-{target}".lower(), modality, images[source], images[target], told)


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
    pairs=_pairs,
)
