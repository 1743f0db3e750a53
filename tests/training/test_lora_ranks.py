"""Two ranks that share the base train adapters as one process does, and each holds half of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from unimedvl.checkpoint.adapters import read_adapters

HELD = ("float32", "bfloat16", "int8")
# Each rank trains on a batch of its own, and then, alone, on both; rank 0 prints what happened.
SCRIPT = """
import json, sys
import torch
from unimedvl.checkpoint import load_model
from unimedvl.checkpoint.adapters import Base
from unimedvl.sequence import Latent, Seen, Text, pack
from unimedvl.training.lora import AdaptedLinear, add_adapters, load_adapters, save_adapters
from unimedvl.training.parallel import join, leave, local, shard, whole
from unimedvl.training.recipe import Devices, Lora

def batch(config, i):
    g = torch.Generator().manual_seed(i)
    image = lambda h, w: torch.rand(3, h, w, generator=g) * 2 - 1
    words = torch.randint(0, 59, (4 + 3 * i,), generator=g).tolist()
    asked = [Seen(image(28, 14 * (i + 1))), Text(words[:3]), Text(words[3:], predict=True)]
    return pack([asked, [Text(words), Latent(image(8, 4 + 8 * i), predict=True)]], config, g)

def train(settings, together):
    model = load_model(checkpoint)
    add_adapters(model, settings)
    model.stack.checkpointing = settings.base == "int8"
    if together:
        shard(model, Devices(), world, bf16=False)
    model.to(world.device, torch.float32)
    batches = [batch(model.config, i) for i in range(2)]
    labels, targets = sum(len(b.labels) for b in batches), sum(len(b.targets) for b in batches)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for step in range(5):
        optimiser.zero_grad()
        total = torch.zeros(1)
        for b in batches[world.rank : world.rank + 1] if together else batches:
            out = model(b)
            loss = out.ce.sum() / labels + out.mse.mean(1).sum() / targets
            loss.backward()
            total += loss.detach()
        optimiser.step()
        losses.append((world.sum_tensor(total) if together else total).item())
    return model, losses

def held_bytes(model):
    layers = [m for m in model.modules() if isinstance(m, AdaptedLinear)]
    return sum(local(p).nbytes for m in layers for p in (m.base, m.scale) if p is not None)

def adapters_of(model):
    return {n: whole(p.detach()).clone() for n, p in model.named_parameters() if p.requires_grad}

checkpoint, folder = sys.argv[1:]
torch.set_num_threads(1)
world, told = join(), {}
for base in ("float32", "bfloat16", "int8"):
    settings = Lora(rank=3, alpha=6.0, base=base)
    (shared, theirs), (alone, ours) = train(settings, True), train(settings, False)
    ends = adapters_of(shared)
    save_adapters(shared, folder, settings, Base("tiny", "0" * 64))
    with torch.no_grad():
        for p in shared.parameters():
            if p.requires_grad:
                p.zero_()
    load_adapters(shared, folder)
    told[base] = {
        "shared": theirs,
        "alone": ours,
        "bytes": held_bytes(shared) / held_bytes(alone),
        "apart": max((ends[n] - p).abs().max().item() for n, p in adapters_of(alone).items()),
        "restored": all(torch.equal(ends[n], p) for n, p in adapters_of(shared).items()),
    }
if world.first:
    print(json.dumps(told))
leave()
"""


def run_ranks(*arguments: object) -> dict:
    """Run SCRIPT on two ranks; what the first prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in range(2):
        group = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": 2}
        group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = os.environ | {k: str(v) for k, v in group.items()}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
        ranks.append(subprocess.Popen(command, env=environment, **pipes))
    try:
        told = [process.communicate(timeout=110) for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [p.returncode for p in ranks] == [0, 0], "\n".join(err[-3000:] for _, err in told)
    return json.loads(told[0][0])


def test_two_ranks_train_as_one_process_and_hold_half_the_base_each(tiny_folder, tmp_path):
    told = run_ranks(tiny_folder, tmp_path / "adapters")
    assert tuple(told) == HELD
    for run in told.values():
        assert run["alone"][-1] < 0.99 * run["alone"][0]
        assert run["shared"] == pytest.approx(run["alone"], abs=1e-5)
        assert 0.49 < run["bytes"] < 0.51
        assert run["apart"] < 1e-4 and run["restored"]
    assert read_adapters(tmp_path / "adapters").held == "int8"
