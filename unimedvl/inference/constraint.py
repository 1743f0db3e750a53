"""Constrained decoding: only tokens that keep an answer within a grammar can be chosen.

The grammar is kept by the library llguidance (Earley parsing over derivatives of regular expressions), which tells at
each step which tokens may follow. The token that closes the answer may follow only where the grammar allows an end.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from unimedvl.inference.thought import CLOSE, OPEN
from unimedvl.tokenizer import Tokenizer

# As Python's `json.dumps` writes: spaces anywhere would let a weak model write nothing but spaces.
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
# Reasoning between its tags, then the grammar called answer.
_THOUGHT = f'start: "{OPEN}" thought @answer\nthought[lazy]: /(.|\\n)*{CLOSE.replace("/", chr(92) + "/")}/'


@dataclass(frozen=True)
class Constraint:
    """What an answer must be. Made by one of the functions below; needs the extra `serve`.

    kind: "json_schema", "json_object", "choice" or "regex". content: the schema or the choices as JSON, or the regular
    expression. thought: reasoning between think tags comes first, and is free.
    """

    kind: str
    content: str
    thought: bool = False

    @classmethod
    def json_schema(cls, schema: dict) -> Constraint:
        """JSON that follows a schema (draft 2020-12, as far as llguidance knows it), on one line.

        Raises ValueError for a schema that is invalid, that nothing can satisfy, or that uses what is not known.
        """
        if not isinstance(schema, dict):
            raise ValueError(f"a JSON schema is an object, not {type(schema).__name__}")
        try:
            content = json.dumps(schema, sort_keys=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the JSON schema can't be written as JSON: {error}") from None
        return cls("json_schema", content).checked("the JSON schema can't be followed")

    @classmethod
    def json_object(cls) -> Constraint:
        """Any JSON object, on one line."""
        return cls("json_object", '{"type": "object"}').checked("JSON objects can't be followed")

    @classmethod
    def choice(cls, choices: Iterable[str]) -> Constraint:
        """One of several texts. Raises ValueError where there are none, or one is empty."""
        texts = list(choices) if not isinstance(choices, str) else [choices]
        if not texts or not all(isinstance(text, str) and text for text in texts):
            raise ValueError("a choice needs one text or more, none of them empty")
        return cls("choice", json.dumps(texts, ensure_ascii=False)).checked("the choice can't be followed")

    @classmethod
    def regex(cls, pattern: str) -> Constraint:
        """A text that a regular expression matches as a whole (Rust's syntax: no look-around, no back references).

        Raises ValueError for a pattern that is none.
        """
        if not pattern:
            raise ValueError("the regular expression is empty, and no answer would be")
        return cls("regex", pattern).checked("the regular expression can't be followed")

    def after_thought(self) -> Constraint:
        """The same for what follows the reasoning of an answer that begins with it."""
        return replace(self, thought=True)

    def checked(self, message: str) -> Constraint:
        """Itself. Raises ValueError that begins with the message and tells in one line what is wrong with it."""
        wrong = _llguidance().LLMatcher.validate_grammar(self._grammar())
        if wrong:
            raise ValueError(f"{message}: {_one_line(wrong)}")
        return self

    def compile(self, tokenizer: Tokenizer) -> None:
        """Do once what takes time, for all answers that follow. Raises ValueError where that shows that it can't be."""
        _compiled(tokenizer, self._grammar())

    def follow(self, tokenizer: Tokenizer) -> Following:
        """Follow one answer from its first token."""
        return Following(_compiled(tokenizer, self._grammar()).deep_copy(), tokenizer.special.text_close)

    def _grammar(self) -> str:
        """As llguidance takes it."""
        if self.kind in ("json_schema", "json_object"):
            made = _llguidance().LLMatcher.grammar_from_json_schema(self.content, overrides=_SPACING)
            (grammar,) = json.loads(made)["grammars"]
        elif self.kind == "regex":
            (grammar,) = json.loads(_llguidance().LLMatcher.grammar_from_regex(self.content))["grammars"]
        else:
            texts = (json.dumps(text, ensure_ascii=False) for text in json.loads(self.content))
            grammar = {"lark_grammar": "start: " + " | ".join(texts)}
        grammar = {**grammar, "name": "answer"}
        return json.dumps({"grammars": [{"lark_grammar": _THOUGHT}, grammar] if self.thought else [grammar]})


class Following:
    """Where an answer stands within its grammar."""

    def __init__(self, matcher, close: int) -> None:
        self._matcher, self._close = matcher, close

    def allowed(self, size: int) -> Tensor:
        """Which of `size` tokens may come next: [size] bool, on the CPU. Raises ValueError where none may."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        mask = np.zeros(size, dtype=bool)
        known = np.unpackbits(bits, bitorder="little").astype(bool)[:size]
        mask[: len(known)] = known
        if self._matcher.is_error() or not mask.any():
            raise ValueError(f"the answer can't go on within its constraint: {_one_line(self._matcher.get_error())}")
        return torch.from_numpy(mask)

    def take(self, token: int) -> None:
        """The token that was chosen, one of those allowed."""
        if token != self._close:
            self._matcher.consume_token(token)


class _Vocabulary:
    """The tokenizer as llguidance wants to see it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        control = vars(tokenizer.special).values()
        self.tokenizer = tokenizer
        self.eos_token_id, self.bos_token_id = tokenizer.special.text_close, None
        self.tokens = [tokenizer.token_bytes(i) for i in range(tokenizer.vocabulary_size)]
        # Tokens without bytes of their own are control tokens, or ids that stand for nothing.
        self.special_token_ids = [i for i, spelt in enumerate(self.tokens) if not spelt]
        for i in {*self.special_token_ids, *control}:
            self.tokens[i] = f"<|control {i}|>".encode()

    def __call__(self, text: str | bytes) -> list[int]:
        return self.tokenizer.encode(text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text)


@lru_cache(maxsize=4)
def _vocabulary(tokenizer: Tokenizer):
    library = _llguidance()
    wrapper = library.TokenizerWrapper(_Vocabulary(tokenizer))
    return library.LLTokenizer(wrapper, n_vocab=tokenizer.vocabulary_size)


@lru_cache(maxsize=256)
def _compiled(tokenizer: Tokenizer, grammar: str):
    """The grammar over the tokens of a tokenizer, at its beginning. Raises ValueError."""
    matcher = _llguidance().LLMatcher(_vocabulary(tokenizer), grammar, log_level=0)
    if matcher.is_error():
        raise ValueError(f"the constraint can't be followed: {_one_line(matcher.get_error())}")
    return matcher


def _llguidance() -> ModuleType:
    try:
        return importlib.import_module("llguidance")
    except ModuleNotFoundError:
        raise ValueError(
            "constrained answers need llguidance, which is not installed; pip install 'unimedvl[serve]'"
        ) from None


def _one_line(message: str) -> str:
    return " ".join(message.split())[:300]
