"""Contexts, scores and greedy answers give the recorded numbers, however the context is taken in."""

from __future__ import annotations

import pytest
import torch

from unimedvl.inference.context import Context
from unimedvl.inference.text import Sampling, speak_all
from unimedvl.tokenizer import Tokenizer, train_tokenizer

AT_MOST = 24  # recorded ids, the opening one among them


class Silent(Tokenizer):
    """A tokenizer to whom every id is the same letter: ids are checked here, not words."""

    def __init__(self) -> None:
        super().__init__(train_tokenizer(["a"], 260)._backend)

    def token_bytes(self, token: int) -> bytes:
        return b"a"


@pytest.mark.parametrize("at_once", [True, False], ids=["at-once", "segment-by-segment"])
def test_cached_keys_and_scores(understanding, at_once, assert_close):
    model, segments = understanding.model, understanding.segments(understanding.spec["context"])
    cache = model.new_cache()
    for part in [segments] if at_once else [[segment] for segment in segments]:
        model.extend([cache], [part])
    assert (cache.length, cache.position) == (understanding.spec["kv_len"], understanding.spec["rope"])
    assert_close(cache.keys(), understanding.recorded("kv_keys"), "keys")
    logits = model.logits([cache], torch.tensor([model.config.special.text_open]))
    assert_close(logits[0], understanding.recorded("logits"), "logits")


def test_greedy_answer(understanding, assert_close):
    model, special = understanding.model, understanding.model.config.special
    context = Context(model)
    context.extend(understanding.segments(understanding.spec["context"]))
    assert_close(context.cache.keys(), understanding.recorded("kv_keys"), "keys")
    (spoken,) = speak_all([context], Silent(), Sampling(max_tokens=AT_MOST - 1))
    ids = [special.text_open, *spoken.ids]
    if spoken.finish == "stop" and len(ids) < AT_MOST:
        ids.append(special.text_close)
    assert ids == understanding.recorded("output_ids").tolist()
