"""Packing: positions, labels, the order of kinds, and what does not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unimedvl.sequence import Latent, Seen, Text, grid_position_ids, latent_grid, pack, patchify, unpatchify

some = settings(max_examples=40, deadline=None)


def image(height: int, width: int) -> torch.Tensor:
    return torch.linspace(-1, 1, 3 * height * width).reshape(3, height, width)


segments = st.one_of(
    st.builds(Text, st.lists(st.integers(0, 59), max_size=4), st.booleans()),
    st.builds(lambda h, w: Seen(image(14 * h, 14 * w)), st.integers(1, 2), st.integers(1, 2)),
    st.builds(
        lambda h, w, p: Latent(image(4 * h, 4 * w), p), st.integers(1, 2), st.integers(1, 2), st.booleans()
    ),
)
samples = st.lists(st.lists(segments, min_size=1, max_size=4), min_size=1, max_size=3)


@some
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3))
def test_patches_put_together_are_the_image(h, w, patch):
    pixels = image(h * patch, w * patch)
    patches = patchify(pixels, patch)
    assert patches.shape == (h * w, 3 * patch * patch)
    assert torch.equal(unpatchify(patches, h, w, patch), pixels)
    assert torch.equal(unpatchify(torch.stack([patches] * 2), h, w, patch), torch.stack([pixels] * 2))


def test_a_patch_is_row_column_channel_with_the_channel_fastest():
    pixels = torch.arange(3 * 2 * 4).reshape(3, 2, 4).float()
    assert patchify(pixels, 2)[1].tolist() == [
        pixels[c, y, x] for y in (0, 1) for x in (2, 3) for c in range(3)
    ]


def test_patches_and_grids_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="5 x 4; both sides must be multiples of 2"):
        patchify(image(5, 4), 2)
    with pytest.raises(ValueError, match="3 x 9 is larger than the position table of 8 x 8"):
        grid_position_ids(3, 9, 8)
    assert grid_position_ids(2, 3, 8).tolist() == [0, 1, 2, 8, 9, 10]


def test_a_latent_image_must_fit_the_stride(geometry):
    assert latent_grid(Latent(image(8, 12)), geometry) == (2, 3)
    assert latent_grid(Latent(torch.zeros(4, 4, 6), encoded=True), geometry) == (2, 3)
    with pytest.raises(ValueError, match="10 x 12; both sides must be multiples of 4"):
        latent_grid(Latent(image(10, 12)), geometry)


@pytest.mark.parametrize("empty", [[], [[]], [[Text([1])], []]])
def test_nothing_cannot_be_packed(geometry, empty):
    with pytest.raises(ValueError, match="one sequence or more, each of one segment or more"):
        pack(empty, geometry)


@some
@given(samples, st.integers(0, 50))
def test_a_packed_batch_keeps_every_sequence(geometry, sequences, start):
    """Against a second, plain statement of the rules, token by token."""
    special = geometry.special
    batch = pack(sequences, geometry, torch.Generator().manual_seed(0), [start] * len(sequences))
    kinds, positions, ids, labels, lengths, advance = [], [], [], [], [], []
    for sequence in sequences:
        position, before = start, len(kinds)
        for segment in sequence:
            if isinstance(segment, Text):
                tokens = [special.text_open, *segment.ids, special.text_close]
                kinds += [0] * len(tokens)
                positions += range(position, position + len(tokens))
                ids += tokens
                labels += tokens[1:] if segment.predict else []
                position += len(tokens)
            else:
                stride, kind = (14, 1) if isinstance(segment, Seen) else (4, 2)
                n = (segment.pixels.shape[1] // stride) * (segment.pixels.shape[2] // stride)
                kinds += [0, *[kind] * n, 0]
                positions += [position] * (n + 2)
                ids += [special.image_start, special.image_end]
                position += not getattr(segment, "predict", False)
        lengths.append(len(kinds) - before)
        advance.append(position - start)
    assert batch.lengths == lengths and batch.num_tokens == len(kinds) and batch.advance == advance
    assert batch.positions[batch.order].tolist() == positions
    assert batch.ids.tolist() == ids and batch.labels.tolist() == labels
    rows = torch.argsort(batch.order)
    assert [kinds[i] for i in rows.tolist()] == sorted(kinds)
    assert sorted(batch.order.tolist()) == list(range(len(kinds)))
    # a label is the token after the one whose row it is scored at
    following = dict(zip(batch.label_rows.tolist(), labels, strict=True))
    natural = torch.full((len(kinds),), -1)
    natural[torch.tensor(kinds) == 0] = batch.ids
    for row, label in following.items():
        assert natural[rows[row] + 1] == label
    assert [m.shape[0] for m in batch.masks()] == lengths


def test_an_image_takes_one_position_and_a_target_none(geometry):
    sequence = [
        Text([1, 2]),
        Latent(image(4, 4)),
        Latent(image(8, 4), True, timestep_logit=0.0),
        Text([3], True),
    ]
    batch = pack([sequence], geometry)
    assert batch.positions[batch.order].tolist() == [0, 1, 2, 3, 4, 4, 4, 5, 5, 5, 5, 5, 6, 7]
    assert batch.advance == [8] and batch.targets.tolist() == [1, 2]
    assert batch.timesteps.tolist() == [0.0, 0.5, 0.5]


def test_times_are_drawn_from_the_generator_and_shifted(geometry):
    target = [[Latent(image(4, 4), True)] * 200]
    drawn = [pack(target, geometry, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0].timesteps, drawn[1].timesteps) and torch.equal(drawn[0].noise, drawn[1].noise)
    assert not torch.equal(drawn[0].timesteps, drawn[2].timesteps)
    logits = torch.logit(drawn[0].timesteps)
    assert abs(logits.mean()) < 0.25 and abs(logits.std() - 1) < 0.2
    shifted = pack(target, replace(geometry, timestep_shift=3.0), torch.Generator().manual_seed(0)).timesteps
    t = drawn[0].timesteps
    torch.testing.assert_close(shifted, 3 * t / (1 + 2 * t))


def test_a_target_token_weighs_as_the_heaviest_point_of_its_square(geometry):
    weight = torch.ones(16, 32)
    weight[0, 31] = 5.0
    images = [Latent(image(4, 4)), Latent(image(8, 8), True, weight=weight), Latent(image(4, 4), True)]
    assert pack([images], geometry).target_weights.tolist() == [1, 5, 1, 1, 1]


def test_moving_a_batch_moves_every_tensor(geometry):
    batch = pack([[Seen(image(14, 14)), Latent(image(4, 4)), Text([1], True)]], geometry).to("meta")
    tensors = [x for x in vars(batch).values() if isinstance(x, torch.Tensor)] + batch.images
    assert len(tensors) > 12 and all(x.is_meta for x in tensors)
