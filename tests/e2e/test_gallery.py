"""The gallery of an evaluation in a real browser: a suite of simulated studies, answered at random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(400)
SUITE = """
name: gallery
benchmarks:
  - {benchmark: phantoms-closed, count: 30}
  - {benchmark: phantoms-staining, count: 4}
keep: 8
"""


@pytest.fixture(scope="module")
def page_file(unimedvl: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "suite.yaml").write_text(SUITE)
    words = ("--model", "baseline:random", "--folder", folder / "results", "--quiet")
    done = unimedvl("eval", "run", folder / "suite.yaml", *words)
    assert done.returncode == 0, done.stderr
    return folder / "results" / "gallery.html"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)])
def test_the_gallery_can_be_read_at_any_width_and_in_the_dark(
    page_file: Path, open_page: Callable, shot: Callable, contrast: Callable, scheme: str, width: int
) -> None:
    page = open_page(viewport={"width": width, "height": 800}, color_scheme=scheme).page
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert contrast(page) == []
    shot(page, f"gallery-{scheme}-{width}", whole=False)


def test_the_gallery_is_filtered_from_the_keyboard(page_file: Path, open_page: Callable) -> None:
    page = open_page().page
    page.goto(page_file.as_uri())
    status = page.locator("[role=status]")
    assert status.inner_text() == "34 of 34 items shown"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert status.inner_text() == "4 of 34 items shown"
    assert page.locator("article:visible").count() == 4 and page.locator("h2:visible").count() == 1
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    shown = page.locator("article:visible").all()
    assert {card.get_attribute("data-outcome") for card in shown} == {"right"}
    page.get_by_role("button", name="Show all").press("Enter")
    page.wait_for_function("document.querySelector('[role=status]').textContent.startsWith('34 of 34')")


def test_without_scripts_every_item_is_shown(page_file: Path, open_page: Callable) -> None:
    page = open_page(java_script_enabled=False).page
    page.goto(page_file.as_uri())
    assert page.locator("article:visible").count() == 34
    assert page.locator("form:visible").count() == 0
