"""Words of the interleaved tasks: what is asked of an image, and what is said with the image given back.

Staining, super-resolution, segmentation and reconstruction reply before the image; translation and
counterfactuals explain after it.
"""

from __future__ import annotations

from typing import Literal

from unimedvl.phantoms.study import Finding
from unimedvl.phantoms.terms import Rng, Term, VocabularyError, pick
from unimedvl.phantoms.vocabulary import MODALITIES, capitalised, phrase

EditKind = Literal["stain", "upscale", "translate", "segment", "counterfactual", "reconstruct"]
Change = Literal["resolved", "new", "better", "worse"]

REPLY_FIRST: frozenset[str] = frozenset({"stain", "upscale", "segment", "reconstruct"})

# The wishes in braces are what `edit_request` and `edit_reply` are given by name.
_REQUESTS: dict[str, tuple[str, ...]] = {
    "stain": ("Stain this H&E image for HER2 at level {her2}.", "Make the HER2 stain, level {her2}."),
    "upscale": ("Increase the resolution of this image {factor}x.", "Make this image {factor}x sharper."),
    "translate": ("Translate this {source} image to {target}.", "Show this {source} image as {target}."),
    "segment": ("Segment the {target}.", "Outline the {target}.", "Show the mask of the {target}."),
    "reconstruct": ("Reconstruct this image.", "Draw this image again."),
}
_REPLIES: dict[str, tuple[str, ...]] = {
    "stain": ("Here is the HER2 stain at level {her2}.",),
    "upscale": ("Here is the image at {factor}x resolution.",),
    "translate": ("This is the {target} image; the anatomy is unchanged.",),
    "segment": ("Here is the mask of the {target}.",),
    "reconstruct": ("Here is the image again.",),
}
_COUNTERFACTUAL_REQUESTS: dict[str, tuple[str, ...]] = {
    "resolved": ("Show this image with resolution of {the}.", "Show this image without {the}."),
    "new": ("Show this image with {new}.", "Add {new} to this image."),
    "better": ("Show this image with {the} better.", "Show this image with improvement of {the}."),
    "worse": ("Show this image with {the} worse.", "Show this image with worsening of {the}."),
}
_COUNTERFACTUAL_REPLIES: dict[str, str] = {
    "resolved": "{The} {be} gone; the rest is unchanged.",
    "new": "{A} {be} new; the rest is unchanged.",
    "better": "{The} {be} better and now {grade}; the rest is unchanged.",
    "worse": "{The} {be} worse and now {grade}; the rest is unchanged.",
}
# How a change is told as a fact.
_CHANGES: dict[str, str] = {
    "resolved": "{The} {resolve}.",
    "new": "{A} {develop}.",
    "better": "{The} {improve} and {become} {grade}.",
    "worse": "{The} {worsen} and {become} {grade}.",
}
# What a chest radiograph shows of a finding: once it is gone, and when it is there.
_SIGNS = {
    "cardiomegaly": ("the heart fills less than half of the width", "the heart fills more than half of the width"),
    "pleural effusion": ("the base of that lung is dark again", "fluid with a meniscus whitens the base of that lung"),
    "pneumothorax": ("that lung reaches the chest wall again", "air lies between that lung and the chest wall"),
    "consolidation": ("the cloudy white area in that lung has cleared", "a cloudy white area lies in that lung"),
    "nodule": ("the round density in that lung has gone", "a round density lies in that lung"),
}


def edit_request(kind: EditKind, rng: Rng, **wishes: object) -> str:
    """The user's words for an edit.

    wishes: stain ``her2``; upscale ``factor``; translate ``source`` and ``target`` in words ("T2",
        "FLAIR"); segment ``target``; counterfactual ``modality``, ``finding`` (a `Finding`; for "better"
        and "worse" as it shall become) and ``change`` ("resolved", "new", "better", "worse").
    Raises VocabularyError for an unknown kind or a missing wish.
    """
    if kind == "counterfactual":
        change, words = _change(wishes)
        return pick(rng, _COUNTERFACTUAL_REQUESTS[change]).format(**words)
    return _fill(kind, pick(rng, _templates(_REQUESTS, kind)), wishes)


def edit_reply(kind: EditKind, rng: Rng, **wishes: object) -> str:
    """What is said with the image: before it for the kinds in `REPLY_FIRST`, after it for the others.

    Takes the same wishes and raises the same errors as `edit_request`.
    """
    if kind == "counterfactual":
        change, words = _change(wishes)
        return _COUNTERFACTUAL_REPLIES[change].format(**words)
    return _fill(kind, pick(rng, _templates(_REPLIES, kind)), wishes)


def change_told(modality: str, finding: Finding, change: Change) -> tuple[str, str]:
    """A counterfactual as a fact ("The left nodule resolves."), and what can be seen of it, explained.

    finding: as for `edit_request`. Raises VocabularyError as that does.
    """
    change, words = _change({"modality": modality, "finding": finding, "change": change})
    ending = "" if words["be"] == "are" else "s"
    verbs = {verb: verb + ending for verb in ("resolve", "develop", "improve", "worsen", "become")}
    explained = _COUNTERFACTUAL_REPLIES[change].format(**words)
    if modality == "cxr" and change in ("resolved", "new") and finding.name in _SIGNS:
        explained += f" {capitalised(_SIGNS[finding.name][change == 'new'])}."
    return _CHANGES[change].format(**words, **verbs), explained


def _templates(table: dict[str, tuple[str, ...]], kind: str) -> tuple[str, ...]:
    if kind not in table:
        raise VocabularyError(f"no edit {kind!r}; known are counterfactual, {', '.join(table)}")
    return table[kind]


def _fill(kind: str, template: str, wishes: dict[str, object]) -> str:
    try:
        return template.format(**wishes)
    except KeyError as error:
        raise VocabularyError(f"the edit {kind!r} needs {error.args[0]!r}") from None


def _change(wishes: dict[str, object]) -> tuple[str, dict[str, str]]:
    """The change that is wished for, and the words that the templates may use."""
    for name in ("modality", "finding", "change"):
        if name not in wishes:
            raise VocabularyError(f"the edit 'counterfactual' needs {name!r}")
    modality, finding, change = wishes["modality"], wishes["finding"], wishes["change"]
    if modality not in MODALITIES:
        raise VocabularyError(f"no modality {modality!r}; known are {', '.join(MODALITIES)}")
    if change not in _COUNTERFACTUAL_REPLIES:
        raise VocabularyError(f"no change {change!r}; known are {', '.join(_COUNTERFACTUAL_REPLIES)}")
    assert isinstance(finding, Finding)
    term: Term = MODALITIES[modality].term(finding.name)
    named = phrase(term, finding, full=False, article=False)
    new = named if term.number != "one" else f"a new {named}"
    new = new if new.startswith("a new") else f"new {named}"
    full = phrase(term, finding, article=True)
    return change, {
        "the": f"the {named}",
        "The": f"The {named}",
        "new": new,
        "A": capitalised(full),
        "be": term.be,
        "grade": term.grades[("mild", "moderate", "severe").index(finding.severity)],
    }
