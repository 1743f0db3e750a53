"""The data card, the page of records and the demonstration, opened from disk in a real browser."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = """
folder: {folder}
inputs:
  - {{name: vqa-rad, miniature: true}}
  - {{name: slake, miniature: true}}
  - {{name: brats2023, miniature: true}}
processes: 1
"""
LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 375, "height": 812}, "is_mobile": True, "has_touch": True},
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory, unimedvl, environment) -> dict[str, Path]:
    """A build of miniatures with its card, some of its records, and the demonstration by the embedded model."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "build.yaml").write_text(RECIPE.format(folder=folder / "build"))
    for words in (
        ("data", "build", "build.yaml"),
        ("data", "stats", "build", "--out", "card.html"),
        ("data", "inspect", "build", "--count", "8", "--out", "records.html"),
    ):
        done = unimedvl(*words, folder=folder)
        assert done.returncode == 0, done.stderr
    demo = [sys.executable, "-m", "unimedvl.demo", "--steps", "2", "--out", str(folder / "demo.html")]
    subprocess.run(demo, env=environment, check=True, capture_output=True, timeout=280)
    return {name: folder / f"{name}.html" for name in ("card", "records", "demo")}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", ["card", "records", "demo"])
def test_a_page_shows_all_it_has_and_asks_for_nothing(pages, open_page, shot, contrast, name, look):
    watched = open_page(**LOOKS[look])
    page = watched.page
    page.goto(pages[name].as_uri())
    for details in page.locator("details").all():
        details.evaluate("d => d.open = true")
    shot(page, f"{name}-{look}")
    assert "simulated" in page.locator("main").inner_text().lower()
    assert watched.hosts == {""}  # the page itself, and what it has inside
    assert page.evaluate("() => document.images.length + document.querySelectorAll('svg').length") > 4
    assert page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert contrast(page) == []
