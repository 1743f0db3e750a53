"""Reasoning is told from the answer however the stream is cut."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unimedvl.inference.thought import ThoughtFilter, split_thought

PARTS = st.lists(st.sampled_from(["<think>", "</think>", "<thi", "a", " ", "\n", "b c", "<"]), max_size=8)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no bug
@given(PARTS, st.lists(st.integers(1, 5), max_size=40))
def test_the_pieces_are_the_whole_split(parts, cuts):
    text = "".join(parts)
    split, pieces, at = ThoughtFilter(), [], 0
    for cut in [*cuts, len(text)]:
        pieces += split.push(text[at : at + cut])
        at += cut
    pieces += split.flush()
    thought, answer = split_thought(text)
    if text.find("</think>") < text.find("<think>"):  # a tag that closes nothing is not a stream's case
        return
    assert "".join(t for t, is_thought in pieces if not is_thought) == answer
    assert "".join(t for t, is_thought in pieces if is_thought).strip() == thought
