"""Simulated studies as DICOM files: read back as they were drawn, marked, and found again by their reports."""

from __future__ import annotations

import csv
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from unimedvl.cli.main import main
from unimedvl.data.source import Sample
from unimedvl.data.sources import source
from unimedvl.imaging import read_image
from unimedvl.phantoms import SIMULATORS, simulate
from unimedvl.phantoms.dicom import dicom_of, study_uid


@pytest.mark.parametrize("modality", sorted(SIMULATORS))
def test_every_view_is_read_back_as_it_was_drawn_and_says_that_it_is_simulated(modality, tmp_path):
    study = simulate(modality, 3, 64)
    (tmp_path / "all").mkdir()
    for view, drawn in study.images.items():
        file = tmp_path / "all" / f"{view}.dcm"
        dicom_of(study, view).save_as(file, enforce_file_format=True)
        shown = (read_image(file).pixels * 255).round().astype(np.uint8)
        assert shown.shape == drawn.shape
        # Greyscale is windowed to its whole range when it is read; its order stays.
        assert np.corrcoef(shown.ravel(), drawn.ravel())[0, 1] > 0.99
        header = pydicom.dcmread(file)
        assert "Simulated" in str(header.PatientName) and header.PatientID.startswith("SIMULATED")
        assert header.SyntheticData == "YES"
    items = list(source("dicom-tree").read(tmp_path / "all"))
    assert len(items) == len(study.images) and all(isinstance(i, Sample) for i in items)
    assert {i.record.modality for i in items} <= {modality, "mixed"}


def test_the_same_study_has_the_same_bytes_and_another_has_other_uids():
    def written(seed: int) -> bytes:
        out = BytesIO()
        dicom_of(simulate("cxr", seed, 64), "frontal").save_as(out, enforce_file_format=True)
        return out.getvalue()

    assert written(1) == written(1)
    assert study_uid(simulate("cxr", 1, 64)) != study_uid(simulate("cxr", 2, 64))


def test_the_command_writes_a_tree_of_files_and_a_table_of_reports(tmp_path, capsys):
    words = ["phantoms", "write", str(tmp_path / "scans"), "--count", "2", "--modality", "cxr", "--size", "64"]
    assert main([*words, "--dicom"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'scans'}\n"
    with (tmp_path / "scans" / "reports.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    files = sorted((tmp_path / "scans").rglob("*.dcm"))
    assert [f.relative_to(tmp_path / "scans") for f in files] == [Path(f"dicom/cxr-{n}/frontal.dcm") for n in (0, 1)]
    assert [str(pydicom.dcmread(f).StudyInstanceUID) for f in files] == [row["study"] for row in rows]
    assert all(row["report"].startswith("FINDINGS: ") and "\n\nIMPRESSION: " in row["report"] for row in rows)
