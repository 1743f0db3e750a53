"""Weights of the channels of a latent."""

import pytest
import torch

from unimedvl import UniMedVL
from unimedvl.training.channels import channel_weights


@pytest.fixture(scope="module")
def vae():
    return UniMedVL.load(pack=False).model.vae


def test_at_no_power_all_channels_count_alike(vae):
    assert torch.equal(channel_weights(vae, 0.0), torch.ones(vae.config.z_channels))


def test_a_channel_counts_by_what_an_error_of_it_changes_in_the_picture(vae):
    weights = channel_weights(vae, 1.0)
    assert weights.mean().item() == pytest.approx(1)
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(4, vae.config.z_channels, 8, 8, generator=generator)
    with torch.no_grad():
        changes = []
        for channel in (int(weights.argmax()), int(weights.argmin())):
            moved = z.clone()
            moved[:, channel] += 0.2 * torch.randn(4, 8, 8, generator=generator)
            changes.append((vae.decode(moved) - vae.decode(z)).square().mean().item())
    assert changes[0] / changes[1] == pytest.approx((weights.max() / weights.min()).item(), rel=0.5)


def test_a_power_between_lies_between_and_the_same_call_gives_the_same(vae):
    half, whole = channel_weights(vae, 0.5), channel_weights(vae, 1.0)
    assert 1 < half.max() < whole.max()
    assert torch.equal(half, channel_weights(vae, 0.5))
