"""What the word list reads out of a text."""

from __future__ import annotations

import pytest

from unimedvl.data.captions import lexicon
from unimedvl.data.captions.facts import read
from unimedvl.tasks import MODALITY_NAMES

LEFT, RIGHT = frozenset({"left"}), frozenset({"right"})


def stated(text: str) -> dict[str, list]:
    return {name: sorted({tuple(sorted(m.sides)) for m in found}) for name, found in read(text).named.items()}


def test_a_side_belongs_to_the_term_of_its_clause():
    assert stated("A left pleural effusion, and a fracture of the right clavicle.") == {
        "pleural effusion": [("left",)], "fracture": [("right",)], "clavicle": [("right",)],
    }  # fmt: skip
    assert stated("Opacity in the left lung and a cyst")["cyst"] == [()]
    for text in ("bilateral opacities", "opacities on both sides", "left and right opacity", "right and left opacity"):
        assert stated(text)["opacity"] == [("left", "right")], text
    assert stated("fundus of the eye OD")["eye"] == [("right",)]


def test_a_side_of_no_known_term_stays_with_a_word():
    for text in ("the left gadget", "a gadget is seen on the left", "a gadget, left-sided", "on the left, a gadget"):
        (found,) = read(text).mentions
        assert (found.kind, found.name, found.sides) == ("other", "gadget", LEFT)
    assert {m.sides for m in read("left").mentions} == {LEFT}


def test_what_is_denied_is_told_from_what_is_stated():
    text = "No fracture or mass; a cyst. The edema has cleared, ulcer present"
    denied = {m.name: m.negated for m in read(text).mentions}
    assert denied == {"fracture": True, "mass": True, "cyst": False, "oedema": True, "ulcer": False}
    assert not next(iter(read("without scarring but with a mass").named["mass"])).negated


def test_diagnoses_are_known_by_name_or_by_how_they_are_named():
    assert read("pneumonia, cholecystitis, adenocarcinoma and a hepatoma").of("diagnosis") == {
        "pneumonia", "cholecystitis", "adenocarcinoma", "hepatoma",
    }  # fmt: skip
    assert not read("stroma, hematoma and a stoma").of("diagnosis")
    assert read("a large left frontal lobe glioma").of("diagnosis") == {"tumour"}
    assert read("invasive ductal carcinoma").of("diagnosis") == {"invasive carcinoma"}


def test_american_and_british_words_are_the_same():
    assert read("gray matter edema with hemorrhage").mentions == read("grey matter oedema with haemorrhage").mentions


def test_numbers_levels_modalities_and_sequences_are_read_in_order():
    facts = read("This T2 MRI at level 3+, 4x, 12 mm; then FLAIR, then CT, axial. B12 is none.")
    assert facts.numbers == ("3+", "4x", "12")
    assert (facts.modalities, facts.acquisition) == (("mri", "ct"), ("t2", "flair", "axial"))


def test_every_modality_and_every_site_can_be_read():
    assert all(code in read(f"This is {name}.").modalities for code, name in MODALITY_NAMES.items())
    sites = [name for name, (kind, _) in lexicon.terms().items() if kind == "site"]
    assert len(sites) > 150
    assert all(read(f"the {site}").of("site") for site in sites)


@pytest.mark.parametrize("site", ["lung", "liver", "retina", "femur"])
def test_a_site_has_a_region(site):
    assert read(site).regions == {lexicon.region(site)} != {"any"}
