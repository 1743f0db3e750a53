"""How near a text is to its references: BLEU, METEOR, ROUGE-L, CIDEr-D.

Every function takes predictions and, for each, one reference or several, and gives a value for each item. An empty
prediction is worth 0. Definitions, sources and pitfalls: docs/metrics.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial

import numpy as np

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.packages import package
from unimedvl.evaluation.score import Score, mean, statistic

References = Sequence[Sequence[str]]
BLEU_ORDERS = (1, 2, 3, 4)
EXACT_AND_STEM = "METEOR (exact and stem)"
CIDER = "CIDEr-D"
CORPUS_BLEU = "corpus BLEU (sacreBLEU)"


def bleu(predictions: Sequence[str], references: References, order: int = 4) -> list[float]:
    """BLEU-n of each item, 0 to 1 (Papineni et al. 2002): n-grams up to `order`, weighed alike.

    As nltk's `sentence_bleu` with smoothing method 1 (Chen and Cherry 2014), over white-space tokens with their case.

    Raises:
        EvaluationError: an item without references, or an order below 1.
    """
    if order < 1:
        raise EvaluationError(f"BLEU needs an order of at least 1, got {order}")
    score = package("nltk.translate.bleu_score", "BLEU")
    smoothing, weights = score.SmoothingFunction().method1, (1 / order,) * order
    return [
        float(score.sentence_bleu([r.split() for r in several], said.split(), weights, smoothing))
        for said, several in _paired(predictions, references)
    ]


def corpus_bleu(predictions: Sequence[str], references: References, **told) -> Score:
    """BLEU-4 of all items together by sacreBLEU (Post 2018), as a share of 1, with sacreBLEU's signature beside it.

    It has its own tokenizer (13a), and no smoothing matters but on tiny sets. told: further fields of `Score`.

    Raises:
        EvaluationError: an item without references.
    """
    metrics = package("sacrebleu.metrics", "corpus BLEU")
    metric, rows = metrics.BLEU(effective_order=False), []
    counted = metrics.BLEU(effective_order=True)  # the counts are the same, and it doesn't warn of each sentence
    for said, several in _paired(predictions, references):
        of_one = counted.sentence_score(said, list(several))
        rows.append([of_one.sys_len, of_one.ref_len, *of_one.counts, *of_one.totals])
        metric.num_refs = counted.num_refs

    def value(table: np.ndarray) -> float:
        sums = table.sum(0).astype(int).tolist()
        return metric.compute_bleu(sums[2:6], sums[6:], sums[0], sums[1], smooth_method="exp").score / 100

    beside = str(metric.get_signature()) if rows else ""
    return statistic(CORPUS_BLEU, rows, value, **{"beside": beside} | told)


def meteor_name() -> str:
    """ "METEOR" where nltk's WordNet is on this machine, which is a download, else the name of what is computed."""
    return "METEOR" if _wordnet() is not None else EXACT_AND_STEM


def meteor(predictions: Sequence[str], references: References) -> list[float]:
    """METEOR of each item, 0 to 1, the best over its references, as nltk's `meteor_score`.

    Its settings are alpha 0.9, beta 3, gamma 0.5. Words match exactly, by Porter's stem and by WordNet's synonyms
    (Banerjee and Lavie 2005). Where WordNet is missing, synonyms don't: `meteor_name` says which of the two it is.

    Raises:
        EvaluationError: an item without references.
    """
    score = package("nltk.translate.meteor_score", "METEOR")
    synonyms = _wordnet() or _NoSynonyms()
    return [
        float(score.meteor_score([r.split() for r in several], said.split(), wordnet=synonyms))
        for said, several in _paired(predictions, references)
    ]


class _NoSynonyms:
    """In the place of WordNet: no word has a synonym."""

    def synsets(self, word: str) -> list:
        return []


def _wordnet():
    """nltk's WordNet; None where its data is not here."""
    corpus = package("nltk.corpus", "METEOR")
    try:
        corpus.wordnet.ensure_loaded()
    except LookupError:
        return None
    return corpus.wordnet


def rouge_l(predictions: Sequence[str], references: References) -> list[float]:
    """ROUGE-L of each item, 0 to 1, the best F over its references, by rouge-score with Porter's stemmer (Lin 2004)."""
    scorer = package("rouge_score.rouge_scorer", "ROUGE-L").RougeScorer(["rougeL"], use_stemmer=True)
    return [
        float(max(scorer.score(reference, said)["rougeL"].fmeasure for reference in several))
        for said, several in _paired(predictions, references)
    ]


def cider_d(predictions: Sequence[str], references: References) -> list[float]:
    """CIDEr-D of each item, 0 to 10 (Vedantam et al. 2015), by pycocoevalcap's scorer (n to 4, sigma 6).

    The corpus figure is the mean. Words are lower case without punctuation (`cider_words`), as the original's tokenizer
    needs Java. How rare a word is, is counted over all references given here, so an item's value depends on the set;
    NaN where that has fewer than two items.

    Raises:
        EvaluationError: an item without references.
    """
    pairs = _paired(predictions, references)
    if len(pairs) < 2:
        return [math.nan] * len(pairs)
    scorer = package("pycocoevalcap.cider.cider_scorer", "CIDEr-D").CiderScorer(n=4, sigma=6.0)
    for said, several in pairs:
        scorer += (cider_words(said), [cider_words(r) for r in several])
    return [float(value) for value in scorer.compute_score()[1]]


def cider_words(text: str) -> str:
    """Lower-case words and numbers with a space between them: "A 3.5-cm mass." to "a 3.5-cm mass"."""
    return " ".join(re.findall(r"[^\W_]+(?:[-'.][^\W_]+)*", text.lower()))


def text_scores(
    predictions: Sequence[str], references: References, **told
) -> tuple[list[Score], list[dict[str, float]]]:
    """All metrics of this file as lines of a table, and of each item those that an item has.

    BLEU-1 to 4, METEOR under the name of what is computed, ROUGE-L, CIDEr-D, corpus BLEU. told: further fields of
    `Score`, such as the group.

    Raises:
        EvaluationError: an item without references, or a package is missing.
    """
    of_items = {f"BLEU-{n}": partial(bleu, order=n) for n in BLEU_ORDERS}
    of_items |= {meteor_name(): meteor, "ROUGE-L": rouge_l, CIDER: cider_d}
    columns = {name: of(predictions, references) for name, of in of_items.items()}
    beside = {CIDER: f"rarity of words counted over the references of {len(predictions)} items"}
    scores = [mean(name, v, **{"beside": beside.get(name, "")} | told) for name, v in columns.items()]
    scores.append(corpus_bleu(predictions, references, **told))
    rows = zip(*columns.values(), strict=True)
    return scores, [{k: v for k, v in zip(columns, row, strict=True) if math.isfinite(v)} for row in rows]


def _paired(predictions: Sequence[str], references: References) -> list[tuple[str, Sequence[str]]]:
    """Raises EvaluationError where they are not of one length, or an item has no reference."""
    if len(predictions) != len(references):
        raise EvaluationError(f"{len(predictions)} predictions for the references of {len(references)} items")
    for place, several in enumerate(references):
        if isinstance(several, str) or not several:
            raise EvaluationError(f"item {place} needs a list of one or more references, got {several!r}")
    return list(zip(predictions, references, strict=True))
