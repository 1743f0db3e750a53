"""The guide on data: its Python runs, and its example of a source is a source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unimedvl.data.miniatures.paint import picture, save
from unimedvl.data.source import Fault, Sample

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "data.md").read_text(), re.S)


def test_the_python_of_the_guide_runs(miniature, monkeypatch, capsys):
    monkeypatch.chdir(miniature("vqa-rad").parent)
    exec(compile(BLOCKS[0], "docs/data.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11 and lines[0] == "0 <image>" and lines[1].startswith("Is there a nodule? ")


def test_the_example_of_a_source_is_short_and_reads(tmp_path):
    assert BLOCKS[1].count("\n") < 60
    space: dict = {}
    exec(compile(BLOCKS[1], "docs/data.md", "exec"), space)
    save(tmp_path / "1.png", picture("cxr", 1))
    rows = ["id,image,patient,question,answer", "a,1.png,p7,Is it large?,No", "b,1.png,n/a,Is it small?,Yes", "c,,,,"]
    (tmp_path / "questions.csv").write_text("\n".join(rows))
    first, second, fault = space["SOURCE"].read(tmp_path)
    assert isinstance(first, Sample) and first.record.patient == "p7" and second.record.patient == ""
    assert first.images[0]() == (tmp_path / "1.png").read_bytes()
    assert fault == Fault(f"{tmp_path / 'questions.csv'}: row 4", "image: empty")
    with pytest.raises(ValueError, match=r"expected questions.csv in it"):
        list(space["SOURCE"].read(tmp_path / "none"))
