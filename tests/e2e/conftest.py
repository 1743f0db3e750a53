"""A real browser, and the audit's server as a process of its own.

Every page is watched: an error on its console, a request that fails or goes elsewhere, and an image that doesn't load
fail the test. Screenshots of what is tested lie in `build/screenshots`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
# Milliseconds for whatever the browser waits for.
PATIENCE = 20_000
# Of images that are not whole, in the page; those out of sight may wait until they are scrolled to.
_HERE = "() => [...document.images].every(i => i.complete || i.loading === 'lazy')"
_BROKEN = "() => [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if found is None:
        pytest.exit("tests/e2e needs the browser chromium; run them as `make test-e2e`", returncode=1)
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=found)
        yield running
        running.close()


class Watched:
    """A page with all that went wrong in it. expected: words of console errors that the test makes happen."""

    def __init__(self, page: Page) -> None:
        self.page, self.wrong, self.expected = page, [], []
        self.hosts: set[str] = set()
        page.on("console", lambda m: self.wrong.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def unexpected(self) -> list[str]:
        return [w for w in self.wrong if not any(words in w for words in self.expected)]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """Open a page in a context of its own, as another person's browser; keywords are the context's."""
    opened: list[Watched] = []

    def open_one(**context) -> Watched:
        made = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | context)
        made.set_default_timeout(PATIENCE)
        opened.append(Watched(made.new_page()))
        return opened[-1]

    yield open_one
    for watched in opened:
        watched.page.context.close()
        assert not watched.unexpected()
        assert all(urlsplit(f"//{host}").hostname in (None, "127.0.0.1") for host in watched.hosts), watched.hosts


@pytest.fixture(scope="session")
def shot() -> Callable[[Page, str], None]:
    """Take a screenshot of the whole page, once all its images are there."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str, whole: bool = True) -> None:
        page.wait_for_load_state("load")
        page.wait_for_function(_HERE)
        assert page.evaluate(_BROKEN) == []
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=whole)

    return take


@pytest.fixture(scope="session")
def contrast() -> Callable[[Page], list[str]]:
    """The texts of a page that are hard to read against their background."""
    script = (Path(__file__).parent / "contrast.js").read_text()
    return lambda page: page.evaluate(script.partition("\n")[2])


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Of a process that runs this checkout."""
    return dict(ENVIRONMENT)


def run(*words: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`unimedvl` as a process."""
    command = [sys.executable, "-m", "unimedvl", *map(str, words)]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="session")
def unimedvl() -> Callable[..., subprocess.CompletedProcess[str]]:
    return run


@pytest.fixture
def audit(miniature_shard: Path, tmp_path: Path) -> Path:
    """An audit's folder of 11 records."""
    done = run("data", "audit", "sample", miniature_shard, "--out", tmp_path / "audit")
    assert done.returncode == 0, done.stderr
    return tmp_path / "audit"


@pytest.fixture
def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def serve(folder: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`unimedvl data audit serve` as a process; yields it and its address."""
    words = ["data", "audit", "serve", str(folder), "--port", str(port), "--json", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "unimedvl", *words], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process, json.loads(process.stdout.readline())["url"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def serving():
    return serve
