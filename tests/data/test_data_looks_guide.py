"""The guide on looking at data: its commands, in order, with raters who rate all of the sample in between."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

from unimedvl.cli.main import main
from unimedvl.data.quality.audit import DIMENSIONS

GUIDE = (Path(__file__).parents[2] / "docs" / "data-looks.md").read_text()


def lines(language: str) -> list[str]:
    found = "".join(re.findall(rf"```{language}\n(.*?)```", GUIDE, re.S))
    return found.splitlines()


def rate_all(url: str, rater: str) -> None:
    """Follow the server from record to record until it says that all are done."""
    page = urllib.request.urlopen(f"{url}rate/{rater}").url
    values = urllib.parse.urlencode({d.name: d.most for d in DIMENSIONS}).encode()
    while not page.endswith("/done"):
        page = urllib.request.urlopen(page, values).url


def test_the_guide_runs_to_a_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in lines("sh"):
        assert main(shlex.split(line)[1:]) == 0, line
    serve, report = (shlex.split(line)[1:] for line in lines("console"))
    serve[serve.index("--port") + 1] = "0"
    words = [sys.executable, "-m", "unimedvl", *serve, "--json", "--quiet"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = json.loads(server.stdout.readline())["url"]
            for rater in ("ann", "bob"):
                rate_all(url, rater)
        finally:
            server.kill()
    capsys.readouterr()
    assert main(report) == 0
    told = capsys.readouterr().out
    assert "**Accepted**" in told and "12 ratings by 2 raters on 6 of 6 sampled records" in told
    written = {f.name for f in tmp_path.rglob("*") if f.is_file()}
    assert {"stats.html", "records.html", "report.md", "ratings.csv", "ann.jsonl", "bob.jsonl"} <= written
