"""The demonstration, from jobs to page, with a tiny untrained model."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from unimedvl import UniMedVL
from unimedvl.checkpoint import save_model
from unimedvl.cli.command import ended
from unimedvl.demo import __main__ as command
from unimedvl.demo import files
from unimedvl.demo import run as running
from unimedvl.demo.entries import Bench
from unimedvl.demo.measure import dice, match_findings, overlay, psnr, same_answer
from unimedvl.demo.page import About, render, rows
from unimedvl.demo.sources import REAL_FILES, RealFile
from unimedvl.demo.studies import exhibit
from unimedvl.imaging import read_provenance
from unimedvl.imaging.metadata import SYNTHETIC
from unimedvl.model.config import DecoderConfig, SpecialTokens, VaeConfig, VitConfig, preset
from unimedvl.model.unified import UnifiedModel
from unimedvl.phantoms.corpus import corpus
from unimedvl.phantoms.reports import report
from unimedvl.phantoms.study import FIRST_TRAINING_SEED
from unimedvl.tasks import TASKS
from unimedvl.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of random weights, as small as the architecture goes."""
    tokenizer = train_tokenizer(corpus(60, 0), 400)
    config = preset(
        "nano",
        decoder=DecoderConfig(tokenizer.vocabulary_size, 32, 64, 1, 2, 1, rope_theta=1e4),
        vit=VitConfig(32, 64, 2, 1, max_patches_per_side=16),
        vae=VaeConfig(8, (1, 1, 1), 1, z_channels=4, norm_groups=4),
        special=SpecialTokens(**vars(tokenizer.special)),
    )
    model = UnifiedModel(config)
    model.initialise(torch.Generator().manual_seed(0))
    place = tmp_path_factory.mktemp("tiny") / "model"
    sizes = {"vit": [28, 28], "vae": [128, 128]}
    save_model(model, place, tokenizer=tokenizer, card={"name": "tiny", "sizes": sizes})
    return place


@pytest.fixture(scope="module")
def bench(folder):
    return Bench(UniMedVL.load(folder, device="cpu"), steps=2, max_tokens=4)


@pytest.fixture(scope="module")
def chapters(bench):
    return running.run(running.plan(bench.modalities), bench)


@pytest.fixture(scope="module")
def page(chapters, bench):
    return render(chapters, About(command.facts(bench), 1.0))


