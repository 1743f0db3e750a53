"""Words varied by a model on a real local server: kept where the facts stay, refused where they change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimedvl.data.captions.answers import Answers
from unimedvl.data.captions.chat import EndpointChat
from unimedvl.data.error import DataError
from unimedvl.data.interleaved.records import Construction, constructed
from unimedvl.data.interleaved.rewording import Rewriter

CHANGED = {"left": "right", "right": "left", "T2": "FLAIR", "FLAIR": "T2", "3+": "2+", "0": "3+", "1+": "0", "2+": "1+"}


def text_of(asked: dict) -> str:
    return asked["messages"][0]["content"].rsplit("\n\n", 1)[1]


def politely(asked: dict) -> str:
    """A model that keeps the facts."""
    return f"<think> politely </think> As agreed: {text_of(asked)}"


def carelessly(asked: dict) -> str:
    """A model that changes side, sequence, level or structure."""
    text = text_of(asked).replace("heart", "liver").replace("consolidation", "pneumothorax")
    words = [CHANGED.get(w.strip(".,:?"), w) for w in text.split(" ")]
    return " ".join(words)


class Said:
    """A model that always says one thing."""

    name = "said"

    def __init__(self, text: str) -> None:
        self.text = text

    def say(self, text: str) -> str:
        return self.text


def how(server, folder=None, **more) -> Construction:
    chat = EndpointChat(server.url, "qwen", **more)
    return Construction(rewriter=Rewriter(chat, Answers(folder) if folder else None))


def test_words_that_keep_the_facts_are_taken(serving, phantoms):
    with serving(politely) as server:
        made = constructed(phantoms("staining", "his", 4)[0], how(server))
    assert made.record.message[0].value.startswith("<image>\nAs agreed: ")
    assert made.record.message[1].value.startswith("As agreed: ")
    decision = made.record.decisions[-1]
    assert decision.score == 0 and "reworded by qwen at 127.0.0.1" in decision.by and not decision.reason
    assert len(server.asked) == 2 and all(isinstance(a["messages"][0]["content"], str) for a in server.asked)


@pytest.mark.parametrize(
    ("task", "modality", "seed", "words"),
    [("staining", "his", 4, "changes numbers"), ("translation", "mri", 4, "changes acquisition"),
     ("segmentation", "cxr", 4, "changes names"), ("counterfactual", "cxr", 2, "changes sides")],
)  # fmt: skip
def test_words_that_change_level_sequence_structure_or_side_are_refused(serving, phantoms, task, modality, seed, words):
    pairs = phantoms(task, modality, seed, 6)
    plain = [constructed(pair) for pair in pairs]
    with serving(carelessly) as server:
        made = [constructed(pair, how(server)) for pair in pairs]
    reasons = [s.record.decisions[-1].reason for s in made]
    assert any(words in reason for reason in reasons), reasons
    for before, after in zip(plain, made, strict=True):
        assert after.record.message == before.record.message and after.record.kept


def test_a_second_run_gives_the_same_bytes_and_asks_nothing(serving, phantoms, tmp_path):
    pairs, kept = phantoms("counterfactual", "cxr", 2, 3), tmp_path / "answers"
    with serving(politely) as server:
        first = [constructed(pair, how(server, kept)).record.to_json() for pair in pairs]
        asked = len(server.asked)
    # The server is gone.
    again = [constructed(pair, how(server, kept)).record.to_json() for pair in pairs]
    assert first == again and asked > 0
    assert not [f for f in kept.rglob("*") if f.is_file() and f.suffix != ".json"]


def test_wordings_are_numbered_and_counted_round(serving):
    with serving(politely) as server:
        rewriter = Rewriter(EndpointChat(server.url, "qwen"), variants=2)
        for variant in range(4):
            rewriter.reworded("Outline the heart.", variant, ("heart",))
    contents = [a["messages"][0]["content"] for a in server.asked]
    assert contents[0] == contents[2] != contents[1] == contents[3]


def test_a_server_that_is_gone_is_an_error(serving, pairs):
    with serving(politely) as server:
        pass
    sample = pairs("bci")[0]
    with pytest.raises(DataError, match="no answer in 1 tries"):
        constructed(sample, how(server, tries=1))


STRUCTURES = st.sampled_from(["lung", "kidney", "optic disc", "adrenal gland", "widget", "carotid artery"])


@given(STRUCTURES, st.sampled_from(["left", "right"]), st.sampled_from(["Outline", "Please mark", "Show"]))
def test_a_rewording_that_flips_the_side_of_a_structure_is_always_refused(structure, side, verb):
    other = {"left": "right", "right": "left"}[side]
    text = f"Segment the {side} {structure}."
    kept = (f"{side} {structure}",)
    turned = (f"{verb} the {other} {structure}.", f"{verb} the {structure} on the {other}.", f"{verb} {structure}.")
    for changed in turned:
        back, why = Rewriter(Said(changed)).reworded(text, 0, kept)
        assert back == text and why
    same = f"{verb} the {side} {structure}."
    assert Rewriter(Said(same)).reworded(text, 0, kept) == (same, "")


@given(st.permutations(["T2", "FLAIR", "T1"]), st.sampled_from(["T1", "T2", "FLAIR", "CT", "MRI"]))
def test_a_rewording_that_changes_the_sequence_is_always_refused(names, wrong):
    source, target, _ = names
    text, kept = f"Translate this {source} image to {target}.", (source, target)
    for said in (f"Turn this {target} image into {source}.", f"Turn this {source} image into {wrong}."):
        if said != f"Turn this {source} image into {target}.":
            assert Rewriter(Said(said)).reworded(text, 0, kept)[0] == text
