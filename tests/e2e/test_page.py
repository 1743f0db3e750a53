"""The page at "/" in a real browser: each task from upload to result, and what goes wrong on the way."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as PillowImage
from playwright.sync_api import Download, Page, expect

from unimedvl.imaging import read_provenance
from unimedvl.phantoms import ct, simulate
from unimedvl.phantoms.dicom import dicom_of
from unimedvl.provenance.verify import verify

PATIENCE = 90_000  # milliseconds, on a machine that does other things, too
expect.set_options(timeout=PATIENCE)
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
QUICK = 3  # steps of a drawing
# Task -> what is filled in.
TASKS = {
    "ask": {"question": "Is there a tumour?"}, "report": {}, "generate": {"caption": "Brain MRI with a tumour"},
    "edit": {"instruction": "Remove the tumour."}, "stain": {}, "upscale": {}, "translate": {"to": "FLAIR"},
    "counterfactual": {"change": "no tumour"}, "segment": {"target": "ventricles"}, "reconstruct": {},
}  # fmt: skip
TEXTS = ("ask", "report")
# The result that is shown.
_RESULT = "() => document.querySelector('#stage [data-result]')?.dataset.result ?? null"


class Server:
    """`unimedvl serve` as a process."""

    def __init__(self, url: str) -> None:
        self.url = url

    def number(self, name: str) -> float:
        """One of /metrics."""
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:
            found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
        return float(found[1])

    def settles(self, name: str, value: float, seconds: float = 30) -> bool:
        end = time.monotonic() + seconds
        while self.number(name) != value and time.monotonic() < end:
            time.sleep(0.1)
        return self.number(name) == value


@pytest.fixture(scope="module")
def server(environment, tmp_path_factory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "unimedvl", "serve", "--port", "0", "engine.drawing=1"]
    with open(log, "wb") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    try:
        end, url = time.monotonic() + 120, None
        while url is None or not _answers(f"{url}/ready"):
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
            url = found and found[0]
            time.sleep(0.2)
        yield Server(url)
    finally:
        process.terminate()
        process.wait(60)
    assert "Traceback" not in log.read_text(), log.read_text()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture
def opened(server, open_page) -> Callable[..., Page]:
    """The page, loaded and with its model known."""

    def go(expected: tuple[str, ...] = (), **context) -> Page:
        watched = open_page(**context)
        watched.expected += expected
        page = watched.page
        page.set_default_timeout(PATIENCE)
        page.goto(server.url)
        expect(page.locator("#banner")).to_contain_text("nano", timeout=PATIENCE)
        return page

    return go


@pytest.fixture(scope="module")
def brain(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("files") / "brain.png"
    PillowImage.fromarray(simulate("mri", 12).images["t2"]).save(path)
    return path


@pytest.fixture(scope="module")
def chest(tmp_path_factory) -> Path:
    """A CT of four frames in Hounsfield units, as DICOM."""
    study = simulate("ct", 12)
    data = dicom_of(study, "lung")
    levels = [study.case.anatomy["level"] + 12 * k for k in range(4)]
    frames = np.stack([ct.hounsfield(ct.of(study.case, level)) for level in levels]).round().astype("<i2")
    data.NumberOfFrames, data.Rows, data.Columns = frames.shape
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    data.add_new("PixelData", "OW", frames.tobytes())
    path = tmp_path_factory.mktemp("files") / "chest.dcm"
    data.save_as(path, enforce_file_format=True)
    return path


def upload(page: Page, *files: Path) -> None:
    page.set_input_files("#files", files)
    expect(page.locator("#viewer figcaption")).to_contain_text(files[-1].name, timeout=PATIENCE)


def choose(page: Page, task: str) -> None:
    page.check(f"#task input[value={task}]")
    expect(page.locator(f"#form-{task}")).to_be_visible(timeout=PATIENCE)


def typed(page: Page, field: str, value: int) -> None:
    """Fill a number in as a person does: the page has a moment to take it before the next thing is done."""
    page.wait_for_timeout(500)  # a form that has just been unfolded is still being made
    page.fill(field, str(value))
    page.press(field, "Tab")
    page.wait_for_timeout(500)
    expect(page.locator(field)).to_have_value(str(value))


def done(page: Page) -> None:
    expect(page.locator("#status")).to_contain_text("Done in", timeout=PATIENCE)


def run(page: Page, task: str, **words: str) -> None:
    choose(page, task)
    for name, word in words.items():
        page.fill(f"#{task}-{name} textarea", word)
    before = page.evaluate(_RESULT)
    page.click("#run")
    page.wait_for_function(f"(before) => ({_RESULT})() !== before", arg=before)
    done(page)


def downloaded(page: Page, kind: str) -> bytes:
    with page.expect_download() as waiting:
        page.locator("#stage .downloads").get_by_text(kind).click()
    download: Download = waiting.value
    return Path(download.path()).read_bytes()


@pytest.mark.timeout(600)
def test_each_task_goes_from_upload_to_result(opened, brain, shot, tmp_path):
    page = opened(color_scheme="light")
    upload(page, brain)
    page.click("#settings > button")
    for task, words in TASKS.items():
        choose(page, task)
        if task not in TEXTS:
            typed(page, "#steps input", QUICK)
        run(page, task, **words)
        card = page.locator("#stage .card")
        if task in TEXTS:
            expect(card.locator(".answer")).not_to_be_empty()
            expect(card.locator(".confidence")).to_contain_text("Confidence")
        else:
            expect(card.locator("figcaption")).to_contain_text("Not for clinical use")
            expect(card.locator(".compare")).to_have_count(int(task != "generate"))
            (tmp_path / f"{task}.png").write_bytes(downloaded(page, "PNG"))
            assert read_provenance(tmp_path / f"{task}.png")["task"] == task
            assert verify(tmp_path / f"{task}.png").verdict != "nothing"
            data = pydicom.dcmread(io.BytesIO(downloaded(page, "DICOM")))
            assert data.SyntheticData == "YES" and "Not a patient" in str(data.PatientName)
        assert downloaded(page, "PDF").startswith(b"%PDF-")
        shot(page, f"page-{task}")
    split = page.locator(".split input")
    split.focus()
    page.keyboard.press("Home")
    assert page.locator("#stage .compare").evaluate("e => e.style.getPropertyValue('--split')") == "0%"


@pytest.mark.timeout(300)
def test_a_dicom_study_is_looked_at_and_its_results_belong_to_it(opened, chest, shot):
    page = opened(color_scheme="dark")
    upload(page, chest)
    told = page.locator("#viewer figcaption")
    expect(told).to_contain_text("frame 3 of 4")
    page.fill("#place input[type=number]", "2")
    page.press("#place input[type=number]", "Enter")
    expect(told).to_contain_text("frame 2 of 4")
    page.click("#window input")
    page.get_by_role("option", name="lung", exact=True).click()
    expect(told).to_contain_text("window -600/1500")
    before = page.locator("#viewer img").get_attribute("src")
    page.click("#window input")
    page.get_by_role("option", name="center and width").click()
    expect(page.locator("#center input")).to_have_value("-600")
    typed(page, "#center input", 40)
    expect(told).to_contain_text("window 40/1500")
    typed(page, "#width input", 80)
    expect(told).to_contain_text("window 40/80")
    assert page.locator("#viewer img").get_attribute("src") != before
    source = pydicom.dcmread(chest)
    run(page, "ask", question="Is there a nodule?")
    report = pydicom.dcmread(io.BytesIO(downloaded(page, "DICOM")))
    assert report.Modality == "SR" and report.StudyInstanceUID == source.StudyInstanceUID
    page.click("#settings > button")
    choose(page, "segment")
    typed(page, "#steps input", QUICK)
    run(page, "segment", target="left lung")
    mask = pydicom.dcmread(io.BytesIO(downloaded(page, "DICOM")))
    assert mask.Modality == "SEG" and mask.StudyInstanceUID == source.StudyInstanceUID
    shot(page, "page-dicom")


@pytest.mark.timeout(300)
def test_a_conversation_streams_remembers_and_is_there_after_a_reload(opened, brain, shot):
    page = opened(color_scheme="dark")
    upload(page, brain)
    choose(page, "chat")
    expect(page.locator("#chat")).to_be_visible()
    page.evaluate("""() => {
      window.seen = new Set();
      const look = () => document.querySelectorAll('#chat .bot').forEach((e) => window.seen.add(e.innerText.trim()));
      const all = {childList: true, subtree: true, characterData: true};
      new MutationObserver(look).observe(document.querySelector('#chat'), all);
    }""")
    page.fill("#chat-message textarea", "Describe the findings in a report.")
    page.press("#chat-message textarea", "Enter")
    done(page)
    expect(page.locator("#chat")).to_contain_text("with brain.png")
    expect(page.locator("#chat")).to_contain_text("Confidence")
    assert page.evaluate("window.seen.size") > 3  # it grew
    page.fill("#chat-message textarea", "What modality is this?")
    page.click("#run")
    expect(page.locator("#chat .bot .with")).to_have_count(2, timeout=PATIENCE)
    assert page.locator("#chat").inner_text().count("with brain.png") == 1
    shot(page, "page-conversation")
    page.reload()
    expect(page.locator("#viewer figcaption")).to_contain_text("brain.png", timeout=PATIENCE)
    choose(page, "chat")
    expect(page.locator("#chat")).to_contain_text("Describe the findings in a report.")
    page.click("#new")
    expect(page.locator("#chat")).not_to_contain_text("Describe the findings")


@pytest.mark.timeout(120)
def test_a_bad_file_is_one_clear_sentence(opened, brain, tmp_path, shot):
    page = opened()
    bad = tmp_path / "scan.dcm"
    bad.write_bytes(b"This is not an image.")
    page.set_input_files("#files", bad)
    said = page.locator("#refused")
    expect(said).to_contain_text("scan.dcm: is a text file", timeout=PATIENCE)
    assert said.inner_text().count(".") <= 3 and "\n" not in said.inner_text().strip()
    shot(page, "page-bad-file")
    damaged = tmp_path / "half.png"
    damaged.write_bytes(brain.read_bytes()[:2000])
    page.set_input_files("#files", [damaged, brain])
    expect(page.locator("#viewer figcaption")).to_contain_text("brain.png", timeout=PATIENCE)
    expect(said).to_contain_text("half.png: ")
    page.click("#run")  # without words
    expect(page.locator("#status")).to_contain_text("fill in", timeout=PATIENCE)


@pytest.mark.timeout(180)
def test_a_cancelled_run_shows_how_the_image_formed_and_frees_its_place(server, opened, shot):
    page = opened(expected=("AbortError", "Connection errored out"))  # of the reload in the middle of a run
    choose(page, "generate")
    page.fill("#generate-caption textarea", "Chest X-ray with cardiomegaly")
    page.click("#settings > button")
    typed(page, "#steps input", 200)
    before = server.number("unimedvl_engine_cancelled")
    page.click("#run")
    expect(page.locator("#stage .forming img")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#stage .bar")).to_contain_text("of 199")
    shot(page, "page-progress", whole=False)
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_contain_text("Cancelled.", timeout=PATIENCE)
    assert server.settles("unimedvl_engine_drawing", 0)
    assert server.number("unimedvl_engine_cancelled") == before + 1
    expect(page.locator("#run")).to_be_enabled()
    page.click("#run")
    expect(page.locator("#stage .bar")).to_contain_text("of 199", timeout=PATIENCE)
    page.reload()  # which ends what runs
    assert server.settles("unimedvl_engine_drawing", 0)


@pytest.mark.timeout(180)
def test_after_a_reload_images_results_and_history_are_there_until_they_are_cleared(opened, shot):
    page = opened()
    page.click("[data-example=cxr]")
    expect(page.locator("#viewer")).to_contain_text("simulated", timeout=PATIENCE)
    expect(page.locator("#ask-question textarea")).to_have_value("Is there a pleural effusion?")
    page.press("#ask-question textarea", "Enter")
    done(page)
    answer = page.locator("#stage .answer").inner_text()
    page.reload()
    expect(page.locator("#viewer")).to_contain_text("simulated", timeout=PATIENCE)
    expect(page.locator("#stage .answer")).to_have_text(answer)
    page.click("#past > button")
    page.click("#history summary")
    expect(page.locator("#history .card .answer")).to_have_text(answer)
    shot(page, "page-history")
    page.click("#clear")
    expect(page.locator("#history")).to_contain_text("Nothing yet", timeout=PATIENCE)
    page.reload()
    expect(page.locator("#viewer")).to_contain_text("No image yet", timeout=PATIENCE)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("look", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read(opened, contrast, shot, look):
    page = opened(**PHONE, color_scheme=look)
    page.click("[data-example=cfp]")
    expect(page.locator("#viewer")).to_contain_text("simulated", timeout=PATIENCE)
    run(page, "ask")
    page.click("#settings > button")
    shot(page, f"page-phone-{look}")
    assert page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert contrast(page) == []


@pytest.mark.timeout(180)
def test_it_can_be_used_by_keyboard_alone(opened, contrast):
    page = opened(color_scheme="light")
    reached: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        at = page.evaluate("() => document.activeElement.id || document.activeElement.dataset.example || ''")
        reached.append(at or page.evaluate("() => document.activeElement.closest('[id]')?.id || ''"))
        if at == "his":
            assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
            page.keyboard.press("Enter")
            expect(page.locator("#viewer")).to_contain_text("simulated", timeout=PATIENCE)
        if at == "run":
            break
    assert reached.index("files") < reached.index("cxr") < reached.index("his") < reached.index("run")
    page.keyboard.press("Enter")
    done(page)
    unnamed = page.evaluate("""() => [...document.querySelectorAll('button, input, textarea, select')]
      .filter((e) => e.getClientRects().length && !e.labels?.length && !e.innerText?.trim() && !e.ariaLabel
        && !e.getAttribute('aria-labelledby') && !e.title).map((e) => e.outerHTML.slice(0, 200))""")
    assert unnamed == []
    assert contrast(page) == []
