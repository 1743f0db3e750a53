"""Every Python block of the guide runs, in order, on real and made files."""

import re
import shutil
from pathlib import Path

import numpy as np
from pydicom.data import get_testdata_file

GUIDE = Path(__file__).parents[2] / "docs" / "imaging.md"


def test_the_guide_runs_as_written(tmp_path, monkeypatch, capsys, make_nifti):
    monkeypatch.chdir(tmp_path)
    shutil.copy(get_testdata_file("CT_small.dcm", download=False), "scan.dcm")
    shutil.copy(get_testdata_file("examples_ybr_color.dcm", download=False), "cine.dcm")
    volume = np.arange(1000, dtype=np.int16).reshape(10, 10, 10)
    Path("brain.nii.gz").write_bytes(make_nifti(volume, pack=True))
    Path("fmri.nii.gz").write_bytes(make_nifti(np.stack([volume, volume], -1), pack=True))
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), names)
    said = "scan.dcm: has 1 frame; frame 99 is out of range, leave it out or give 0"
    assert capsys.readouterr().out.strip() == said and said in GUIDE.read_text()
    assert names["read_provenance"]("made.png") == {"seed": 7}
