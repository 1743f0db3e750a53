"""Reading answers: an option's letter, yes or no, or a few words, out of what a model says.

What is read from letters and options follows VLMEvalKit's rules (`can_infer`; Duan et al., ACM MM 2024), with more
that they leave unread. What can't be read is None: such an answer is wrong, and counted. No rule ever guesses.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from unimedvl.evaluation.item import LETTERS, Item

# A model that says one of these has declined to answer; the first four are VLMEvalKit's.
_DECLINED = (
    "sorry, i can't help with images of people yet",
    "i can't process this file",
    "i'm sorry, but without the image provided",
    "cannot determine the answer",
    "failed to obtain answer via api",
)
_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)}
_ARTICLES = ("a", "an", "the")
# A decimal number, a Chinese character, or a run of letters and digits, with the plus of a grade such as 2+.
_TOKEN = re.compile(r"\d+\.\d+|[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+\+?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_UNIT = re.compile(r"(?<=\d)(?=(?:mm|cm|ml|mg|kg)\b)")
_TAGGED = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL | re.IGNORECASE)
_LEAD = re.compile(r"^\W*(?:the\s+)?(?:final\s+|correct\s+)?answer\s*(?:is\b|:)[\s:]*", re.IGNORECASE)
# VLMEvalKit takes these for blanks before it looks for a letter that stands alone.
_BLANKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_LAST = 4
_STATED = re.compile(
    r"(?:\b[Aa]nswer(?:\s+is|\s+would\s+be)?|答案[是为]?)\s*[::]?\s*(?:[Oo]ption\s+)?[\"'(\[*]*([A-J])(?![\w'])"
)
_STATED_LAST = re.compile(r"\banswer(?:\s+is)?\s*:?\s*\(?([a-j])\)?\s*\.?\s*$", re.IGNORECASE)
_NAMED = re.compile(r"\b(?:[Oo]ption|[Cc]hoice)\s+[\"'(\[*]*([A-J])(?![\w'])")
_FIRST = re.compile(r"^[\s(\[*]*([A-J])\s*[.):\]]")
_MARKED = re.compile(r"(?<!\w)([A-J])[.):\]]")
_ALONE = re.compile(r"^\W*([a-j])\W*$", re.IGNORECASE)


def spoken(text: str) -> str:
    """What is said once thinking is over: without think tags, and what stands in the last answer tags where there are.

    Thinking that never ends leaves nothing.
    """
    text = text.rpartition("</think>")[2].partition("<think>")[0]
    tagged = _TAGGED.findall(text)
    return (tagged[-1] if tagged else text).strip()


def tokens(text: str) -> list[str]:
    """The words of a text as open answers are compared by.

    Lower case and Unicode's compatible forms (NFKC); punctuation and apostrophes gone, a hyphen as a blank; numbers up
    to twenty as digits, and apart from a unit of measure; no article, unless it comes last; Chinese by character.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = _UNIT.sub(" ", _THOUSANDS.sub("", text.replace("'", "").replace("\u2019", "")))
    found = _TOKEN.findall(text)
    return [
        _DIGITS.get(word, word) for n, word in enumerate(found) if word not in _ARTICLES or n == len(found) - 1
    ]


def normalised(text: str) -> str:
    """`tokens` as one text; the text itself in lower case where it has no word."""
    return " ".join(tokens(text)) or text.strip().casefold()


def read_yes_no(text: str) -> str | None:
    """ "yes" or "no": the one that the answer begins with, or else the only one of the two that is in it."""
    words = tokens(_LEAD.sub("", spoken(text)))
    if words and words[0] in ("yes", "no"):
        return words[0]
    there = {"yes", "no"} & set(words)
    return there.pop() if len(there) == 1 else None


def read_letter(text: str, options: Sequence[str]) -> str | None:
    """The letter of the option that is chosen. options: what the letters from A on stand for.

    The first of these that settles it: the answer is one letter; it is one option's text; a capital letter stands alone
    within the last four words, and no other does anywhere; a letter is said to be the answer (the last so said); the
    answer begins with a letter and a mark, and no other letter has one; one option alone is named by its letter; one
    option's text alone is in it.
    """
    said = spoken(text)
    letters = LETTERS[: len(options)]
    if not said or any(phrase in said.casefold().replace("\u2019", "'") for phrase in _DECLINED):
        return None
    rules = (_alone, _whole, _standing, _stated, _first, _named, _told)
    found = (rule(said, letters, options) for rule in rules)
    return next((letter for letter in found if letter), None)


