"""The published instruments, as far as they go without their weights: what is asked of `transformers`."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture
from unimedvl.data.quality import transformers_models as published

IMAGE = encoded(picture("cxr", 1))


class Batch(dict):
    def to(self, *_, **__):
        return self


class Loads:
    """Stands for an `Auto...` class: notes what is loaded, and gives a thing of the test's."""

    def __init__(self, thing) -> None:
        self.thing, self.asked = thing, []

    def from_pretrained(self, model, **options):
        self.asked.append((model, options))
        if isinstance(self.thing, Exception):
            raise self.thing
        return self.thing


class Model(torch.nn.Module):
    """A model that answers with `answer(**inputs)`."""

    device = "cpu"
    config = SimpleNamespace(text_config=SimpleNamespace(max_position_embeddings=64))

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, **inputs):
        return self.answer(**inputs)

    def generate(self, **inputs):
        return self.answer(**inputs)


@pytest.fixture
def install(monkeypatch):
    def install(**classes):
        monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(**classes))

    return install


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch, install):
    monkeypatch.setitem(sys.modules, "transformers", None)
    instruments = published.published_instruments()
    assert instruments.captioner.name == "google/medgemma-27b-it@main, temperature 0.7, seed 0"
    for use in (
        lambda: instruments.captioner.captions(IMAGE, None, 1),
        lambda: instruments.encoder.encode(["x"]),
        lambda: instruments.matcher.match([IMAGE], ["x"]),
    ):
        with pytest.raises(DataError, match=r"pip install 'unimedvl\[instruments\]'"):
            use()
    install()
    with pytest.raises(DataError, match="this transformers has no Auto"):
        instruments.encoder.encode(["x"])


def test_a_model_that_cannot_be_had_is_named(install):
    install(AutoTokenizer=Loads(OSError("You are trying to access a gated repo.\nMake sure ...")))
    with pytest.raises(
        DataError, match=r"intfloat/e5-large-v2@main: can't be loaded: You are .* gated repo\.$"
    ):
        published.E5Encoder().encode(["x"])


def test_the_average_leaves_padding_out():
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [99.0, 99.0]], [[5.0, 6.0], [7.0, 8.0], [9.0, 10.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert published.average_pool(states, mask).tolist() == [[2.0, 3.0], [7.0, 8.0]]


def test_e5_puts_the_prefix_before_each_text_and_gives_unit_vectors(install):
    asked = []

    def tokenize(texts, **options):
        asked.append((texts, options["max_length"], options["truncation"]))
        ids = torch.tensor([[len(t), 1] for t in texts])
        return Batch(input_ids=ids, attention_mask=torch.ones_like(ids))

    states = Model(
        lambda input_ids, attention_mask: SimpleNamespace(
            last_hidden_state=input_ids[..., None] * torch.tensor([3.0, 4.0])
        )
    )
    install(AutoTokenizer=Loads(tokenize), AutoModel=Loads(states))
    vectors = published.E5Encoder(batch=2).encode(["one", "two", "three"])
    assert asked == [(["query: one", "query: two"], 512, True), (["query: three"], 512, True)]
    assert np.allclose(vectors, [[0.6, 0.8]] * 3)
    published.E5Encoder(prefix="passage: ").encode(["one"])
    assert asked[-1][0] == ["passage: one"]
    with pytest.raises(ValueError, match="prefix"):
        published.E5Encoder(prefix="other: ")


def test_medsiglip_scores_pairs_with_texts_padded_to_the_full_length(install):
    asked = {}

    def prepare(**options):
        asked.update(options)
        return Batch(n=len(options["images"]))

    images, texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.6, 0.8], [0.6, 0.8]])
    model = Model(lambda n: SimpleNamespace(image_embeds=images, text_embeds=texts))
    install(AutoProcessor=Loads(prepare), AutoModel=Loads(model))
    assert published.MedSiglipMatcher().match([IMAGE, IMAGE], ["a", "b"]) == pytest.approx([0.6, 0.8])
    assert (asked["padding"], asked["truncation"], asked["max_length"]) == ("max_length", True, 64)
    assert asked["text"] == ["a", "b"] and asked["images"][0].mode == "RGB"
    with pytest.raises(DataError, match="no image that can be read"):
        published.MedSiglipMatcher().match([b"no image"], ["a"])


def test_medgemma_gives_the_answers_without_the_prompt_and_the_same_ones_again(install):
    class Processor:
        def apply_chat_template(self, messages, **options):
            image, text = messages[0]["content"]
            assert image["image"].mode == "RGB" and text["text"] == published.DESCRIBE
            assert options["add_generation_prompt"] and options["return_dict"]
            return Batch(input_ids=torch.tensor([[1, 2, 3]]))

        def batch_decode(self, ids, skip_special_tokens):
            return [" ".join(map(str, row.tolist())) + "\n" for row in ids]

    def generate(input_ids, num_return_sequences, do_sample, temperature, max_new_tokens):
        assert do_sample and temperature == 0.7
        new = torch.randint(10, 1000, (num_return_sequences, 4))
        return torch.cat([input_ids.expand(num_return_sequences, -1), new], dim=1)

    loads = Loads(Model(generate))
    install(AutoProcessor=Loads(Processor()), AutoModelForImageTextToText=loads)
    captioner = published.MedGemmaCaptioner(seed=3)
    first = captioner.captions(IMAGE, None, 2)
    assert len(set(first)) == 2 and all(len(c.split()) == 4 for c in first)
    assert captioner.captions(IMAGE, None, 2) == first
    assert loads.asked == [
        ("google/medgemma-27b-it", dict(revision="main", dtype=torch.bfloat16, device_map="auto"))
    ]
