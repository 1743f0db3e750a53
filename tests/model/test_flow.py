"""The flow's path, its time grid, and what guidance may and may not do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unimedvl.model.flow import Guidance, guided, noised, shift_time, time_grid, velocity_target

some = settings(max_examples=50, deadline=None)
scales = st.floats(1, 8)
renorms = st.sampled_from(["global", "channel", "text_channel"])


def velocities(seed: int, branches: int = 3, images: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(branches, images, 5, 4, generator=generator))


@some
@given(st.integers(2, 60), st.floats(0.5, 5))
def test_time_goes_from_one_to_zero_without_turning(points, shift):
    grid = time_grid(points, shift)
    assert len(grid) == points and grid[0] == pytest.approx(1) and grid[-1] == 0.0
    assert all(a > b for a, b in zip(grid, grid[1:], strict=False))


def test_shift_is_the_published_formula_and_one_of_1_changes_nothing():
    t = torch.tensor([0.0, 0.25, 0.5, 1.0])
    torch.testing.assert_close(shift_time(t, 3.0), torch.tensor([0.0, 0.5, 0.75, 1.0]))
    torch.testing.assert_close(shift_time(t, 1.0), t)


def test_a_grid_of_one_point_is_refused():
    with pytest.raises(ValueError, match="1 points; it needs 2"):
        time_grid(1, 3.0)


def test_following_the_target_from_noise_arrives_at_the_image():
    clean, noise = velocities(0, 2)
    x = noise
    times = time_grid(7, 2.0)
    for t, following in zip(times, times[1:], strict=False):
        torch.testing.assert_close(x, noised(clean, noise, torch.full((2,), t)))
        x = x - (t - following) * velocity_target(clean, noise)
    torch.testing.assert_close(x, clean)


@some
@given(st.integers(0, 99), renorms)
def test_scales_of_one_change_nothing(seed, renorm):
    full, without_text, without_image = velocities(seed)
    guidance = Guidance(1.0, 1.0, renorm=renorm)
    torch.testing.assert_close(
        guided(full, without_text, without_image, guidance), full, atol=1e-5, rtol=1e-4
    )
    assert not guidance.active(0.9) and not guidance.uses_image


@some
@given(st.integers(0, 99), scales, scales, st.sampled_from(["global", "channel"]), st.floats(0, 1))
def test_renormalising_never_raises_the_norm_above_that_without_it(seed, text, image, renorm, smallest):
    full, without_text, without_image = velocities(seed)
    out = guided(full, without_text, without_image, Guidance(text, image, renorm=renorm, renorm_min=smallest))
    bare = guided(full, without_text, without_image, Guidance(text, image, renorm=renorm, renorm_min=1.0))
    dims = (-1,) if renorm == "channel" else (-2, -1)
    norm = {
        name: torch.linalg.vector_norm(x, dim=dims)
        for name, x in (("out", out), ("bare", bare), ("full", full))
    }
    slack = 1 + 1e-5
    assert (norm["out"] <= norm["bare"] * slack).all()
    assert (norm["out"] <= torch.maximum(norm["full"], smallest * norm["bare"]) * slack).all()


@pytest.mark.parametrize("renorm", ["global", "channel", "text_channel"])
def test_what_guidance_made_smaller_stays_small(renorm):
    """Where guidance takes away from the norm, nothing is rescaled upwards."""
    full = velocities(5)[0]
    out = guided(full, 1.2 * full, None, Guidance(3.0, renorm=renorm))
    torch.testing.assert_close(out, 0.6 * full)


def test_the_bare_guidance_is_the_formula():
    full, without_text, without_image = velocities(3)
    text = without_text + 4 * (full - without_text)
    both = without_image + 2 * (text - without_image)
    guidance = Guidance(4.0, 2.0, renorm_min=1.0)
    torch.testing.assert_close(guided(full, without_text, None, guidance), text)
    torch.testing.assert_close(guided(full, without_text, without_image, guidance), both)


def test_text_channel_rescales_each_token_after_the_text_step_alone():
    full, without_text, without_image = velocities(4)
    text = without_text + 4 * (full - without_text)
    ratio = (full.norm(dim=-1, keepdim=True) / text.norm(dim=-1, keepdim=True)).clamp(max=1)
    expected = without_image + 2 * (text * ratio - without_image)
    found = guided(full, without_text, without_image, Guidance(4.0, 2.0, renorm="text_channel"))
    torch.testing.assert_close(found, expected)


@some
@given(st.integers(0, 99), renorms)
def test_an_image_is_guided_as_if_it_were_alone(seed, renorm):
    """Norms are taken image by image: the neighbour in the batch, a hundred times as large, has no say."""
    branches = velocities(seed)
    for v in branches:
        v[1] *= 100
    guidance = Guidance(4.0, 2.0, renorm=renorm)
    together = guided(*branches, guidance)
    for i in range(2):
        alone = guided(*(v[i : i + 1] for v in branches), guidance)
        torch.testing.assert_close(together[i : i + 1], alone)


def test_the_interval_is_open_below_and_closed_above():
    guidance = Guidance(4.0, interval=(0.4, 0.8))
    assert [guidance.active(t) for t in (0.3, 0.4, 0.41, 0.8, 0.81)] == [False, False, True, True, False]
    # the float32 nearest to 0.8 lies above 0.8: as a point of a grid it is still the end itself
    assert guidance.active(torch.tensor(0.8).item())


def test_image_guidance_needs_text_guidance_and_a_scale_over_one():
    assert Guidance(4.0, 1.5).uses_image
    assert not Guidance(4.0, 1.0).uses_image and not Guidance(1.0, 2.0).uses_image


def test_an_unknown_renorm_is_named():
    with pytest.raises(ValueError, match="renorm is 'local'; it must be global, channel or text_channel"):
        Guidance(renorm="local")
