"""The guide to these benchmarks says what the code declares, and its Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unimedvl.data.miniatures import write_miniature
from unimedvl.evaluation.benchmarks.gmai_mmbench import GMAI_MMBENCH, GMAI_MMBENCH_TEST
from unimedvl.evaluation.benchmarks.medxpertqa import MEDXPERTQA
from unimedvl.evaluation.benchmarks.omnimedvqa import OMNIMEDVQA
from unimedvl.evaluation.benchmarks.pathvqa import PATHVQA
from unimedvl.evaluation.benchmarks.pmc_vqa import PMC_VQA, PMC_VQA_2
from unimedvl.evaluation.benchmarks.slake import SLAKE
from unimedvl.evaluation.benchmarks.vqa_rad import VQA_RAD

GUIDE = (Path(__file__).parents[3] / "docs" / "evaluation-benchmarks.md").read_text()


def test_the_python_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    write_miniature("slake", Path("slake-demo"))
    write_miniature("gmai-mmbench", Path("gmai-demo"))
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    exec(compile(block, "evaluation-benchmarks.md", "exec"), {})
    told = capsys.readouterr().out
    assert "accuracy answer type: closed 100.0 %" in told and "my-judge at 127.0.0.1" in told
    assert "0 without a letter" in told and Path("gmai-test.tsv").is_file()


@pytest.mark.parametrize(
    "benchmark",
    [VQA_RAD, PATHVQA, OMNIMEDVQA, GMAI_MMBENCH, GMAI_MMBENCH_TEST, PMC_VQA, PMC_VQA_2, MEDXPERTQA],
    ids=lambda b: b.name,
)
def test_the_guide_has_the_number_of_items(benchmark) -> None:
    (line,) = re.findall(rf"^\| `{re.escape(benchmark.name)}` \| .*$", GUIDE, re.M)[:1]
    assert f"{benchmark.expected:,}" in line


def test_the_two_languages_of_slake_add_up() -> None:
    assert "1,061 English (416 closed, 645 open), 1,033 Chinese" in GUIDE and SLAKE.expected == 1061 + 1033
