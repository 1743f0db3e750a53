"""The guide's Python runs as written, and what it says comes out."""

from __future__ import annotations

import re
from pathlib import Path

GUIDE = (Path(__file__).parents[2] / "docs" / "provenance.md").read_text()


def test_the_python_of_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    names: dict = {}
    exec(compile(block, "docs/provenance.md", "exec"), names)
    assert (names["found"].verdict, names["found"].manifest.state) == ("made", "valid")
    assert not names["detect"](names["array"]).found and names["data"].startswith(b"\xff\xd8")
