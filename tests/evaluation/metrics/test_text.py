"""Metrics of text have the values that their definitions give by hand."""

from __future__ import annotations

import math
from pathlib import Path

import nltk
import numpy as np
import pytest
import sacrebleu

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.text import (
    CIDER,
    CORPUS_BLEU,
    EXACT_AND_STEM,
    bleu,
    cider_d,
    cider_words,
    corpus_bleu,
    meteor,
    meteor_name,
    rouge_l,
    text_scores,
)  # fmt: skip

CAT = [["the cat sat on the mat"]]


@pytest.fixture
def no_wordnet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine without nltk's data."""
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    monkeypatch.setattr(nltk.corpus, "wordnet", nltk.corpus.util.LazyCorpusLoader(
        "wordnet", nltk.corpus.WordNetCorpusReader, None))  # fmt: skip


def test_bleu_1_is_precision_times_the_brevity_penalty() -> None:
    assert bleu(["the cat"], CAT, 1) == pytest.approx([math.exp(1 - 6 / 2)])  # both words are there; 2 of 6 said
    assert bleu(["the the the the the the"], CAT, 1) == pytest.approx([2 / 6])  # clipped to the two of the reference


def test_bleu_3_is_the_geometric_mean_of_three_precisions() -> None:
    # 1-grams 5 of 6, 2-grams 3 of 5, 3-grams 1 of 4
    assert bleu(["the cat sat on a mat"], CAT, 3) == pytest.approx([(5 / 6 * 3 / 5 * 2 / 4) ** (1 / 3)])


def test_bleu_smooths_an_order_without_matches_by_a_tenth() -> None:
    assert bleu(["mat the on sat cat the"], CAT, 2) == pytest.approx([math.sqrt(1 * 0.1 / 5)])


def test_bleu_keeps_case_and_punctuation_as_white_space_tokens_do() -> None:
    assert bleu(["Effusion."], [["effusion"]], 1) == [0.0]


def test_meteor_of_the_textbook_sentence() -> None:
    # all 6 words match: F = 1; in their order they are 1 chunk, penalty 0.5 / 6^3; turned round 6, penalty 0.5
    assert meteor(["the cat sat on the mat"], CAT) == pytest.approx([1 - 0.5 / 216])
    assert meteor(["on the mat sat the cat"], CAT) == pytest.approx([0.5])


def test_meteor_matches_stems_and_is_named_for_it_without_wordnet(no_wordnet: None) -> None:
    assert meteor_name() == EXACT_AND_STEM
    # "sits" and "sit" match by stem; P = R = 1, one chunk of two
    assert meteor(["cat sits"], [["cat sit"]]) == pytest.approx([1 - 0.5 / 8])
    assert meteor(["physician"], [["doctor"]]) == [0.0]


def test_rouge_l_is_the_f_of_the_longest_common_subsequence() -> None:
    # common: "the cat"; P = 2/4, R = 2/3
    assert rouge_l(["the cat was sitting"], [["the cat sat"]]) == pytest.approx([4 / 7])
    assert rouge_l(["nodules"], [["nodule"]]) == [1.0]  # stemmed
    assert rouge_l(["b"], [["a", "b"]]) == [1.0]  # the best of several


def test_cider_of_the_reference_itself_is_ten_and_of_nothing_in_common_nought() -> None:
    references = [["a small nodule in the lung"], ["no acute fracture is seen"]]
    assert cider_d(["A small nodule in the lung.", "effusion"], references) == pytest.approx([10.0, 0.0])


def test_cider_by_hand() -> None:
    # Over two items every n-gram is in one, idf log 2. "a b" of "a b c d": unigram cosine 2 / (sqrt 2 * 2), bigram
    # 1 / (1 * sqrt 3), none longer; bigrams differ by 2, so that the length costs exp(-4 / 72).
    values = cider_d(["a b", "e f g h"], [["a b c d"], ["e f g h"]])
    cosines = 2 / (math.sqrt(2) * 2) + 1 / math.sqrt(3)
    assert values == pytest.approx([10 * math.exp(-4 / 72) * cosines / 4, 10.0])


def test_cider_of_one_item_is_undefined() -> None:
    assert math.isnan(cider_d(["a"], [["a"]])[0])


def test_cider_words_have_no_case_and_no_punctuation() -> None:
    assert cider_words("A 3.5-cm mass, right lung.") == "a 3.5-cm mass right lung"


def test_corpus_bleu_is_sacrebleus() -> None:
    said = ["There is a small nodule.", "The lungs are clear, and no effusion is seen.", "Cardiomegaly."]
    truth = ["There is a small left nodule.", "The lungs are clear. No effusion is seen.", "Mild cardiomegaly."]
    score = corpus_bleu(said, [[t] for t in truth])
    assert score.value == pytest.approx(sacrebleu.corpus_bleu(said, [truth]).score / 100)
    assert "tok:13a" in score.beside
    assert score.low <= score.value <= score.high


def test_all_metrics_have_a_line_and_each_item_its_values(no_wordnet: None) -> None:
    said, truth = ["no effusion is seen here", ""], [["no effusion is seen here"], ["a large mass in the lung"]]
    scores, values = text_scores(said, truth, group="modality: cxr")
    names = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", EXACT_AND_STEM, "ROUGE-L", CIDER, CORPUS_BLEU]
    assert [s.metric for s in scores] == names
    assert {s.group for s in scores} == {"modality: cxr"} and {s.n for s in scores} == {2}
    assert values[0]["BLEU-4"] == 1.0 and values[0][CIDER] == pytest.approx(10.0)
    assert set(values[1].values()) == {0.0}
    assert np.mean([v["ROUGE-L"] for v in values]) == scores[5].value == 0.5


def test_no_items_have_no_value() -> None:
    scores, values = text_scores([], [])
    assert values == [] and all(math.isnan(s.value) and s.n == 0 for s in scores)


@pytest.mark.parametrize("references", [[[]], ["one string"], [["a"], ["b"]]])
def test_an_item_without_references_is_an_error(references: list) -> None:
    with pytest.raises(EvaluationError, match="references"):
        rouge_l(["a"], references)
