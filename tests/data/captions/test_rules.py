"""What the rules refuse, on texts where side, anatomy, findings, numbers, language or form were changed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimedvl.data.captions.rules import Lengths, Original, faults, reworded_faults

CAPTION = "Chest X-ray with a large right pleural effusion and a left nodule of 22 mm. No pneumothorax."
ORIGINAL = Original(CAPTION, "cxr")
PROMPT = f"Generate a realistic chest X-ray: {CAPTION} It shows the heart and both lungs."
DESCRIPTION = "This is a chest X-ray. It shows the heart and both lungs. A large right pleural effusion is seen."
PLAN = "<think> First, it is a chest X-ray. Then the heart. The image shows a right pleural effusion. </think>"
GERMAN = "Dieses Bild zeigt eine Röntgenaufnahme der Brust; man erkennt sehr gut das Herz sowie beide Lungen."
OTHER = {"left": "right", "right": "left"}


def test_texts_that_keep_to_the_original_pass():
    assert faults("prompt", PROMPT, ORIGINAL) == []
    assert faults("description", DESCRIPTION, ORIGINAL) == []
    assert faults("plan", PLAN, ORIGINAL) == []


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("prompt", PROMPT.replace("22 mm", "23 mm"), "leaves out the number 22"),
        ("prompt", PROMPT.replace("22 mm", "23 mm"), "adds the number 23"),
        ("prompt", PROMPT.replace("No pneumothorax.", ""), "leaves out no pneumothorax"),
        ("prompt", PROMPT.replace("No pneumo", "A pneumo"), "changes pneumothorax, which the original denies"),
        ("prompt", PROMPT.replace("large", "small"), "changes mild right pleural effusion"),
        ("prompt", PROMPT + " It is pneumonia.", "adds a diagnosis: pneumonia"),
        ("prompt", PROMPT + " The liver is in view.", "adds anatomy: liver (abdomen)"),
        ("prompt", PROMPT + " It looks like a CT.", "names another modality: ct"),
        ("prompt", CAPTION, "does not open as a request for a realistic image"),
        ("prompt", "Generate a realistic picture. " + CAPTION, "does not open with the modality, chest X-ray"),
        ("description", DESCRIPTION + " The left clavicle is broken.", "the original does not say left of clavicle"),
        ("description", DESCRIPTION + " There is pneumonia.", "a diagnosis in the description: pneumonia"),
        ("description", DESCRIPTION + "\nAnd more.", "more than one paragraph"),
        ("description", "Sure! " + DESCRIPTION, "speaks of the task: 'Sure'"),
        ("description", "Short.", "6 characters, under 20"),
        ("description", DESCRIPTION * 12, "over 1024"),
        ("description", "- " + DESCRIPTION, "markup: '-'"),
        ("description", "这是一张胸部的影像 可见心脏和双肺 未见气胸", "language: letters that are not Latin"),
        ("description", GERMAN, "language: hardly any of the small words of English"),
        ("plan", PLAN.replace("<think>", ""), "not one text between <think> and </think>"),
        ("plan", PLAN.replace("shows", "has"), "does not close with what the image shows"),
        ("plan", PLAN.replace("right", "left"), "the original does not say left of pleural effusion"),
    ],
)  # fmt: skip
def test_a_change_is_named(kind, text, reason):
    assert any(reason in fault for fault in faults(kind, text, ORIGINAL)), faults(kind, text, ORIGINAL)


def test_findings_are_not_added_to_what_is_called_normal():
    normal = Original("Normal chest X-ray.", "cxr")
    text = "This is a chest X-ray of the chest. An opacity is seen in the lung."
    assert "adds opacity to what the original calls normal" in faults("description", text, normal)
    assert faults("description", text, Original("Chest X-ray, as it was taken.", "cxr")) == []


def test_labels_that_the_source_states_count_as_known():
    text = PROMPT + " Pneumonia is present."
    assert faults("prompt", text, Original(CAPTION, "cxr", known="pneumonia.")) == []


def test_lengths_are_the_callers():
    assert faults("description", DESCRIPTION, ORIGINAL, Lengths(fewest=500)) == [
        f"{len(DESCRIPTION)} characters, under 500"
    ]


# Sides ---------------------------------------------------------------------------------------------

SIDED = st.sampled_from(
    ["pleural effusion", "pneumothorax", "consolidation", "opacity", "rib fracture", "lung mass", "gadget", "node"]
)
FORMS = st.sampled_from(
    ["There is a {side} {what}.", "A {what} lies on the {side}.", "The {what} in the {side} lung is seen.",
     "Chest X-ray with a {what}, {side}-sided.", "{side} {what}", "On the {side} lies a {what}."]
)  # fmt: skip


def flipped(text: str, which: int) -> str:
    """The text with one of its sides turned to the other."""
    sides = list(re.finditer(r"\b(left|right)\b", text))
    turned = sides[which % len(sides)]
    return text[: turned.start()] + OTHER[turned.group()] + text[turned.end() :]


@given(FORMS, SIDED, st.sampled_from(["left", "right"]), st.integers(0, 9))
def test_a_prompt_that_flips_a_side_is_always_refused(form, what, side, which):
    caption = form.format(side=side, what=what)
    prompt = f"Generate a realistic chest X-ray: {caption} It is {side} as said."
    original = Original(caption, "cxr")
    for kind in ("prompt", "description"):
        assert any("does not say" in f or "changes" in f for f in faults(kind, flipped(prompt, which), original))


@given(FORMS, SIDED, SIDED, st.sampled_from(["left", "right"]))
def test_a_prompt_that_swaps_two_sides_is_always_refused(form, one, two, side):
    if one == two:
        return
    caption = f"{form.format(side=side, what=one)} And: {form.format(side=OTHER[side], what=two)}"
    swapped = re.sub(r"\b(left|right)\b", lambda m: OTHER[m.group()], caption)
    opening = "Generate a realistic chest X-ray: "
    assert not [f for f in faults("prompt", opening + caption, Original(caption, "cxr")) if "does not say" in f]
    assert faults("prompt", opening + swapped, Original(caption, "cxr"))


@given(st.lists(st.tuples(FORMS, SIDED, st.sampled_from(["left", "right"])), min_size=1, max_size=3), st.integers(0, 9))
def test_a_rewording_that_flips_a_side_is_always_refused(parts, which):
    text = " ".join(form.format(side=side, what=what) for form, what, side in parts)
    assert not [f for f in reworded_faults(text, text) if "changes" in f]
    assert any("changes sides" in f for f in reworded_faults(flipped(text, which), text))


# Rewordings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "original", "kept"),
    [
        ("Turn this T2 slice into a FLAIR one, please.", "Translate this T2 image to FLAIR.", ("T2", "FLAIR")),
        ("Could you outline the left lung for me?", "Segment the left lung.", ("left lung",)),
        ("Please make the HER2 stain of this H&E image, level 3+.", "Stain this H&E image for HER2 at level 3+.", ()),
    ],
)
def test_other_words_with_the_same_facts_pass(text, original, kept):
    if "HER2 stain of this" in text:  # the order of the two stains is turned round, which is refused to be safe
        assert reworded_faults(text, original, ("H&E", "HER2"))
    assert reworded_faults(text, original, kept) == []


@pytest.mark.parametrize(
    ("text", "original", "kept", "reason"),
    [
        ("Turn this FLAIR slice into T2.", "Translate this T2 image to FLAIR.", ("T2", "FLAIR"), "changes acquisition"),
        ("Turn this CT slice into MRI.", "Translate this MRI image to CT.", ("MRI", "CT"), "changes modalities"),
        ("Stain this for HER2, level 2+.", "Stain this for HER2 at level 3+.", ("3+",), "changes numbers: 3+ to 2+"),
        ("Outline the pupils of the eye.", "Segment the optic cup.", ("optic cup",), "leaves out or changes optic cup"),
        ("Outline the widgets, please.", "Segment the gadgets.", ("gadgets",), "changes names: gadgets to none"),
        ("The nodule is present.", "The nodule is gone.", (), "adds nodule"),
        ("The lower lobe is marked.", "The upper lobe is marked.", (), "changes positions: upper to lower"),
        ("Sure, here you are: the lung.", "Segment the lung.", ("lung",), "speaks of the task"),
        ("A left widget, a right gadget.", "A left gadget, a right widget.", (), "changes the side of gadget"),
        ("The lung. " * 40, "Segment the lung.", (), "characters, over"),
    ],
)
def test_other_words_with_other_facts_are_refused(text, original, kept, reason):
    found = reworded_faults(text, original, kept)
    assert any(reason in fault for fault in found), found
