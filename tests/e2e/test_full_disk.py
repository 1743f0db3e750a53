"""Builds, shards, audits and de-identification on a disk that is really full, has no more inodes, or is read-only.

Each command is run on a tmpfs of its own that grows from run to run: it fails in one line, leaves whole files alone
and loses none, and with room it ends with the bytes of a run that had room from the beginning.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from unimedvl.data.miniatures import write_miniature
from unimedvl.data.quality.audit_folder import Audit, write_audit

DRIVER = Path(__file__).parent / "small_disk.py"
NO_ROOM, READ_ONLY = "No space left on device", "Read-only file system"
# Each command is a process that starts from nothing, several times.
pytestmark = pytest.mark.timeout(600)
ROOMY = "rw,size=64m,nr_inodes=10000"
RECIPE = """
folder: {folder}
inputs:
  - {{name: vqa-rad, miniature: true}}
evaluation:
  - {{name: slake, miniature: true}}
chunk: 2
shard: 3
processes: {processes}
"""
RATE = """
import sys
from unimedvl.data.error import DataError
from unimedvl.data.quality.audit import Rating
from unimedvl.data.quality.audit_folder import Audit
audit = Audit(sys.argv[1])
for record in audit.records:
    try:
        audit.save(Rating("ann", record.dataset, record.id, {"completeness": 3.0}, "x" * 1500))
    except DataError as error:
        sys.exit(f"error: {error}")
"""


@pytest.fixture
def disk(tmp_path: Path, environment):
    """Run a command on a disk that is mounted in one way after another; its folder is `disk.folder`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    # Whoever is not root may mount in a user's namespace of their own.
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]

    def run(ways: list[str], *command: object) -> list[dict]:
        words = [*alone, sys.executable, str(DRIVER), str(folder), json.dumps(ways), *map(str, command)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    run.folder = folder
    return run


def program(*words: object) -> tuple[object, ...]:
    return (sys.executable, "-m", "unimedvl", *words)


def check(runs: list[dict], whole: dict[str, str] | None = None) -> None:
    """Every run but the last failed in one line and left whole files; the last ended well. whole: with these bytes."""
    *failed, last = runs
    assert last["status"] == 0, last["errors"]
    whole = whole or last["files"]
    assert last["files"] == whole
    before: dict[str, str] = {}
    for run in failed:
        *_, line = run["errors"].splitlines()
        assert run["status"] in (1, 2) and line.startswith("error: ") and line.endswith((NO_ROOM, READ_ONLY)), run
        assert sum(words in run["errors"] for words in ("error:", "Traceback")) == 1
        assert before.items() <= run["files"].items() <= whole.items()
        before = run["files"]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_build_goes_on_once_there_is_room(disk, tmp_path, processes):
    (tmp_path / "build.yaml").write_text(RECIPE.format(folder=disk.folder / "build", processes=processes))
    command = program("data", "build", tmp_path / "build.yaml")
    (alone,) = disk([ROOMY], *command)
    assert alone["status"] == 0 and "build/report.json" in alone["files"]
    # It takes some 416 kB and 84 inodes: no room for a miniature, for a folder, for a later stage.
    ways = ["size=16k", "size=64m,nr_inodes=40", "size=240k,nr_inodes=10000", "ro,size=64m", ROOMY]
    runs = disk(ways if processes == 1 else [ways[2], ROOMY], *command)
    check(runs, alone["files"])
    if processes == 1:
        assert READ_ONLY in runs[-2]["errors"] and all(NO_ROOM in run["errors"] for run in runs[:-2])


def test_a_shard_is_whole_or_not_there(disk, tmp_path):
    write_miniature("slake", tmp_path / "slake")
    command = program("data", "shard", "slake", tmp_path / "slake", disk.folder / "x.parquet")
    runs = disk(["size=4k", "size=16k", "ro,size=64m", ROOMY], *command)
    check(runs)
    assert [len(run["files"]) for run in runs] == [0, 0, 0, 1]


def test_de_identification_goes_on_once_there_is_room(disk, tmp_path, unimedvl):
    source, key = tmp_path / "dicom", tmp_path / "project.key"
    source.mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm"):
        shutil.copy(get_testdata_file(name, download=False), source / name)
    assert unimedvl("data", "privacy-key", key).returncode == 0
    command = program("data", "deidentify", source, "--out", disk.folder / "out", "--key-file", key, "--quiet")
    (alone,) = disk([ROOMY], *command)
    runs = disk(["size=4k", "size=40k", "ro,size=64m", ROOMY], *command)
    log = "out/audit.jsonl"
    for run in (*runs, alone):  # it grows line by line; the last says that it is whole
        run["log"] = run["files"].pop(log, "")
    check(runs, alone["files"])
    assert runs[-1]["log"] == alone["log"] and len(runs[1]["files"]) == 1


def test_a_sample_for_an_audit_is_whole_or_not_there(disk, miniature_shard):
    command = program("data", "audit", "sample", miniature_shard, "--out", disk.folder / "audit")
    runs = disk(["size=8k", "ro,size=64m", ROOMY], *command)
    check(runs)
    assert runs[0]["files"] == runs[1]["files"] == {} and "audit/sample.parquet" in runs[-1]["files"]


def test_every_rating_that_was_said_to_be_saved_is_there(disk, miniature_shard, tmp_path):
    write_audit(tmp_path / "audit", [miniature_shard])
    # The sample stays where it is; the ratings go to the small disk.
    (tmp_path / "audit" / "ratings").symlink_to(disk.folder)
    report = f"import shutil; shutil.copy({str(disk.folder / 'ann.jsonl')!r}, {str(tmp_path)!r})"
    rate = [sys.executable, "-c", f"{RATE}\n{report}", str(tmp_path / "audit")]
    first, second, last = disk(["size=8k", "ro,size=64m", ROOMY], *rate)
    assert first["errors"].endswith(f"ann.jsonl: {NO_ROOM}; the rating is not saved\n")
    assert READ_ONLY in second["errors"] and second["files"] == first["files"] and len(first["files"]) == 1
    assert last["status"] == 0
    (tmp_path / "audit" / "ratings").unlink()
    (tmp_path / "audit" / "ratings").mkdir()
    shutil.copy(tmp_path / "ann.jsonl", tmp_path / "audit" / "ratings")
    audit = Audit(tmp_path / "audit")
    assert len(audit.of("ann")) == len(audit.records) == 11
    lines = (tmp_path / "ann.jsonl").read_text().split("\n")
    assert all(not line or json.loads(line) for line in lines)  # no half of one
