"""Loading needs the model's own memory and little more."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from unimedvl.checkpoint import empty_model, save_model
from unimedvl.model.config import DecoderConfig

PEAK = """
import sys, torch
from unimedvl.checkpoint import load_model, open_checkpoint

def resident(field):
    return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(field))

checkpoint = open_checkpoint(sys.argv[1])
load_model(sys.argv[2], dtype=torch.bfloat16, pack=True)  # so that what is measured is weights and not first calls
open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
before = resident("VmRSS")
model = load_model(checkpoint, dtype=getattr(torch, sys.argv[3]), pack=sys.argv[4] == "packed")
own = sum(p.nbytes for p in model.parameters())
print(resident("VmHWM") - before, own, checkpoint.nbytes)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory, geometry) -> Path:
    """About 120 MB: a wide vocabulary, and two layers of some size."""
    config = replace(geometry, decoder=DecoderConfig(12000, 640, 1536, 2, 10, 2))
    model = empty_model(config).to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.fill_(0.5)
    folder = tmp_path_factory.mktemp("large")
    save_model(model, folder)
    return folder


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("layout", ["plain", "packed"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loading_needs_the_models_memory_and_at_most_a_tenth_of_the_checkpoint(large, folder, dtype, layout):
    run = subprocess.run(
        [sys.executable, "-c", PEAK, str(large), str(folder), dtype, layout],
        capture_output=True,
        text=True,
        check=True,
    )
    peak, own, size = map(int, run.stdout.split())
    assert size > 100e6
    # What is mapped is not resident until it is used.
    held = 0 if dtype == "float32" and layout == "plain" else own
    if layout == "packed":  # a weight is there twice for a moment; of so small a model the largest is much
        held += 2 * 12000 * 640 * (4 if dtype == "float32" else 2)
    assert peak <= held + 0.1 * size, (
        f"peak {peak / 1e6:.0f} MB, model {own / 1e6:.0f}, file {size / 1e6:.0f}"
    )
