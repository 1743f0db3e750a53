"""Tiny models of the published architectures, with weights drawn at random, as transformers saves them.

They need the package (`pip install 'unimedvl[instruments]'`); what a user is told without it is in the tests of builds.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

collect_ignore_glob = [] if find_spec("transformers") else ["test_*.py"]

WORDS = (
    "a an and are at chest describe effusion fluid heart image in is it left lung medical mri no normal of only pleural"
    " query ray right scan shows state the this type view visible what with x"
)
TOKENS = (*WORDS.split(), *"abcdefghijklmnopqrstuvwxyz0123456789.,:;?!-")
LAYER = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
VISION = {**LAYER, "image_size": 32, "patch_size": 16}
SIZE = {"height": 32, "width": 32}
CHAT = (
    "{% for turn in messages %}{% for part in turn['content'] %}"
    "{% if part['type'] == 'image' %}<boi>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)


def tokenizer(*special: str, **named):
    """One that knows a few words and letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = dict.fromkeys(("[PAD]", "[UNK]", *special, *TOKENS))
    made = Tokenizer(models.WordLevel({token: n for n, token in enumerate(tokens)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", **named)


def save_encoder(folder: Path) -> None:
    """As E5: BERT."""
    from transformers import BertConfig, BertModel

    words = tokenizer()
    BertModel(BertConfig(vocab_size=len(words), **LAYER)).save_pretrained(folder)
    words.save_pretrained(folder)


def save_matcher(folder: Path) -> None:
    """As MedSigLIP: SigLIP, of 16 tokens."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    words = tokenizer("</s>", eos_token="</s>", model_max_length=16)
    text = {**LAYER, "vocab_size": len(words), "max_position_embeddings": 16, "projection_size": 32}
    SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(folder)
    words.save_pretrained(folder)
    SiglipImageProcessor(size=SIZE).save_pretrained(folder)


def save_captioner(folder: Path) -> None:
    """As MedGemma: Gemma 3, which sees an image as 4 tokens."""
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessor,
        Gemma3Processor,
    )

    marks = {"image_token": "<image>", "boi_token": "<boi>", "eoi_token": "<eoi>"}
    ends = {"eos_token": "<eos>", "bos_token": "<bos>"}
    words = tokenizer(*ends.values(), *marks.values(), **ends, extra_special_tokens=marks)
    places = {name: words.convert_tokens_to_ids(token) for name, token in (ends | marks).items()}
    text = {**LAYER, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": len(words), "pad_token_id": 0,
            "eos_token_id": places["eos_token"], "bos_token_id": places["bos_token"]}  # fmt: skip
    config = Gemma3Config(
        text_config=text, vision_config=VISION, mm_tokens_per_image=4, boi_token_index=places["boi_token"],
        eoi_token_index=places["eoi_token"], image_token_index=places["image_token"],
    )  # fmt: skip
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    images = Gemma3ImageProcessor(size=SIZE)
    Gemma3Processor(images, words, chat_template=CHAT, image_seq_length=4).save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> dict[str, str]:
    """The folders of a tiny captioner, encoder and matcher."""
    import torch

    root = tmp_path_factory.mktemp("pretrained")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for save in (save_captioner, save_encoder, save_matcher):
            save(root / save.__name__.removeprefix("save_"))
    return {folder.name: str(folder) for folder in root.iterdir()}
