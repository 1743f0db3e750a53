"""Templates: every choice of synonyms is a sentence that says what was wished, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimedvl.data.captions.facts import read
from unimedvl.data.captions.rules import Lengths, plain_faults
from unimedvl.data.error import DataError
from unimedvl.data.interleaved.tasks import TASKS
from unimedvl.data.interleaved.wording import Wording, chosen, every, generator

# Wishes that must be found again in the words.
WISHES = {
    "factor": "4", "source": "T2", "target": "FLAIR", "contrast": "fluid is dark", "her2": "3+", "meaning": "staining",
    "change_in_words": "The left effusion resolves.",
    "explanation": "The left effusion is gone; the rest is unchanged.",
}  # fmt: skip


def templates():
    for task in TASKS.values():
        for part in ("requests", "replies"):
            for template in getattr(task.wording, part):
                yield pytest.param(task, part, template, id=f"{task.name}: {template}")


@pytest.mark.parametrize(("task", "part", "template"), list(templates()))
def test_every_choice_of_synonyms_is_a_sentence_that_has_the_kept_wishes(task, part, template):
    for text in every(template):
        said = text.format(**WISHES)
        assert said[0].isupper() or said[0].isdigit()
        assert said[-1] in ".?:" and "  " not in said and not set("(){}|") & set(said), said
        assert not list(plain_faults(said, Lengths(fewest=10))), said
        # One reply of a translation says nothing of the source; requests have all that is kept.
        for name in task.kept if part == "requests" else ():
            if not (task.name == "counterfactual" and name == "explanation"):
                assert WISHES[name] in said
        if task.name != "counterfactual":
            assert not read(said).sides


def test_tasks_have_several_words_for_the_same():
    for task in TASKS.values():
        requests = {text for template in task.wording.requests for text in every(template)}
        replies = {text for template in task.wording.replies for text in every(template)}
        assert len(requests) >= 6 and len(replies) >= 4, task.name


@given(st.text(max_size=30), st.integers(0, 2**40), st.sampled_from(sorted(TASKS)))
def test_words_follow_from_key_and_seed_and_are_among_the_templates(key, seed, name):
    wording = TASKS[name].wording
    request, reply = wording.worded(key, seed, WISHES)
    assert (request, reply) == wording.worded(key, seed, WISHES)
    assert request in {text.format(**WISHES) for template in wording.requests for text in every(template)}
    assert reply in {text.format(**WISHES) for template in wording.replies for text in every(template)}


def test_keys_and_seeds_vary_the_words():
    wording = TASKS["segmentation"].wording
    assert len({wording.worded(f"record {n}", 0, {"target": "heart"}) for n in range(200)}) > 30
    assert len({wording.worded("record", n, {"target": "heart"}) for n in range(200)}) > 30


def test_a_missing_wish_is_an_error_and_a_group_may_be_empty():
    with pytest.raises(DataError, match="no target, which the words 'Mark the {target}.' need"):
        Wording(("Mark the {target}.",), ("Done.",)).worded("a", 0, {})
    assert set(every("(Please |)mark (it|them).")) == {"Please mark it.", "Please mark them.", "Mark it.", "Mark them."}
    assert chosen("(a|a) (b|b)", generator("k", 0)) == "A b"
