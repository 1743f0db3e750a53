"""The guide's Python on documents runs as written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

GUIDE = Path(__file__).parents[2] / "docs" / "hospital.md"


def test_the_guide_writes_its_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(get_testdata_file("CT_small.dcm", download=False), tmp_path / "scan.dcm")
    monkeypatch.chdir(tmp_path)
    block = next(b for b in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S) if "report_sr(" in b)
    exec(compile(block, GUIDE.name, "exec"), {})
    assert pydicom.dcmread("measured.dcm").SOPClassUID == pydicom.uid.Comprehensive3DSRStorage
    assert pydicom.dcmread("made.dcm").SyntheticData == "YES"