class Reader(HTMLParser):
    """Collects what the page refers to, and checks that tags close in order."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.links, self.ids, self.tags = [], [], [], [], set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.add(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if "href" in values else []
        self.images += [values] if tag == "img" else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def test_every_task_is_run_on_simulated_studies_and_every_one_with_an_input_on_real_files(chapters):
    done = {(section, entry.task) for section, entry in rows(chapters)}
    assert {("simulated", name) for name in TASKS} <= done
    assert {("real", name) for name in TASKS if name != "generate"} <= done
    assert {("simulated", "chat"), ("simulated", "generate, planning first")} <= done


def test_the_real_files_are_found_in_what_is_installed(chapters):
    real = [c for c in chapters if c.group.section == "real"]
    assert len(real) == len(REAL_FILES) >= 8
    assert [c.group.title for c in real if c.group.problem] == []
    assert {entry.provenance[0]["inputs"][0]["kind"] for c in real for entry in c.entries} == {
        "dicom", "jpeg", "png", "nifti"
    }  # fmt: skip


def test_a_file_that_is_not_shipped_is_said_to_be_missing(monkeypatch):
    gone = RealFile("pydicom", "data/no.dcm", "pydicom", "CT", "ct", (), "", "", ())
    absent = replace(gone, package="no_such_package", distribution="no-such-package")
    monkeypatch.setattr(files, "REAL_FILES", (gone, absent))
    for group in files.groups():
        assert not group.jobs and "missing" in group.problem


def test_the_page_is_well_formed_html_that_needs_nothing_from_elsewhere(page):
    reader = Reader(page)
    assert reader.open == []
    assert not reader.tags & {"script", "link", "iframe", "object"}
    assert all(link.startswith("#") and link[1:] in reader.ids for link in reader.links)
    assert reader.images and all(i["src"].startswith("data:image/png;base64,") for i in reader.images)
    assert all(i["alt"] for i in reader.images)
    assert not re.search(r"(src|href)=.?https?:|url\(|@import", page)


def test_made_pictures_hold_their_provenance_and_are_marked(chapters):
    made = [p for _, e in rows(chapters) for p in e.pictures if p.role == "output"]
    assert made
    for picture in made:
        assert read_provenance(picture.png)["model"]["name"] == "tiny"
        with Image.open(io.BytesIO(picture.png)) as image:
            assert image.text["Comment"] == SYNTHETIC
        assert picture.alt.startswith("Synthetic")


def test_the_page_holds_every_picture_verdict_and_notice(page, chapters):
    for _, entry in rows(chapters):
        assert entry.seconds > 0
        for picture in entry.pictures:
            assert base64.b64encode(picture.png).decode() in page
    assert "Not for clinical use" in page and "What nano can and can" in page
    assert "sha256" in page


def test_no_patient_data_of_the_dicom_files_is_on_the_page(page):
    import pydicom

    names = ("PatientName", "PatientID", "StudyInstanceUID", "InstitutionName", "AccessionNumber")
    # A short name may stand in the pictures' letters by chance.
    words = re.sub(r"base64,[^\"]+", "", page)
    for file in REAL_FILES:
        if file.package == "pydicom":
            header = pydicom.dcmread(file.path, stop_before_pixels=True)
            told = [str(header.get(name, "")) for name in names]
            assert not [value for value in told if len(value) > 3 and value in words]


def test_studies_on_show_were_never_trained_on_and_have_one_finding():
    study = exhibit("cxr").study
    assert study.case.seed < FIRST_TRAINING_SEED
    assert len(study.findings) == 1


def test_the_command_writes_the_page_and_prints_the_table(monkeypatch, tmp_path, bench, chapters):
    monkeypatch.setattr(command, "_run", lambda bench: chapters)
    monkeypatch.setattr(command.UniMedVL, "load", lambda source: bench.model)
    out = tmp_path / "new" / "index.html"
    plain = CliRunner().invoke(command.app, ["--out", str(out)])
    assert plain.exit_code == 0 and "reconstruct" in plain.stdout
    assert plain.stdout.replace("\n", "").endswith("index.html")
    assert [p.name for p in out.parent.iterdir()] == ["index.html"]
    told = json.loads(CliRunner().invoke(command.app, ["--out", str(out), "--json"]).stdout)
    assert told["page"] == str(out) and len(told["results"]) == len(rows(chapters))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nowhere"], ["nowhere", "no such folder"]),
        (["--steps", "0"], ["--steps", "2"]),
        (["--out", "nowhere/new/x.html"], ["nowhere/new/x.html: there is no folder nowhere", "create it first"]),
        (["--out", "."], ["is a folder", "index.html"]),
        (["--out", "file/x.html"], ["file/x.html: cannot be written"]),
        (["--stepz", "3"], ["--stepz"]),
    ],
)
def test_bad_input_is_one_line_and_status_2_and_leaves_nothing(monkeypatch, tmp_path, capsys, arguments, words):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    out = [] if "--out" in arguments else ["--out", "new/x.html"]
    assert ended(command.app, [*arguments, *out]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("error: ") and told.err.count("\n") == 1
    assert all(word in told.err for word in words), told.err
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_measures_are_right_on_what_can_be_told_by_hand():
    image = np.zeros((8, 8, 3), np.uint8)
    assert psnr(image, image) == float("inf")
    assert psnr(image + 255, image) == pytest.approx(0.0)
    left, top = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    left[:, :4], top[:4] = True, True
    assert dice(left, top) == pytest.approx(0.5)
    assert dice(left & ~left, left & ~left) == 1.0
    assert overlay(image, left, top).shape == (16, 16, 3)
    assert same_answer(" Yes.", "yes") and not same_answer("no", "yes")


def test_a_true_report_matches_its_study_and_another_does_not():
    study = exhibit("cxr").study
    assert match_findings(report(study, np.random.default_rng(0)), study).right
    assert not match_findings("Findings: No abnormality is seen.", study).right