def _alone(said: str, letters: str, options: Sequence[str]) -> str | None:
    found = _ALONE.match(said)
    return found[1].upper() if found and found[1].upper() in letters else None


def _whole(said: str, letters: str, options: Sequence[str]) -> str | None:
    """The option whose text is the answer, to the letter or as open answers are compared."""
    said = _LEAD.sub("", said).strip()
    for form in (lambda text: text.strip(), normalised):
        same = [letter for letter, text in zip(letters, options, strict=True) if form(text) == form(said)]
        if len(same) == 1:
            return same[0]
    return None


def _standing(said: str, letters: str, options: Sequence[str]) -> str | None:
    """VLMEvalKit's first rule."""
    words = said.translate(_BLANKS).split()
    there = [letter for letter in letters if letter in words]
    return there[0] if len(there) == 1 and words.index(there[0]) >= len(words) - _LAST else None


def _stated(said: str, letters: str, options: Sequence[str]) -> str | None:
    found = _STATED.findall(said) or [letter.upper() for letter in _STATED_LAST.findall(said)]
    return found[-1] if found and found[-1] in letters else None


def _first(said: str, letters: str, options: Sequence[str]) -> str | None:
    """The letter that the answer begins with, unless it goes through other options in the same way."""
    found = _FIRST.match(said)
    return found[1] if found and found[1] in letters and {*_MARKED.findall(said)} <= {found[1]} else None


def _named(said: str, letters: str, options: Sequence[str]) -> str | None:
    named = set(_NAMED.findall(said))
    return named.pop() if len(named) == 1 and named <= set(letters) else None


def _told(said: str, letters: str, options: Sequence[str]) -> str | None:
    """VLMEvalKit's last rule: the one option whose text is in the answer, which is not much longer than all options.

    Whole words come first, so that `normal` is not found in `abnormal`; an option within another that is found too
    does not count.
    """
    low, texts = said.lower(), [text.strip().lower() for text in options]
    if len(low) > 2 * sum(map(len, texts)):
        return None
    whole = [
        n for n, text in enumerate(texts) if text and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", low)
    ]
    whole = [n for n in whole if not any(texts[n] != texts[m] and texts[n] in texts[m] for m in whole)]
    found = whole or [n for n, text in enumerate(texts) if text and text in low]
    return letters[found[0]] if len(found) == 1 else None


def read_words(text: str) -> str | None:
    """The words of an open answer, normalised, without "the answer is" before them."""
    said = spoken(text)
    return normalised(_LEAD.sub("", said) or said) if said else None


def read(item: Item, text: str) -> str | None:
    """What the answer to an item is read as: "yes" or "no", a letter, or normalised words; None where it can't be read.

    Raises:
        ValueError: the item's kind has no such answer.
    """
    if item.kind == "closed":
        return read_yes_no(text)
    if item.kind == "choice":
        return read_letter(text, item.options)
    if item.kind == "open":
        return read_words(text)
    raise ValueError(f"{item.id}: answers of kind {item.kind} are not read as words; expected closed, choice or open")


def right(item: Item, text: str) -> bool:
    """Whether the answer to an item, as it is read, is one of those that are right. Raises ValueError as `read`."""
    found = read(item, text)
    known = item.answers if item.kind != "open" else tuple(map(normalised, item.answers))
    return found is not None and found in known


def token_recall(item: Item, text: str) -> float:
    """The share of the right answer's words that are in the answer, each as often as it is there; 0 to 1.

    The best over the answers that are right. As open questions are scored by LLaVA-Med (Li et al., NeurIPS 2023); a
    long answer that says much is not punished.
    """
    said = Counter(tokens(spoken(text)))
    shares = [0.0]
    for answer in item.answers:
        wanted = Counter(tokens(answer))
        if wanted.total():
            shares.append((wanted & said).total() / wanted.total())
    return max(shares)
