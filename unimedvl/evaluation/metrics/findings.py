"""Whether a report names the findings that there are, whatever its words: F1 of findings.

For simulated studies by the rules that read the phantoms' own language (`unimedvl/phantoms/parser.py`), which need
nothing. For chest X-ray reports by RadGraph and CheXbert, through their packages, where they and their weights are
there; nothing is downloaded. Definitions, sources and pitfalls: docs/metrics.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.packages import package
from unimedvl.evaluation.score import Score, f1_of_counts, mean, statistic

FINDING_F1 = "finding F1"


def finding_counts(text: str, truth: Iterable[str], modality: str | None = None) -> tuple[int, int, int]:
    """True positives, false positives and false negatives of the findings that a text states.

    truth: canonical names of the findings that there are, as of `Study.findings` or of `parse_findings` on a reference.
    modality: read with this modality's names alone; with all where None. Sides, severities and places do not count.

    Raises:
        VocabularyError: no such modality.
    """
    from unimedvl.phantoms.parser import parse_findings

    found, there = parse_findings(text, modality), set(truth)
    return len(found & there), len(found - there), len(there - found)


def finding_scores(
    texts: Sequence[str], truths: Sequence[Iterable[str]], modalities: Sequence[str | None], **told
) -> tuple[list[Score], list[dict[str, float]]]:
    """Micro F1 of the findings stated as a line of a table, and each item's own F1.

    Beside it stand precision and recall with their counts. told: further fields of `Score`.

    Raises:
        EvaluationError: not of one length.
        VocabularyError: no such modality.
    """
    if not len(texts) == len(truths) == len(modalities):
        raise EvaluationError(f"{len(texts)} texts, {len(truths)} truths and {len(modalities)} modalities")
    rows = [finding_counts(*each) for each in zip(texts, truths, modalities, strict=True)]
    tp, fp, fn = np.array(rows, dtype=int).reshape(-1, 3).sum(0).tolist()
    beside = f"read by the phantoms' parser; precision {_share(tp, fp)}, recall {_share(tp, fn)}"
    score = statistic(FINDING_F1, rows, f1_of_counts, **{"beside": beside} | told)
    return [score], [{FINDING_F1: f1_of_counts(np.array([row]))} for row in rows]


def _share(right: int, wrong: int) -> str:
    return f"{right / (right + wrong):.2f} ({right} of {right + wrong})" if right + wrong else "- (0 of 0)"


class Labeller(Protocol):
    """What compares chest X-ray reports, where it is on this machine."""

    name: str

    def missing(self) -> str:
        """What is not there, in one line; empty where all is."""
        ...

    def score(self, predictions: Sequence[str], references: Sequence[str], **told) -> tuple[Score, list[float]]:
        """A line of a table, and each item's value. Raises EvaluationError where something is missing."""
        ...


class RadGraph:
    """F1 of entities and relations of RadGraph-XL's graphs of two reports (Jain et al. 2021; Delbrouck et al. 2024).

    An entity is right with its label and whether it has a relation (the package's level "partial"). A mean over items.
    """

    name = "RadGraph F1 (radgraph-xl, partial)"

    def missing(self) -> str:
        """What is not there, in one line; empty where all is."""
        if find_spec("radgraph") is None:
            return f"{self.name} needs radgraph, which is not installed; pip install radgraph"
        folder = Path(package("radgraph.radgraph", self.name).CACHE_DIR) / "radgraph-xl"
        if not (folder / "weights.th").is_file():
            return f"{self.name} needs its weights in {folder}; radgraph.RadGraph(model_type='radgraph-xl') gets them"
        config = json.loads((folder / "config.json").read_text())
        return _without(self.name, config["model"]["embedder"]["token_embedders"]["bert"]["model_name"])

    def score(self, predictions: Sequence[str], references: Sequence[str], **told) -> tuple[Score, list[float]]:
        """The mean as a line of a table, and each item's value, 0 to 1. Raises EvaluationError where it is missing."""
        if what := self.missing():
            raise EvaluationError(what)
        module = package("radgraph", self.name)
        metric = module.F1RadGraph(reward_level="partial", model_type="radgraph-xl")
        _, values, *_ = metric(hyps=list(predictions), refs=list(references))
        values = [float(value) for value in values]
        return mean(self.name, values, **told), values


class CheXbert:
    """Micro F1 of CheXbert's 14 labels of two reports (Smit et al. 2020), where uncertain counts as there."""

    name = "CheXbert F1 (14 labels, micro)"

    def missing(self) -> str:
        """What is not there, in one line; empty where all is."""
        if find_spec("f1chexbert") is None:
            return f"{self.name} needs f1chexbert, which is not installed; pip install f1chexbert"
        file = Path(package("f1chexbert.f1chexbert", self.name).CACHE_DIR) / "chexbert.pth"
        if not file.is_file():
            return f"{self.name} needs chexbert.pth of StanfordAIMI/RRG_scorers (Hugging Face) at {file}"
        return _without(self.name, "bert-base-uncased")

    def score(self, predictions: Sequence[str], references: Sequence[str], **told) -> tuple[Score, list[float]]:
        """F1 over all as a line of a table, and each item's own. Raises EvaluationError where it is missing."""
        if what := self.missing():
            raise EvaluationError(what)
        labels = package("f1chexbert", self.name).F1CheXbert().get_label
        rows = [
            label_counts(labels(said.strip()), labels(truth.strip()))
            for said, truth in zip(predictions, references, strict=True)
        ]
        score = statistic(self.name, rows, f1_of_counts, **told)
        return score, [f1_of_counts(np.array([row])) for row in rows]


LABELLERS: tuple[Labeller, ...] = (RadGraph(), CheXbert())


def label_counts(found: Sequence[int], truth: Sequence[int]) -> tuple[int, int, int]:
    """True positives, false positives and false negatives of labels that are 1 where something is there."""
    pairs = list(zip(found, truth, strict=True))
    return pairs.count((1, 1)), pairs.count((1, 0)), pairs.count((0, 1))


def labeller_scores(predictions: Sequence[str], references: Sequence[str], **told) -> list[Score]:
    """A line for each of `LABELLERS`, one that is not on this machine without a value and with what it needs beside it.

    told: further fields of `Score`.
    """
    scores = []
    for labeller in LABELLERS:
        if what := labeller.missing():
            absent = {"beside": f"not measured: {what}"} | told
            scores.append(Score(labeller.name, math.nan, math.nan, math.nan, 0, **absent))
        else:
            scores.append(labeller.score(predictions, references, **told)[0])
    return scores


def _without(name: str, repository: str) -> str:
    """What is missing of a text encoder of the hub that a labeller builds on, in one line."""
    from huggingface_hub import try_to_load_from_cache

    there = isinstance(try_to_load_from_cache(repository, "config.json"), str)
    return "" if there else f"{name} needs {repository}; download it with: huggingface-cli download {repository}"
