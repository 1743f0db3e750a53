"""The data engine's benchmark measures what it says, on few images."""

from __future__ import annotations

import json

from benchmarks.data import STUDIES_AT_LEAST, Line, main, peak_memory
from unimedvl.phantoms import SIMULATORS


def test_a_run_tells_rates_of_everything_and_writes_them(tmp_path, capsys):
    assert main(["--images", "4", "--repeats", "1", "--records", "--json", str(tmp_path / "data.json")]) == 0
    found = json.loads((tmp_path / "data.json").read_text())
    assert len(found["lines"]) == 6 + len(SIMULATORS)
    assert all(line["per_second"] > 0 for line in found["lines"])
    assert "core-hours" in capsys.readouterr().out


def test_memory_is_that_of_a_whole_build():
    assert 50 < peak_memory(20, images=8) < 4000


def test_a_rate_or_a_share_is_held_against_the_aim():
    assert Line("a", 10, 0.9, 0.8).met and not Line("a", 10, 0.7, 0.8).met
    assert Line("a", STUDIES_AT_LEAST, aim=STUDIES_AT_LEAST).met and Line("a", 1).met is None
