"""What a GPU computes is what the CPU computes. Everything here needs CUDA."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unimedvl import UniMedVL
from unimedvl.checkpoint import load_model, save_model
from unimedvl.data.shards import write_shard
from unimedvl.data.source import Sample
from unimedvl.data.sources import source
from unimedvl.model.attention import PackedAttention, attend
from unimedvl.model.config import DecoderConfig
from unimedvl.sequence import Latent, Seen, Text, pack
from unimedvl.training.loop import train
from unimedvl.training.recipe import Recipe

if not torch.cuda.is_available():
    pytest.skip("needs CUDA", allow_module_level=True)

# Heads of 16 values, the narrowest that attention in one kernel is made for.
DECODER = DecoderConfig(64, 64, 96, 2, 4, 2, rope_theta=1e4, max_position_embeddings=512)


@pytest.fixture(autouse=True)
def exact_products(monkeypatch):
    """Products of float32 in float32, in convolutions too."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch_of(geometry, count: int):
    """Sequences of every kind of segment; together they fill several of the kernel's blocks."""
    pixels = random(3, 16, 24, seed=5).clamp(-1, 1)
    seen = random(3, 28, 42, seed=6).clamp(-1, 1)
    sequences = [
        [Text([1, 2, 3] * 5), Latent(pixels, predict=True), Latent(pixels), Text([4, 5], predict=True)],
        [Seen(seen), Text([6, 7] * 20, predict=True)],
    ]
    return pack(sequences * count, geometry, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("head_dim", [8, 16, 64])
@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_attention_and_its_gradient(geometry, head_dim, count, dtype):
    batch = batch_of(geometry, count)
    q, k, v = (random(batch.num_tokens, h, head_dim, seed=s).to(dtype) for h, s in ((4, 1), (2, 2), (2, 3)))
    weight = random(batch.num_tokens, 4 * head_dim, seed=4)

    def run(device: str) -> list[torch.Tensor]:
        # The CPU's own in float32, so that bf16 is held against what it rounds.
        own = [x.to(device, torch.float32 if device == "cpu" else dtype).requires_grad_() for x in (q, k, v)]
        out = PackedAttention(batch.to(device))(0, *own)
        (out * weight.to(device)).sum().backward()
        return [x.float().cpu() for x in (out.detach(), *(x.grad for x in own))]

    close = dict(atol=2e-5, rtol=1e-4) if dtype == torch.float32 else dict(atol=4e-2, rtol=4e-2)
    for found, expected in zip(run("cuda"), run("cpu"), strict=True):
        torch.testing.assert_close(found, expected, **close)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("n", [1, 5, 40])
def test_attention_over_blocks_of_a_cache(causal, n):
    q, k, v = random(n, 4, 16, seed=1), random(2, 100, 16, seed=2), random(2, 100, 16, seed=3)
    cut = [(k[:, :55], v[:, :55]), (k[:, 55:], v[:, 55:])]
    expected = attend(q, cut, causal)
    found = attend(q.cuda(), [(a.cuda(), b.cuda()) for a, b in cut], causal).cpu()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_losses_and_gradients_of_the_whole_model(make_model, geometry):
    config = replace(geometry, decoder=DECODER)
    model, batch = make_model(config), batch_of(config, 3)
    there = copy.deepcopy(model).cuda()
    here, away = model(batch), there(batch.to("cuda"))
    torch.testing.assert_close(away.ce.cpu(), here.ce, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(away.mse.cpu(), here.mse, atol=1e-3, rtol=1e-3)
    here.total().backward()
    away.total().backward()
    # Against the largest of all: what a bias of keys gets is rounding, for it changes no attention.
    largest = max(p.grad.norm() for p in model.parameters() if p.grad is not None)
    for (name, ours), theirs in zip(model.named_parameters(), there.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None:
            off = (theirs.grad.cpu() - ours.grad).norm()
            assert off < 1e-3 * ours.grad.norm() + 1e-4 * largest, (name, off)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_arrive(model, tiny_folder, tiny, dtype):
    loaded = load_model(tiny_folder, device="cuda", dtype=dtype)
    own = tiny.model.state_dict()
    assert all(t.is_cuda and torch.equal(t.cpu(), own[n].to(dtype)) for n, t in loaded.state_dict().items())


def test_the_embedded_model_says_and_draws_what_it_does_on_a_cpu(picture):
    here, away = (UniMedVL.load(device=device, dtype=torch.float32) for device in ("cpu", "cuda"))
    assert away.ask(picture, "What modality is this?").text == here.ask(picture, "What modality is this?").text
    drawn = [m.generate("A normal chest X-ray.", modality="cxr", seed=3).image.astype(int) for m in (here, away)]
    assert np.abs(drawn[0] - drawn[1]).mean() < 1
    again = away.generate("A normal chest X-ray.", modality="cxr", seed=3).image
    assert np.array_equal(again, drawn[1])


def test_every_kind_of_task_runs_in_bf16(picture):
    m = UniMedVL.load(device="cuda", dtype=torch.bfloat16)
    assert m.ask(picture, "What is shown?").text
    for result in (m.upscale(picture, seed=1), m.translate(picture, to="flair", seed=1), m.stain(picture, her2="2+")):
        assert result.image.ndim == 3


# Training ------------------------------------------------------------------------------------------

# What a run's own time or machine decides.
MEASURED = ("seconds", "tokens/s", "mfu", "loader wait", "step seconds")


@pytest.fixture
def recipe_of(make_model, tiny, tmp_path):
    """A recipe of two short stages from a tiny geometry whose heads the kernel of attention takes."""
    decoder = replace(DECODER, vocab_size=tiny.tokenizer.vocabulary_size)
    model = make_model(replace(tiny.model.config, decoder=decoder))
    model.initialise(torch.Generator().manual_seed(0))
    start, data = tmp_path / "start", tmp_path / "data"
    save_model(model, start, tokenizer=tiny.tokenizer, card={"sizes": {"vit": [42, 42], "vae": [32, 32]}})
    data.mkdir()
    (data / "phantoms.json").write_text(json.dumps({"studies": 6, "size": 64, "modalities": ["cxr", "mri", "his"]}))
    items = [item for item in source("phantoms").read(data) if isinstance(item, Sample)]
    (data / "shards").mkdir()
    write_shard(data / "shards" / "train-00000.parquet", items)
    common = {
        "mixture": {"text_to_image": 1, "image_to_text": 1, "interleaved": 1}, "tokens": 700, "packs": 2,
        "learning_rate": 3e-3, "warmup": 2,
    }  # fmt: skip

    def make(folder: str, steps: int = 6, **changes) -> Recipe:
        values = {
            "folder": tmp_path / folder, "start": {"checkpoint": str(start)},
            "data": {"folders": [data], "workers": 1, "lookahead": 24},
            "stages": [{"name": "one", "steps": steps} | common, {"name": "two", "steps": 3, "ema": 0.9} | common],
            "bf16": False, "save": {"every": 4}, "log": {"every": 1},
        }  # fmt: skip
        return Recipe.model_validate(values | changes)

    return make


def curve(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in lines]


def exported(folder: Path) -> dict[str, torch.Tensor]:
    return UniMedVL.load(folder, pack=False, device="cpu").model.state_dict()


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("stop_after", [5, 7], ids=["in the first stage", "in the second stage"])
def test_training_learns_and_goes_on_to_the_last_bit(recipe_of, cut_off, bf16, stop_after):
    """Cut off right after a step, before anything else is written."""
    whole, torn = recipe_of("whole", bf16=bf16), recipe_of("torn", bf16=bf16)
    train(whole)
    lines = curve(whole.folder)
    assert lines[-1]["ce"] < lines[0]["ce"] and lines[-1]["mse"] < lines[0]["mse"]
    cut_off(torn, stop_after)
    train(torn)
    assert curve(torn.folder) == lines
    mine, theirs = exported(torn.folder / "export"), exported(whole.folder / "export")
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_training_has_the_losses_of_a_cpu(recipe_of, monkeypatch):
    there, here = recipe_of("there"), recipe_of("here")
    train(there)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    train(here)
    for theirs, ours in zip(curve(there.folder), curve(here.folder), strict=True):
        assert (theirs["step"], theirs["tokens"]) == (ours["step"], ours["tokens"])
        # The first steps alone: AdamW makes of rounding a step of its own where a gradient is nearly nothing.
        if ours["step"] <= 2:
            for name in ("ce", "mse", "norm"):
                assert theirs[name] == pytest.approx(ours[name], rel=2e-3), (ours["step"], name)
        assert theirs["ce"] == pytest.approx(ours["ce"], rel=5e-2)
