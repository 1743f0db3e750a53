"""Text to token ids and back: byte-level BPE as in Qwen2, so that every text can be encoded.

Official checkpoint folders hold ``tokenizer.json`` or the older ``vocab.json`` + ``merges.txt`` pair;
both are read. What a user types never becomes a control token, whatever it spells: control tokens mark
where texts and images begin and end, so a text that could write them could forge a segment.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from unimedvl.model.config import SpecialTokens

TEXT_OPEN, TEXT_CLOSE = "<|im_start|>", "<|im_end|>"
IMAGE_START, IMAGE_END = "<|vision_start|>", "<|vision_end|>"
CONTROL = (TEXT_OPEN, TEXT_CLOSE, IMAGE_START, IMAGE_END)

# Qwen2's split before merging: contractions, words with one leading mark or space, single digits,
# runs of punctuation, line ends, spaces.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class TokenizerError(ValueError):
    """A tokenizer folder that cannot be read, or a text or setting that cannot be used; one line."""


class Tokenizer:
    """Encode and decode text. Made by `Tokenizer.load` or `train_tokenizer`; safe to share and to pickle."""

    def __init__(self, backend: Backend, config: dict | None = None):
        """Wrap a byte-level BPE of the `tokenizers` library.

        config: what ``tokenizer_config.json`` held, written back by `save`.
        Raises TokenizerError if a control token is missing or the model is not byte-level.
        """
        missing = [token for token in CONTROL if backend.token_to_id(token) is None]
        if missing:
            raise TokenizerError(f"tokenizer lacks the control tokens {', '.join(missing)}")
        if not isinstance(backend.decoder, decoders.ByteLevel):
            raise TokenizerError("tokenizer is not byte-level BPE (its decoder must be ByteLevel)")
        # Marking them special makes the backend treat their spelling in a text as plain characters.
        backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
        backend.encode_special_tokens = True
        self._backend = backend
        self._config = dict(config or {})
        added = backend.get_added_tokens_decoder()
        self._special = {t.content: i for i, t in added.items() if t.special or t.content in CONTROL}
        self._special_ids = frozenset(self._special.values())
        self._size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
        by_length = sorted(self._special, key=len, reverse=True)
        self._special_pattern = re.compile("(" + "|".join(map(re.escape, by_length)) + ")")
        self._bytes_of: dict[int, bytes] = {}

    @classmethod
    def load(cls, folder: str | Path) -> Tokenizer:
        """Read ``tokenizer.json``, or else ``vocab.json`` + ``merges.txt`` with the added tokens that
        ``tokenizer_config.json`` or ``added_tokens.json`` lists. Raises TokenizerError."""
        folder = Path(folder)
        if not folder.is_dir():
            raise TokenizerError(f"no tokenizer folder at {folder}")
        config = _read_json(folder / "tokenizer_config.json") if _has(folder, "tokenizer_config.json") else {}
        if _has(folder, "tokenizer.json"):
            backend = _read_tokenizer_json(folder / "tokenizer.json")
        elif _has(folder, "vocab.json") and _has(folder, "merges.txt"):
            backend = _read_vocab_and_merges(folder, config)
        else:
            raise TokenizerError(f"{folder} holds neither tokenizer.json nor vocab.json with merges.txt")
        try:
            return cls(backend, config)
        except TokenizerError as error:
            raise TokenizerError(f"{folder}: {error}") from None

    def save(self, folder: str | Path) -> None:
        """Write ``tokenizer.json``, and ``vocab.json``, ``merges.txt`` and ``tokenizer_config.json`` for
        readers of the older layout. The folder is made if need be."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._backend.save(str(folder / "tokenizer.json"))
        self._backend.model.save(str(folder))
        config = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": TEXT_CLOSE, **self._config}
        config["added_tokens_decoder"] = {
            str(i): {"content": t.content, "lstrip": t.lstrip, "normalized": t.normalized,
                     "rstrip": t.rstrip, "single_word": t.single_word, "special": t.special}
            for i, t in sorted(self._backend.get_added_tokens_decoder().items())
        }
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")

    @property
    def special(self) -> SpecialTokens:
        return SpecialTokens(*(self._special[token] for token in CONTROL))

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest id, control tokens included."""
        return self._size

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Ids of a text; nothing is added before or after.

        allow_special: let the spelling of a control token (``"<|im_end|>"``) become that token. For
            templates of the project's own only, never for what a user typed.
        Raises TokenizerError for lone surrogates, which are no characters.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TokenizerError(f"text holds a lone surrogate at character {error.start}") from None
        if not allow_special:
            return self._backend.encode(text, add_special_tokens=False).ids
        ids: list[int] = []
        # Split here, not by switching the backend's mode: the object may be shared between threads.
        for piece in self._special_pattern.split(text):
            if piece in self._special:
                ids.append(self._special[piece])
            elif piece:
                ids.extend(self._backend.encode(piece, add_special_tokens=False).ids)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids; control tokens and ids beyond the vocabulary are skipped, bytes that are not
        UTF-8 become U+FFFD."""
        return b"".join(self.token_bytes(i) for i in ids).decode("utf-8", errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for, empty for control tokens and unknown ids."""
        token = int(token)
        known = self._bytes_of.get(token)
        if known is None:
            known = self._bytes_of[token] = self._spell(token)
        return known

    def stream(self) -> StreamDecoder:
        """A decoder for ids that arrive one by one."""
        return StreamDecoder(self)

    def __reduce__(self):
        # The backend's own pickling forgets that control tokens are not to be read from texts.
        return _from_string, (self._backend.to_str(), self._config)

    def _spell(self, token: int) -> bytes:
        if token in self._special_ids or not 0 <= token < self._size:
            return b""
        spelling = self._backend.id_to_token(token) or ""
        try:
            return bytes(_BYTE_OF[character] for character in spelling)
        except KeyError:  # an added token, spelt in plain characters
            return spelling.encode("utf-8")


class StreamDecoder:
    """Decode ids one by one: the pieces joined equal `Tokenizer.decode`, and no piece holds half a
    UTF-8 character."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._pending = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The text that this id completes; empty while a character is still incomplete."""
        return self._pending.decode(self._tokenizer.token_bytes(token))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that never came to its end."""
        return self._pending.decode(b"", final=True)


def train_tokenizer(texts: Iterable[str], vocabulary_size: int = 1024) -> Tokenizer:
    """Learn byte-level BPE merges from texts, Qwen2 split, the four control tokens last.

    vocabulary_size: at most so many ids, at least 260 (256 bytes and the control tokens); fewer come
        out where the texts hold too few pairs. Unlike Qwen2 nothing is normalised, so any text
        survives a round trip unchanged.
    Raises TokenizerError for a smaller size.
    """
    smallest = 256 + len(CONTROL)
    if vocabulary_size < smallest:
        raise TokenizerError(f"vocabulary_size is {vocabulary_size}; at least {smallest} are needed")
    backend = Backend(models.BPE())
    backend.pre_tokenizer = _qwen2_split()
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - len(CONTROL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    return Tokenizer(backend)


def _from_string(backend: str, config: dict) -> Tokenizer:
    return Tokenizer(Backend.from_str(backend), config)


def _qwen2_split() -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte, the other way round: printable bytes stand for
    themselves, the others for the characters from U+0100 on, in order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + k): byte for k, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()


def _has(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TokenizerError(f"cannot read {path}: {_one_line(error)}") from None
    if not isinstance(content, dict):
        raise TokenizerError(f"cannot read {path}: a JSON object is expected")
    return content


def _read_tokenizer_json(path: Path) -> Backend:
    try:
        return Backend.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise TokenizerError(f"cannot read {path}: {_one_line(error)}") from None


def _read_vocab_and_merges(folder: Path, config: dict) -> Backend:
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    try:
        backend = Backend(models.BPE.from_file(str(vocab), str(merges)))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise TokenizerError(f"cannot read {vocab} with {merges}: {_one_line(error)}") from None
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = _qwen2_split()
    backend.decoder = decoders.ByteLevel()
    for token_id, token in sorted(_added_tokens(folder, config).items()):
        backend.add_tokens([token])
        if backend.token_to_id(token.content) != token_id:
            raise TokenizerError(
                f"{folder}: added token {token.content} should have id {token_id}, but the vocabulary "
                f"leaves it {backend.token_to_id(token.content)}"
            )
    return backend


def _added_tokens(folder: Path, config: dict) -> dict[int, AddedToken]:
    flags = ("lstrip", "normalized", "rstrip", "single_word", "special")
    listed: dict[int, AddedToken] = {}
    try:
        if _has(folder, "added_tokens.json"):
            for content, token_id in _read_json(folder / "added_tokens.json").items():
                listed[int(token_id)] = AddedToken(content, special=content in CONTROL, normalized=False)
        for token_id, entry in config.get("added_tokens_decoder", {}).items():
            given = {flag: bool(entry[flag]) for flag in flags if flag in entry}
            listed[int(token_id)] = AddedToken(entry["content"], **given)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        if isinstance(error, TokenizerError):
            raise
        raise TokenizerError(f"{folder}: the list of added tokens is broken: {_one_line(error)}") from None
    return listed


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
