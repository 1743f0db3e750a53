"""The tokenizer: any text survives, control tokens cannot be forged, streaming equals decoding."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models

from unimedvl.tokenizer import CONTROL, Tokenizer, TokenizerError, train_tokenizer

TEXTS = [
    "Findings: There is a moderate right pleural effusion. Impression: Right pleural effusion.",
    "A large left frontal lobe tumour is seen.",
    "HER2 immunohistochemistry, level 3+",
    "Is the effusion on the left? Which finding is present? A) drusen B) nodule",
] * 20
TOKENIZER = train_tokenizer(TEXTS, 400)
CONTROL_IDS = {TOKENIZER.encode(token, allow_special=True)[0] for token in CONTROL}

# Plain text, text thick with pieces of control tokens, and many-byte characters.
pieces = st.sampled_from(
    [*CONTROL, "<|im_", "end|>", "<|", "|>", " ", "effusion", "é", "肺", "🫁", "e\u0301", "12", "\n"]
)
texts = st.text() | st.lists(pieces).map("".join)
fast = settings(max_examples=60, deadline=None)
any_ids = st.lists(st.integers(0, TOKENIZER.vocabulary_size + 3))


@fast
@given(texts)
def test_every_text_survives_a_round_trip(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@fast
@given(texts)
def test_text_never_becomes_a_control_token_unless_allowed(text):
    assert not CONTROL_IDS & set(TOKENIZER.encode(text))


@fast
@given(st.lists(pieces).map("".join))
def test_allowed_control_tokens_are_each_one_id_and_decode_to_nothing(text):
    ids = TOKENIZER.encode(text, allow_special=True)
    assert sum(i in CONTROL_IDS for i in ids) == sum(text.count(token) for token in CONTROL)
    bare = text
    for token in CONTROL:
        bare = bare.replace(token, "\0")
    assert TOKENIZER.decode(ids) == bare.replace("\0", "")


@fast
@given(any_ids)
def test_streaming_equals_decoding_for_any_ids(ids):
    stream = TOKENIZER.stream()
    assert "".join([*(stream.push(i) for i in ids), stream.flush()]) == TOKENIZER.decode(ids)


@fast
@given(texts)
def test_streamed_text_never_holds_half_a_character(text):
    stream, seen = TOKENIZER.stream(), ""
    for token in TOKENIZER.encode(text):
        seen += stream.push(token)
        assert text.startswith(seen)
    assert stream.flush() == ""


@fast
@given(any_ids)
def test_decoding_agrees_with_the_library(ids):
    known = [i for i in ids if i < TOKENIZER.vocabulary_size]
    assert TOKENIZER.decode(ids) == TOKENIZER._backend.decode(known, skip_special_tokens=True)


def test_control_tokens_are_the_last_four_ids():
    s, n = TOKENIZER.special, TOKENIZER.vocabulary_size
    assert (s.text_open, s.text_close, s.image_start, s.image_end) == (n - 4, n - 3, n - 2, n - 1)


def test_digits_stand_alone_and_the_training_text_is_short():
    assert len(TOKENIZER.encode("2024")) == 4
    assert len(TOKENIZER.encode(TEXTS[1])) < len(TEXTS[1]) / 3


def test_training_twice_gives_the_same_tokenizer():
    assert train_tokenizer(iter(TEXTS), 400)._backend.to_str() == TOKENIZER._backend.to_str()


def test_a_saved_tokenizer_loads_to_the_same(tmp_path):
    TOKENIZER.save(tmp_path / "new" / "folder")
    loaded = Tokenizer.load(tmp_path / "new" / "folder")
    assert loaded.special == TOKENIZER.special and loaded.vocabulary_size == TOKENIZER.vocabulary_size
    for text in [*TEXTS[:4], "<|im_end|> 肺", ""]:
        assert loaded.encode(text) == TOKENIZER.encode(text)
        assert loaded.encode(text, allow_special=True) == TOKENIZER.encode(text, allow_special=True)


def test_the_older_layout_loads_to_the_same(tmp_path):
    TOKENIZER.save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    loaded = Tokenizer.load(tmp_path)
    assert loaded.special == TOKENIZER.special
    assert [loaded.encode(t) for t in TEXTS[:4]] == [TOKENIZER.encode(t) for t in TEXTS[:4]]
    assert not CONTROL_IDS & set(loaded.encode("".join(CONTROL)))


def test_added_tokens_json_serves_where_the_config_is_missing(tmp_path):
    TOKENIZER.save(tmp_path)
    first = TOKENIZER.vocabulary_size - 4
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "added_tokens.json").write_text(json.dumps({t: first + k for k, t in enumerate(CONTROL)}))
    loaded = Tokenizer.load(tmp_path)
    assert loaded.special == TOKENIZER.special
    assert not CONTROL_IDS & set(loaded.encode("".join(CONTROL)))


def test_control_tokens_stay_safe_where_a_checkpoint_forgot_to_mark_them_special(tmp_path):
    TOKENIZER.save(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    for token in content["added_tokens"]:
        token["special"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    loaded = Tokenizer.load(tmp_path)
    ids = loaded.encode("".join(CONTROL))
    assert not CONTROL_IDS & set(ids) and loaded.decode(ids) == "".join(CONTROL)
    assert loaded.decode(sorted(CONTROL_IDS)) == ""


def test_the_tokenizer_can_be_pickled():
    copy = pickle.loads(pickle.dumps(TOKENIZER))
    assert copy.encode("<|im_end|> effusion") == TOKENIZER.encode("<|im_end|> effusion")


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (None, "no tokenizer folder"),
        ({}, "neither tokenizer.json nor vocab.json"),
        ({"tokenizer.json": "{"}, "tokenizer.json"),
        ({"tokenizer.json": "[]"}, "tokenizer.json"),
        ({"vocab.json": "{}"}, "neither"),
        ({"vocab.json": "nonsense", "merges.txt": ""}, "vocab.json"),
        ({"vocab.json": '{"a": 0}', "merges.txt": ""}, "lacks the control tokens <|im_start|>"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "", "tokenizer_config.json": "["}, "tokenizer_config.json"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "", "added_tokens.json": '{"<x>": 7}'}, "should have id 7"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "", "added_tokens.json": '{"<x>": null}'}, "broken"),
    ],
)
def test_a_missing_or_broken_folder_is_named_in_one_line(tmp_path, files, named):
    folder = tmp_path / "checkpoint"
    if files is not None:
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_text(content)
    with pytest.raises(TokenizerError, match="checkpoint") as error:
        Tokenizer.load(folder)
    assert named in str(error.value) and "\n" not in str(error.value)


def test_other_kinds_of_tokenizer_are_refused(tmp_path):
    backend = Backend(models.WordLevel({token: k for k, token in enumerate(CONTROL)}))
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="byte-level"):
        Tokenizer.load(tmp_path)


def test_lone_surrogates_and_too_small_vocabularies_are_errors():
    with pytest.raises(TokenizerError, match="character 1"):
        TOKENIZER.encode("a\ud800")
    with pytest.raises(TokenizerError, match="260"):
        train_tokenizer(TEXTS, 259)
