"""The commands of `unimedvl hospital`: what they print, and that what is wrong is one line and status 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from unimedvl.hospital.inbox import Inbox, study_hash
from unimedvl.phantoms import simulate
from unimedvl.phantoms.dicom import dicom_of

RULES = """
destinations: {pacs: {dicomweb: "http://127.0.0.1:1/dicom-web"}, ehr: {fhir: fhir}}
rules:
  - {name: chest, when: {modality: DX}, do: [{task: report, output: [sr, fhir]}]}
  - {name: brain, when: {modality: MR}, do: [{task: segment, target: brain, images: all}], send: pacs}
"""


@pytest.fixture
def folder(run) -> Path:
    """The folder that commands run in, with rules and three studies."""
    here = Path.cwd()
    (here / "rules.yaml").write_text(RULES)
    for modality, views in {"cxr": ["frontal"], "mri": ["t2", "flair"], "cfp": ["fundus"]}.items():
        study = simulate(modality, 1, 64)
        for view in views:
            place = here / "studies" / modality
            place.mkdir(parents=True, exist_ok=True)
            dicom_of(study, view).save_as(place / f"{view}.dcm", enforce_file_format=True)
    return here


def test_rules_are_checked_alone_and_against_studies(run, folder: Path) -> None:
    assert "2 rules, all in order" in run("hospital", "check-rules", "rules.yaml", tiny=False).out
    told = {}
    for study in run("hospital", "check-rules", "rules.yaml", "studies", "--json", tiny=False).json:
        told[study["study"]] = study["runs"]
    assert sorted(len(runs) for runs in told.values()) == [0, 1, 1]
    (chest,) = told[study_hash(simulated_uid("cxr"))]
    assert chest == {"rule": "chest", "task": "report", "images": 1, "results": {"sr": ["pacs"], "fhir": ["ehr"]}}
    (brain,) = told[study_hash(simulated_uid("mri"))]
    assert (brain["task"], brain["images"]) == ("segment 'brain'", 2)
    out = run("hospital", "check-rules", "rules.yaml", "studies", tiny=False).out
    assert "chest: report on 1 images, sr to pacs, fhir to ehr" in out
    assert "no rule is for it" in out


def simulated_uid(modality: str) -> str:
    view = {"cxr": "frontal", "mri": "t2"}[modality]
    return str(dicom_of(simulate(modality, 1, 64), view).StudyInstanceUID)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["query", "--dicomweb", "pacs"], "no URL of a DICOMweb server"),
        (["query", "--dicomweb", "http://127.0.0.1:1/x"], "query at 127.0.0.1:1: can't be reached"),
        (["query", "--dicomweb", "http://127.0.0.1:1/x", "--user", "me"], "UNIMEDVL_DICOMWEB_PASSWORD"),
        (["run", "--dicomweb", "http://pacs/x", "--study", "1", "--store", "--task", "ask"], "ask needs questions"),
        (["fetch", "out", "--dicomweb", "http://127.0.0.1:1/x", "--study", "../x"], "is no UID"),
        (["run", "--out", "o"], "give a folder with a study, or both --dicomweb and --study"),
        (["run", "studies/cxr"], "give --store, or --out DIR"),
        (["run", "studies/cxr", "--store"], "--store needs --dicomweb"),
        (["run", "nowhere", "--out", "o"], "nowhere: no such folder"),
        (["run", ".", "--out", "o"], "expected the files of one study, found 3 studies"),
        (["run", "studies/cxr", "--out", "o", "--task", "guess"], "task is 'guess'; it must be one of"),
        (["run", "studies/cxr", "--out", "o", "--task", "ask"], "ask needs questions"),
        (["run", "studies/cxr", "--out", "o", "--output", "seg"], "output seg is what segment makes"),
        (["run", "studies/cxr", "--out", "o", "--output", "pdf"], "--output: "),
        (["run", "studies/cxr", "--out", "o", "--images", "some"], "--images: 'some' is none of"),
        (["run", "studies/cxr", "--out", "o", "--series", "1.2"], "no series with images of UID 1.2"),
        (["check-rules", "none.yaml"], "none.yaml: No such file"),
        (["check-rules", "rules.yaml", "nowhere"], "nowhere: no such folder"),
        (["listen", "--rules", "rules.yaml", "--folder", "in", "--port", "70000"], "less than or equal to 65535"),
        (["listen", "--rules", "rules.yaml", "--folder", "in", "listen.aet=''"], "listen.aet"),
        (["listen", "--rules", "rules.yaml", "--folder", "rules.yaml/in"], "can't be used as an inbox"),
        (["status", "nowhere"], "nowhere: holds no inbox"),
        (["retry", "nowhere"], "give the numbers of passes that failed"),
    ],
)
def test_what_is_wrong_is_one_line(run, folder: Path, words: list[str], said: str) -> None:
    ended = run("hospital", *words, tiny=False)
    assert ended.status == 2, ended.err
    assert said in ended.err
    assert ended.err.strip().count("\n") == 0
    assert not (folder / "o").exists()


def test_status_and_retry(run, folder: Path) -> None:
    with Inbox(folder / "inbox", owner=True) as inbox:
        inbox.receive(b"a", "1.1", "1.2.3")
        inbox.settle(0)
        inbox.fail(inbox.claim().id, "no reason at all")
    told = run("hospital", "status", "inbox", tiny=False).out
    assert "failed 1" in told
    assert "no reason at all" in told
    assert study_hash("1.2.3") in told
    assert "1.2.3" not in told
    assert run("hospital", "retry", "inbox", "7", tiny=False).status == 2
    assert "1 to go on" in run("hospital", "retry", "inbox", "--all", tiny=False).out
    assert run("hospital", "status", "inbox", "--json", tiny=False).json["counts"]["failed"] == 0


def test_a_study_of_a_folder_is_run_and_its_results_written(run, folder: Path) -> None:
    words = ["hospital", "run", "studies/cxr", "--task", "ask", "--question", "What?", "--out", "made", "--json"]
    made = run(*words, "--output", "sr", "--output", "fhir").json
    assert [m["kind"] for m in made] == ["sr", "fhir"]
    assert all(Path(m["file"]).is_file() for m in made)
    assert json.loads(Path(made[1]["file"]).read_text())["resourceType"] == "Bundle"


def test_without_its_extra_a_command_says_which(folder: Path) -> None:
    for package, words in {"dicomweb_client": ["query", "--dicomweb", "http://x/y"],
                           "pynetdicom": ["listen", "--rules", "rules.yaml", "--folder", "in"]}.items():  # fmt: skip
        block = f"import sys; sys.modules['{package}'] = None; from unimedvl.cli.main import main; sys.exit(main())"
        done = subprocess.run([sys.executable, "-c", block, "hospital", *words], capture_output=True, text=True)
        assert (done.returncode, done.stderr.strip()) == (
            1, f"error: {package} is not installed; pip install 'unimedvl[hospital]'")  # fmt: skip


def test_status_is_quick_to_start() -> None:
    check = "import sys, unimedvl.hospital.inbox; assert not {'torch', 'numpy', 'pydicom'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
