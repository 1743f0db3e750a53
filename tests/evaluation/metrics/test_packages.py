"""A package that can't be used is an error of one line that says how to get it, or why it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.packages import package


def test_a_module_is_given() -> None:
    assert package("nltk.translate.bleu_score", "BLEU").sentence_bleu


def test_a_missing_package_is_named_with_what_brings_it() -> None:
    with pytest.raises(EvaluationError) as error:
        package("no_such_package.part", "BLEU")
    assert str(error.value) == "BLEU needs no_such_package, which is not installed; pip install 'unimedvl[eval]'"


def test_a_package_that_fails_at_import_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_for_this_torch.py").write_text('raise RuntimeError("operator nms\\n does not exist")')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EvaluationError) as error:
        package("broken_for_this_torch", "LPIPS")
    assert str(error.value) == (
        "LPIPS needs broken_for_this_torch, which is installed and can't be imported: operator nms does not exist"
    )
