"""The parts of an embedded model are trained alone: each learns, leaves a state, and goes on from it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from unimedvl.model.config import VaeConfig, VitConfig
from unimedvl.model.vae import Autoencoder
from unimedvl.recipes import RecipeError
from unimedvl.training import autoencoder, vit
from unimedvl.training.autoencoder import train_vae
from unimedvl.training.logs import LineLog
from unimedvl.training.part_run import cosine, save_state
from unimedvl.training.parts import load_parts_recipe
from unimedvl.training.vit import train_vit

VAE = VaeConfig(8, (1, 2), 1, z_channels=4, norm_groups=4)
VIT = VitConfig(24, 40, 3, 2, patch_size=14, max_patches_per_side=4)


class Stopped(Exception):
    """Stands for a run that is cut off in the middle."""


@pytest.fixture
def stop_at(monkeypatch):
    """Make a part of the training end after a step, before its state is saved."""

    def arrange(module, last: int) -> None:
        class Ending(LineLog):
            def add(self, step, every, **values):
                super().add(step, every, **values)
                if step == last:
                    raise Stopped

        monkeypatch.setattr(module, "LineLog", Ending)

    return arrange


@pytest.fixture(autouse=True)
def small_samples(monkeypatch):
    """Looking for every mask that there is renders hundreds of studies; a few images measure a deviation."""
    monkeypatch.setattr(autoencoder, "normalise", partial(autoencoder.normalise, batches=1))
    monkeypatch.setattr(
        vit, "names_of_masks", lambda modalities: ["cxr: pleural effusion", "cfp: optic disc", "mri: tumour"]
    )


def check_resumed(stop_at, module, train, folder, read_log, name: str, total: int) -> None:
    """A run stopped at step 5 goes on to the weights, and the log, of one that was never stopped."""
    whole, torn = folder / "whole", folder / "torn"
    never_stopped = train(whole).state_dict()
    stop_at(module, 5)
    with pytest.raises(Stopped):
        train(torn)
    assert torch.load(torn / f"{name}.pt", weights_only=True)["step"] == 4  # the last multiple of save_every
    with (torn / f"{name}.jsonl").open("a") as log:
        log.write('{"step": 8, "loss": 0.1}\n{"st')  # taken after the last state, and cut off
    stop_at(module, -1)
    for _ in range(2):  # a run that is done changes nothing
        weights = train(torn).state_dict()
        assert all(torch.equal(weights[n], never_stopped[n]) for n in weights)
        assert torch.load(torn / f"{name}.pt", weights_only=True)["step"] == total
        lines, expected = (read_log(f / f"{name}.jsonl") for f in (torn, whole))
        assert [line | {"seconds": 0} for line in lines] == [line | {"seconds": 0} for line in expected]
        seconds = [line["seconds"] for line in lines]
        assert seconds == sorted(seconds)
        assert not list(torn.glob("*.part"))


def test_the_autoencoder_learns_and_its_latents_have_unit_variance(vae_recipe, tmp_path, read_log):
    phases = [vae_recipe.phases[0].model_copy(update={"steps": 32})]
    vae = train_vae(VAE, vae_recipe.model_copy(update={"phases": phases}), tmp_path)
    psnr = [line["psnr"] for line in read_log(tmp_path / "vae.jsonl")]
    assert psnr[-1] > psnr[0] + 2
    batch = autoencoder.Crops(8, 128, seed=2)[0]
    with torch.no_grad():
        latents = vae.encode(batch)
    assert abs(latents.mean()) < 0.3 and 0.6 < latents.std() < 1.6


def test_turning_the_latents_leaves_every_picture_as_it_was_and_evens_their_channels_out():
    torch.manual_seed(0)
    vae = Autoencoder(VAE)
    with torch.no_grad():  # nearly all variance on one channel, as an autoencoder trained alone has it
        vae.encoder.conv_out.weight[0] *= 20
        images = autoencoder.Crops(8, 128, seed=2)[0]
        before, spread = vae.decode(vae.encode(images)), vae.encode(images).std((0, 2, 3))
        autoencoder.normalise(vae)
        after, latents = vae.decode(vae.encode(images)), vae.encode(images)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    deviations = latents.std((0, 2, 3))
    assert deviations.max() / deviations.min() < (spread.max() / spread.min()).sqrt() * 1.5
    mixed = torch.corrcoef(latents.movedim(1, 0).flatten(1)) - torch.eye(VAE.z_channels)
    assert mixed.abs().max() < 0.25  # axes of other images, so nearly uncorrelated


def test_the_autoencoder_goes_on_where_it_stopped(vae_recipe, tmp_path, stop_at, read_log):
    check_resumed(stop_at, autoencoder, partial(train_vae, VAE, vae_recipe), tmp_path, read_log, "vae", 16)


def test_the_vit_learns(vit_recipe, tmp_path, read_log):
    train_vit(VIT, vit_recipe.model_copy(update={"steps": 40, "log_every": 8}), tmp_path)
    losses = [line["loss"] for line in read_log(tmp_path / "vit.jsonl")]
    assert losses[-1] < 0.8 * losses[0]


def test_the_vit_goes_on_where_it_stopped(vit_recipe, tmp_path, stop_at, read_log):
    check_resumed(stop_at, vit, partial(train_vit, VIT, vit_recipe), tmp_path, read_log, "vit", 12)


SHIPPED = Path(__file__).parents[2] / "recipes" / "nano" / "parts.yaml"


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("vae.seed=7", lambda r: r.vae.seed == 7),
        ("vit.bf16=false", lambda r: r.vit.bf16 is False),
        ("vae.phases=[{steps: 9, crop: 32, batch: 1}]", lambda r: r.vae.phases[0].crop == 32),
        ("folder=/tmp/a=b", lambda r: r.folder == Path("/tmp/a=b")),
    ],
)
def test_an_override_reaches_its_field(override, read):
    assert read(load_parts_recipe(SHIPPED, [override]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("vit.stepz=5", "vit.stepz: no such field; there are steps, batch, side"),
        ("vae.learning_rate=fast", "vae.learning_rate: Input should be a valid number"),
        ("vae.phases=[{steps: 1, crop: 30, batch: 1}]", "vae.phases.0.crop: Input should be a multiple of 16"),
        ("modalities=[pet]", "modalities: no modality called 'pet'; there are cxr, mri"),
        ("preset=giant", "preset: no preset called 'giant'"),
    ],
)
def test_a_wrong_key_or_value_is_one_line_that_names_it(override, message):
    with pytest.raises(RecipeError) as error:
        load_parts_recipe(SHIPPED, [override])
    assert message in str(error.value) and "\n" not in str(error.value)


# What the parts share -----------------------------------------------------------------------


def test_the_rate_warms_up_to_its_peak_and_falls_to_a_twentieth():
    rates = [cosine(step, 100, 2.0, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.2) and rates[9] == pytest.approx(2.0) == max(rates)
    assert all(a > b for a, b in zip(rates[10:], rates[11:], strict=False))
    assert rates[-1] == pytest.approx(0.1)
    assert cosine(0, 5, 1.0, 0) == pytest.approx(1.0)


def test_the_log_holds_means_since_the_last_line(tmp_path, read_log):
    log = LineLog(tmp_path / "made" / "x.jsonl")
    for step, loss in enumerate([1.0, 3.0, 5.0, 8.0], 1):
        log.add(step, 2, loss=loss)
    assert [(line["step"], line["loss"]) for line in read_log(tmp_path / "made" / "x.jsonl")] == [
        (2, 2.0),
        (4, 6.5),
    ]


def test_a_state_that_cannot_be_written_leaves_the_last_good_one(tmp_path, monkeypatch):
    file = tmp_path / "x.pt"
    save_state(file, {"step": 1})

    def torn(state, part):
        part.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="disk full"):
        save_state(file, {"step": 2})
    assert torch.load(file, weights_only=True) == {"step": 1}


def test_crops_are_in_range_and_the_same_for_a_seed_and_a_step():
    a, b, other = (autoencoder.Crops(4, 16, seed=seed)[0] for seed in (0, 0, 1))
    assert a.shape == (4, 3, 16, 16) and a.dtype == torch.float32
    assert -1 <= a.min() and a.max() <= 1 and a.std() > 0.05
    assert torch.equal(a, b) and not torch.equal(a, other)
    passing = autoencoder.Crops(4, 16, seed=0, window=5)
    steps = [passing[step] for step in range(4)]
    assert torch.equal(autoencoder.Crops(4, 16, seed=0, window=5)[3], steps[3])
    assert set(passing.rendered.made) <= set(range(3, 8))
    assert np.isfinite(a.numpy()).all()
