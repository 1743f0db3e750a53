"""From a study in the inbox to documents at their destinations, with the embedded model; and what goes wrong there."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fhir.resources.R4B.bundle import Bundle
from pydicom.dataset import Dataset

from unimedvl.hospital.connection import Unreachable
from unimedvl.hospital.dicomweb import encoded
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.identity import MANUFACTURER
from unimedvl.hospital.inbox import Inbox
from unimedvl.hospital.process import Run, documents_of, runner
from unimedvl.hospital.rules import Match, Rule, Rules, Step
from unimedvl.hospital.study import Study, _depth, read_study
from unimedvl.hospital.worker import Worker
from unimedvl.inference.image import Cancelled
from unimedvl.inference.unimedvl import UniMedVL

SHORT = {"max_tokens": 5}


@pytest.fixture(scope="module")
def run() -> Run:
    return runner(UniMedVL.load(pack=False))


def written(datasets: Sequence[Dataset], folder: Path) -> Study:
    for dataset in datasets:
        dataset.save_as(folder / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=True)
    return read_study(folder.glob("*.dcm"))


def made(study: Study, run: Run, documents, *steps: dict):
    match = Match(Rule(name="r", do=tuple(Step(**step) for step in steps)), study.series)
    return documents_of(match, run, documents.AT)


# Documents -----------------------------------------------------------------------------------


def test_each_output_of_a_report_is_a_document_of_the_study(tmp_path: Path, chest, run: Run, documents) -> None:
    study = written(chest(1, ["LL", "PA"]), tmp_path)
    step = {"task": "report", "images": "frontal+lateral", "output": ["sr", "sr-3d", "fhir"]} | SHORT
    enhanced, complete, fhir = made(study, run, documents, step)
    assert [enhanced.dataset.SOPClassUID.keyword, complete.dataset.SOPClassUID.keyword] == [
        "EnhancedSRStorage", "Comprehensive3DSRStorage"]  # fmt: skip
    assert enhanced.dataset.StudyInstanceUID == study.uid
    (evidence,) = enhanced.dataset.CurrentRequestedProcedureEvidenceSequence
    assert len(evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 2
    bundle = json.loads(fhir.data)
    assert bundle["resourceType"] == "Bundle"
    assert bundle["entry"][0]["resource"]["resourceType"] == "DiagnosticReport"
    told = {i["value"] for i in bundle["entry"][0]["resource"]["identifier"]}
    assert {f"urn:oid:{enhanced.uid}", f"urn:oid:{complete.uid}"} <= told
    for document in (enhanced, complete):
        (tmp_path / document.name).write_bytes(document.data)
        assert pydicom.dcmread(tmp_path / document.name).SOPInstanceUID == document.uid


def test_made_again_a_study_gives_the_same_bytes(tmp_path: Path, chest, run: Run, documents) -> None:
    study = written(chest(1), tmp_path)
    steps = ({"task": "ask", "questions": ["Is it normal?", "What is seen?"]} | SHORT,
             {"task": "segment", "target": "lungs", "steps": 2})  # fmt: skip
    first, again = made(study, run, documents, *steps), made(study, run, documents, *steps)
    assert [d.kind for d in first] == ["sr", "sr", "seg"]
    assert [(d.uid, d.data) for d in first] == [(d.uid, d.data) for d in again]
    assert len({d.uid for d in first}) == 3


def test_a_mask_that_is_stored_as_image_too_is_measured(tmp_path: Path, chest, run: Run, documents) -> None:
    (source,) = chest(1)
    study = written([source], tmp_path)
    steps = ({"task": "segment", "target": "lungs", "steps": 2, "output": ["seg", "sc"]},
             {"task": "report", "output": "sr-3d"} | SHORT)  # fmt: skip
    mask, _, report = made(study, run, documents, *steps)
    (of,) = report.dataset.CurrentRequestedProcedureEvidenceSequence
    named = {i.ReferencedSOPInstanceUID for s in of.ReferencedSeriesSequence for i in s.ReferencedSOPSequence}
    assert named == {source.SOPInstanceUID, mask.uid}


def test_a_task_of_one_image_runs_on_each(tmp_path: Path, chest, run: Run, documents) -> None:
    study = written(chest(1, ["PA", "LL"]), tmp_path)
    masks = made(study, run, documents, {"task": "segment", "target": "lungs", "images": "all", "steps": 2})
    of = [m.dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0] for m in masks]
    assert [o.ReferencedSOPInstanceUID for o in of] == [i.uid for i in study.instances]
    drawn = made(study, run, documents, {"task": "counterfactual", "change": "a larger heart", "steps": 2} | SHORT)
    assert drawn[0].dataset.SyntheticData == "YES"
    assert drawn[0].dataset.Manufacturer == MANUFACTURER


def test_the_frame_that_was_chosen_is_the_one_read(tmp_path: Path, chest, run: Run, documents) -> None:
    (cine,) = chest(1)
    cine.SOPClassUID, cine.NumberOfFrames = pydicom.uid.UltrasoundMultiFrameImageStorage, 3
    cine.PixelData = b"".join(np.full((64, 64), v, np.uint8).tobytes() for v in (0, 255, 0))
    study = written([cine], tmp_path)
    seen = []

    def looking(requests, step: Step):
        seen.extend(requests)
        return run(requests, step)

    (report,) = made(study, looking, documents, {"task": "report", "images": "middle", "window": "full"} | SHORT)
    assert seen[0].images[0].details["frame"] == 1
    frames = {e.value for e in report.dataset.iterall() if e.keyword == "ReferencedFrameNumber"}
    assert frames == {2}, "DICOM counts from 1"


def test_images_that_a_rule_wants_and_a_study_lacks_are_told(tmp_path: Path, chest, run: Run, documents) -> None:
    study = written(chest(1), tmp_path)
    empty = Match(Rule(name="two", do=(Step(task="report"),)), ())
    with pytest.raises(HospitalError, match="rule 'two': report found none of the images"):
        documents_of(empty, run, documents.AT)
    assert study.series


def test_a_study_with_images_of_two_patients_is_refused_before_anything_runs(tmp_path: Path, chest, documents) -> None:
    one, other = chest(1, ["PA", "LL"])
    other.PatientID = "SOMEBODY-ELSE"
    step = {"task": "segment", "target": "lungs", "images": "first"}
    with pytest.raises(HospitalError, match="2 patients"):
        made(written([one, other], tmp_path), None, documents, step)


def test_an_answer_that_was_cut_off_becomes_no_report(tmp_path: Path, chest, documents) -> None:
    stopped = runner(UniMedVL.load(pack=False), cancelled=lambda: True)
    with pytest.raises(Cancelled):
        made(written(chest(1), tmp_path), stopped, documents, {"task": "report"})


# Worker --------------------------------------------------------------------------------------


class Ward:
    """An inbox with a worker, whose model and destination can be made to fail."""

    def __init__(self, folder: Path, run: Run, rule: dict | None = None, **queue) -> None:
        self.out, self.failures, self._run = folder / "out", [], run
        settings = {"quiet_seconds": 0, "first_wait_seconds": 0, "originals_hours": None} | queue
        rule = {"name": "chest", "when": {"modality": "DX"}, "do": [{"task": "report"} | SHORT]} | (rule or {})
        self.rules = Rules(rules=[rule], destinations={"out": {"folder": self.out}}, queue=settings)
        self.inbox = Inbox(folder / "inbox", owner=True)
        self.worker = Worker(self.inbox, self.rules, self.run)
        self.runs = 0

    def run(self, requests, step: Step):
        self.runs += 1
        if self.failures:
            raise self.failures.pop(0)
        return self._run(requests, step)

    def receive(self, *datasets: Dataset) -> None:
        for dataset in datasets:
            self.inbox.receive(encoded(dataset), str(dataset.SOPInstanceUID), str(dataset.StudyInstanceUID))

    def work(self) -> dict[str, int]:
        while self.worker.once():
            pass
        return {state: count for state, count in self.inbox.counts().items() if count}

    @property
    def results(self) -> list[Path]:
        return sorted(self.out.glob("*")) if self.out.exists() else []


@pytest.fixture
def ward(tmp_path: Path, run: Run):
    opened: list[Ward] = []

    def make(rule: dict | None = None, **queue) -> Ward:
        opened.append(Ward(tmp_path / str(len(opened)), run, rule, **queue))
        return opened[-1]

    yield make
    for one in opened:
        one.inbox.close()


def test_a_study_is_run_stored_and_done(ward, chest) -> None:
    one = ward()
    one.receive(*chest(1), *chest(2))
    assert one.work() == {"done": 2}
    assert len(one.results) == 2


def test_what_no_rule_is_for_is_done_and_handled_when_more_makes_one_be(ward, chest) -> None:
    one = ward({"when": {"min_images": 2}})
    first, second = chest(1, ["PA", "LL"])
    one.receive(first)
    assert one.work() == {"done": 1}
    assert one.inbox.passes()[0].reason == "no rule is for it"
    one.receive(second)
    assert one.work() == {"done": 2}
    assert (one.runs, len(one.results)) == (1, 1)


@pytest.mark.parametrize(("late", "counts"), [("ignore", {"done": 1, "late": 1}), ("again", {"done": 2})])
def test_late_instances_are_handled_as_the_rule_says(ward, chest, late: str, counts: dict) -> None:
    one = ward({"late": late})
    first, second = chest(1, ["PA", "LL"])
    one.receive(first)
    one.work()
    one.receive(second)
    assert one.work() == counts
    assert len(one.results) == counts["done"]


def test_what_may_pass_is_tried_again_and_set_aside_after_so_many_attempts(ward, chest) -> None:
    one = ward(attempts=3)
    one.receive(*chest(1))
    one.failures = [RuntimeError("out of memory"), Unreachable("busy")]
    assert one.work() == {"done": 1}
    one.receive(*chest(2))
    one.failures = [RuntimeError("out of memory")] * 3
    assert one.work() == {"done": 1, "failed": 1}
    assert one.inbox.passes("failed")[0].reason == "RuntimeError: out of memory"
    one.inbox.retry()
    assert one.work() == {"done": 2}


def test_what_will_not_pass_is_set_aside_at_once_and_the_others_go_on(ward, chest) -> None:
    one = ward(attempts=3)
    (broken,) = chest(1)
    broken.PixelData = broken.PixelData[:100]
    one.receive(broken, *chest(2))
    assert one.work() == {"done": 1, "failed": 1}
    (failed,) = one.inbox.passes("failed")
    assert failed.attempts == 1
    assert "\n" not in failed.reason


def test_results_are_made_once_however_often_sending_fails(ward, chest) -> None:
    one = ward(attempts=2)
    one.out.parent.mkdir(exist_ok=True)
    one.out.write_text("a file where the folder should be")
    one.receive(*chest(1))
    assert one.work() == {"failed": 1}
    assert "can't be written" in one.inbox.passes("failed")[0].reason
    one.out.unlink()
    one.inbox.retry()
    assert one.work() == {"done": 1}
    assert (one.runs, len(one.results)) == (1, 1)


def test_originals_are_deleted_when_done_where_told(ward, chest) -> None:
    one = ward(originals_hours=0, results_hours=0)
    one.receive(*chest(1))
    one.work()
    one.worker.clean()
    assert not [f for name in ("studies", "results") for f in (one.inbox.folder / name).rglob("*.dcm")]


def test_a_stop_gives_the_study_back(ward, chest) -> None:
    one = ward()
    one.receive(*chest(1))
    one.failures = [Cancelled("stopped")]
    assert one.worker.once(threading.Event())
    (waiting,) = one.inbox.passes("ready")
    assert waiting.attempts == 0


def test_a_database_that_cant_be_written_is_waited_for(ward, chest, monkeypatch: pytest.MonkeyPatch) -> None:
    one, stop, finish = ward(), threading.Event(), Inbox.made
    failures = [sqlite3.OperationalError("database or disk is full")] * 2

    def full(inbox: Inbox, *given) -> None:
        if failures:
            raise failures.pop()
        finish(inbox, *given)

    def broken(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Inbox, "made", full)
    monkeypatch.setattr(Inbox, "postpone", broken)
    one.receive(*chest(1))
    working = threading.Thread(target=one.worker.work, args=(stop, 0.01))
    working.start()
    end = time.monotonic() + 60
    while not one.inbox.counts()["done"] and time.monotonic() < end:
        time.sleep(0.05)
    stop.set()
    working.join()
    assert one.inbox.counts()["done"] == 1
    assert (one.runs, len(one.results)) == (3, 1)


def test_a_number_that_is_none_stops_no_study(ward, chest) -> None:
    one = ward()
    (damaged,) = chest(1)
    damaged.SeriesNumber = 1
    whole = encoded(damaged)
    number = whole.index(b"\x20\x00\x11\x00IS")
    length = int.from_bytes(whole[number + 6 : number + 8], "little")
    whole = whole[: number + 6] + b"\x08\x00DOE^JANE" + whole[number + 8 + length :]
    one.inbox.receive(whole, str(damaged.SOPInstanceUID), str(damaged.StudyInstanceUID))
    assert one.work() == {"done": 1}


@pytest.mark.parametrize("fail", [
    lambda: pydicom.valuerep.IS("DOE^JANE"),
    lambda: Bundle.model_validate({"type": "collection", "timestamp": "DOE^JANE"}),
    lambda: _depth({"ImagePositionPatient": ["DOE^JANE"] * 3, "ImageOrientationPatient": [0] * 6}),
])  # fmt: skip
def test_what_a_header_holds_is_not_told_when_it_can_not_be_used(ward, chest, caplog, fail) -> None:
    one = ward(attempts=1)
    one.receive(*chest(1))
    one.worker.run = lambda *_: fail()
    assert one.work() == {"failed": 1}
    (failed,) = one.inbox.passes("failed")
    assert failed.reason.startswith("a value of a header can't be used (")
    own = [record.getMessage() for record in caplog.records if record.name.startswith("unimedvl")]
    assert own and "JANE" not in " ".join(own) + failed.reason


def test_the_log_names_no_patient_and_no_words(ward, chest, caplog: pytest.LogCaptureFixture) -> None:
    one = ward({"do": [{"task": "ask", "questions": ["A secret question?"]} | SHORT]})
    (dataset,) = chest(1)
    with caplog.at_level(logging.INFO, "unimedvl.hospital"):
        one.receive(dataset)
        one.failures = [RuntimeError("once")]
        one.work()
    assert "running chest on 1 instances" in caplog.text
    for secret in (dataset.PatientID, str(dataset.PatientName), dataset.StudyInstanceUID, "secret"):
        assert secret not in caplog.text
