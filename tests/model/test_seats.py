"""Seats: contexts side by side in one tensor score as they do in chains of their own."""

from __future__ import annotations

import copy

import pytest
import torch

from unimedvl.model.seats import Seats
from unimedvl.sequence import Text


@pytest.fixture
def caches(model):
    """Contexts of several lengths, the last a branch whose memory is in two blocks."""
    made = []
    for length in (3, 9, 1, 20):
        cache = model.new_cache()
        model.extend([cache], [[Text(list(range(length)))]])
        made.append(cache)
    branch = made[1].branch()
    model.extend([branch], [[Text([7, 8])]])
    return [*made, branch]


def step(model, caches, seats=None, token=5):
    return model.logits(caches, torch.full((len(caches),), token), seats)


@pytest.mark.parametrize("seated", [1, 3, 5])
def test_scores_and_what_is_kept_are_those_without_seats(model, caches, seated):
    plain = [cache.branch() for cache in caches]
    seats = model.new_seats()
    with torch.inference_mode():
        for cache in caches[:seated]:
            seats.sit(cache)
    for token in (5, 11, 2):
        torch.testing.assert_close(step(model, caches, seats, token), step(model, plain, None, token))
    with torch.inference_mode():
        for cache in caches[:seated]:
            seats.rise(cache)
    for cache, other in zip(caches, plain, strict=True):
        assert (cache.length, cache.position) == (other.length, other.position)
        torch.testing.assert_close(cache.keys(), other.keys())
    torch.testing.assert_close(step(model, caches), step(model, plain))


def test_in_bf16_too(model, caches):
    half = copy.deepcopy(model).bfloat16()
    made = [half.new_cache() for _ in range(3)]
    for number, cache in enumerate(made):
        half.extend([cache], [[Text(list(range(5 + 7 * number)))]])
    plain, seats = [cache.branch() for cache in made], half.new_seats()
    with torch.inference_mode():
        for cache in made:
            seats.sit(cache)
    expected = step(half, plain)
    torch.testing.assert_close(step(half, made, seats), expected, atol=0.05 * float(expected.abs().max()), rtol=0)


def test_who_rises_leaves_the_others_as_they_were(model, caches):
    plain = [cache.branch() for cache in caches]
    seats = model.new_seats()
    with torch.inference_mode():
        for cache in caches:
            seats.sit(cache)
        step(model, caches, seats), step(model, plain)
        seats.rise(caches[1])
    assert seats.taken == [caches[0], caches[4], caches[2], caches[3]]
    order = [0, 4, 2, 3, 1]
    scores = step(model, [caches[i] for i in order], seats)
    torch.testing.assert_close(scores, step(model, [plain[i] for i in order]))
    with torch.inference_mode():
        seats.sit(caches[1])
    order = [0, 4, 2, 3, 1]
    torch.testing.assert_close(
        step(model, [caches[i] for i in order], seats), step(model, [plain[i] for i in order])
    )


def test_a_seat_is_only_for_who_fits_and_a_branch_of_who_sat_is_its_own(model, caches):
    seats = Seats(model.config.decoder, capacity=16)
    assert [seats.fits(cache) for cache in caches] == [True, True, True, False, True]
    kept = caches[0].branch()
    with torch.inference_mode():
        seats.sit(caches[0])
        step(model, caches[:1], seats)
        seats.rise(caches[0])
    after = caches[0].branch()
    step(model, [kept], token=9), step(model, [after], token=3)
    whole = model.new_cache()
    model.extend([whole], [[Text([0, 1, 2])]])
    step(model, [whole], token=5)
    torch.testing.assert_close(caches[0].keys(), whole.keys())


def test_a_branch_can_be_of_the_beginning(model):
    cache = model.new_cache()
    model.extend([cache], [[Text([1, 2]), Text([3])]])
    part = cache.branch(4, 4)
    assert (part.length, part.position) == (4, 4)
    whole = model.new_cache()
    model.extend([whole], [[Text([1, 2])]])
    torch.testing.assert_close(part.keys(), whole.keys())
    torch.testing.assert_close(step(model, [part]), step(model, [whole]))


def test_a_text_in_pieces_is_the_text(model):
    cache, whole = model.new_cache(), model.new_cache()
    model.extend([whole], [[Text(list(range(12)))]])
    model.extend([cache], [[Text(list(range(5)), closes=False), Text([5, 6], opens=False, closes=False)]])
    model.extend([cache], [[Text([7, 8, 9, 10, 11], opens=False)]])
    assert (cache.length, cache.position) == (whole.length, whole.position) == (14, 14)
    torch.testing.assert_close(cache.keys(), whole.keys(), atol=1e-5, rtol=1e-5)
