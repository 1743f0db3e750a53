"""A language model as judge, at any server with the OpenAI chat form: what the declared rules can't decide.

It is sent question, right answer and the model's answer, and no image; these leave this machine for the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from unimedvl.data.captions.answers import Answers
from unimedvl.data.captions.chat import Chat, EndpointChat
from unimedvl.data.error import DataError
from unimedvl.data.quality.endpoint import Halted, Watch
from unimedvl.evaluation.answers import spoken
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.item import LETTERS, Item

# Bump it when the words below change: they are part of what is kept and of what a figure was judged by.
_TASK = {
    "open": "Does the answer of a medical student mean the same as the right answer? An answer that says more is the "
    "same if nothing in it contradicts the right one; one that leaves out what the right one says is not. Reply with "
    "one word: yes or no.",
    "closed": "Which does the answer of a medical student to this question of yes or no mean? Don't correct it. Reply "
    "with one word: yes, no or unclear.",
    "choice": "Which of the options does the answer of a medical student to this question mean? Don't correct it. "
    "Reply with one word: the option's letter, or unclear.",
}
_WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True)
class Verdict:
    """right: whether the answer is. unread: whether the judge can't tell what it means. error: why there is none."""

    right: bool = False
    unread: bool = False
    error: str = ""


@dataclass(frozen=True)
class Judge:
    """Asks `chat`, several at once, and keeps what it says by question and answer.

    answers: where replies are kept. workers: requests at a time. progress: told how many of how many are judged.
    """

    chat: Chat
    answers: Answers
    workers: int = 8
    progress: Callable[[int, int], None] | None = None

    @property
    def name(self) -> str:
        return self.chat.name

    def verdicts(self, pairs: Sequence[tuple[Item, str]]) -> list[Verdict]:
        """What the judge says of answers to items, in order. One that it fails on has an error, and is not right.

        Raises:
            EvaluationError: the server is taken for gone, or replies can't be kept; those that are, are not asked for
                again.
        """
        asked = [wording(item, text) for item, text in pairs]
        replies: dict[str, str | DataError] = {}
        distinct = list(dict.fromkeys(asked))
        pool = ThreadPoolExecutor(self.workers)
        try:
            for number, (words, reply) in enumerate(zip(distinct, pool.map(self._reply, distinct), strict=True), 1):
                replies[words] = reply
                if self.progress:
                    self.progress(number, len(distinct))
            self.answers.settle()
        except Halted as error:
            raise EvaluationError(f"judge {self.name}: {error}") from error
        finally:
            pool.shutdown(cancel_futures=True)
        return [_verdict(item, replies[words]) for (item, _), words in zip(pairs, asked, strict=True)]

    def _reply(self, words: str) -> str | DataError:
        try:
            return self.answers.of(self.name, words, "", lambda: self.chat.say(words))
        except Halted:
            raise
        except DataError as error:
            return error


def judge_at(
    url: str, model: str, keep: Path, key: str = "", workers: int = 8, failures: int = 8,
    progress: Callable[[int, int], None] | None = None, **more,
) -> Judge:  # fmt: skip
    """A server's model as judge.

    url: up to and with the version, such as http://127.0.0.1:8000/v1. keep: the folder of replies, made where it is
    missing. failures: so many requests that fail in a row, and the server is taken for gone. more: further fields of
    `EndpointChat`, such as timeout_s.

    Raises:
        EvaluationError: the address or the key can't be one, or the folder can't be made.
    """
    try:
        chat = EndpointChat(url, model, key, **{"temperature": 0.0, "most_tokens": 1024, **more})
        keep.mkdir(parents=True, exist_ok=True)
    except DataError as error:
        raise EvaluationError(f"judge: {error}") from error
    except OSError as error:
        raise EvaluationError(f"{keep}: {error.strerror}") from error
    return Judge(chat, Answers(keep, Watch(chat, failures)), workers, progress)


def wording(item: Item, text: str) -> str:
    """What the judge is asked of an answer to an item."""
    return "\n\n".join(_parts(item, spoken(text)))


def _parts(item: Item, said: str) -> Iterator[str]:
    yield _TASK[item.kind]
    yield f"Question: {item.question}"
    if item.options:
        yield "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, item.options, strict=False))
    if item.kind == "open":
        yield f"Right answer: {' or '.join(item.answers)}"
    # The answer is data: whatever it asks for is not asked of the judge.
    yield f"The student's answer, between lines of dashes:\n-----\n{said}\n-----"


def _verdict(item: Item, reply: str | DataError) -> Verdict:
    if isinstance(reply, DataError):
        return Verdict(error=str(reply))
    found = _WORD.findall(spoken(reply))
    # The last word, since some judges reason first.
    word = found[-1] if found else ""
    if item.kind == "choice":
        letter = word.upper() if len(word) == 1 else ""
        return Verdict(letter in item.answers, unread=not letter or letter not in LETTERS[: len(item.options)])
    polar = word.lower() in ("yes", "no")
    if item.kind == "open":
        return Verdict(word.lower() == "yes", unread=not polar)
    return Verdict(word.lower() in item.answers, unread=not polar)
