"""The watermark is not seen, is found after what it must survive, and is not found where there is none."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from unimedvl.phantoms import SIMULATORS
from unimedvl.provenance.pattern import pattern
from unimedvl.provenance.watermark import SMALLEST, THRESHOLD, detect, embed

PAYLOAD = 0x5EED42
KINDS = (*SIMULATORS, "ihc")


def jpeg(a: np.ndarray, quality: int = 75) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(a).save(stream, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(stream))


def sized(a: np.ndarray, width: int, height: int, filter=Image.Resampling.BILINEAR) -> np.ndarray:
    return np.asarray(Image.fromarray(a).resize((width, height), filter))


def half(a: np.ndarray, filter=Image.Resampling.BILINEAR) -> np.ndarray:
    return sized(a, a.shape[1] // 2, a.shape[0] // 2, filter)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


WEARS = {
    "nothing": lambda a: a,
    "jpeg": jpeg,
    "half": half,
    "half-bicubic": lambda a: half(a, Image.Resampling.BICUBIC),
    "half-area": lambda a: half(a, Image.Resampling.BOX),
    "half-and-back": lambda a: sized(half(a), a.shape[1], a.shape[0], Image.Resampling.BICUBIC),
    "half-then-jpeg": lambda a: jpeg(half(a)),
    "jpeg-then-half": lambda a: half(jpeg(a)),
    "grey": lambda a: np.asarray(Image.fromarray(a).convert("L").convert("RGB")),
    "brighter": lambda a: (a.astype(int) + 10).clip(0, 255).astype(np.uint8),
    "less-contrast": lambda a: (a * 0.85 + 19).round().astype(np.uint8),
}


@pytest.fixture(scope="module")
def marked(picture_of) -> dict[str, np.ndarray]:
    return {kind: embed(picture_of(kind, 128), PAYLOAD) for kind in KINDS}


@pytest.mark.parametrize("wear", WEARS)
def test_every_kind_of_picture_at_128_px_keeps_it(marked, wear):
    for kind, pixels in marked.items():
        found = detect(WEARS[wear](pixels))
        assert found.found and found.payload == PAYLOAD, f"{kind} after {wear}: {found}"


@pytest.mark.parametrize("size", [64, 100, 256])
def test_other_sizes_keep_it_after_jpeg_and_halving(picture_of, size):
    for kind in ("cxr", "his", "mri"):
        pixels = embed(picture_of(kind, size), PAYLOAD)
        for wear in ("jpeg", "half", "jpeg-then-half"):
            found = detect(WEARS[wear](pixels))
            assert found.found, f"{kind} after {wear}: {found}"
            assert found.payload == (PAYLOAD if size >= 96 else None)


@pytest.mark.parametrize(("width", "height"), [(129, 97), (200, 111), (96, 301)])
def test_sides_that_are_odd_or_differ_keep_it(picture_of, width, height):
    pixels = embed(sized(picture_of("endoscopy", 256), width, height), PAYLOAD)
    for wear in ("nothing", "jpeg", "half", "half-and-back"):
        assert detect(WEARS[wear](pixels)).payload == PAYLOAD


@pytest.mark.parametrize("turn", range(16))
def test_it_is_found_in_turned_mirrored_and_inverted_pictures(marked, turn):
    pixels = np.rot90(marked["cxr"], turn % 4)
    pixels = pixels[:, ::-1] if turn & 4 else pixels
    found = detect(np.ascontiguousarray(255 - pixels if turn & 8 else pixels))
    assert found.payload == PAYLOAD
    assert ("inverted" in found.changed) == bool(turn & 8) and ("turned by 90" in found.changed) == (turn in (1, 3, 9,
    11))


def test_it_can_hardly_be_seen(picture_of, marked):
    for kind, pixels in marked.items():
        before = picture_of(kind, 128)
        assert psnr(before, pixels) >= 38, kind
        assert np.abs(before.astype(int) - pixels).max() <= 12


def test_black_stays_black_and_grey_stays_grey(picture_of, marked):
    for kind in ("mri", "us", "oct"):
        before, after = picture_of(kind, 128), marked[kind]
        assert np.array_equal(after[..., 0], after[..., 1]) and np.array_equal(after[..., 0], after[..., 2])
        black = before.max(axis=2) <= 2
        assert black.any() and np.array_equal(before[black], after[black])


def test_hues_stay(picture_of, marked):
    """All three channels of a pixel move by the same."""
    moved = marked["his"].astype(int) - picture_of("his", 128)
    assert (moved.max(axis=2) == moved.min(axis=2)).all() and (moved != 0).any()


def test_an_even_area_changes_by_three_levels_at_most():
    flat = np.full((128, 128, 3), 140, np.uint8)
    assert np.abs(embed(flat, PAYLOAD).astype(int) - 140).max() <= 3


def test_the_same_picture_is_marked_alike_and_a_marked_one_takes_another_payload(picture_of, marked):
    again = embed(picture_of("ct", 128), PAYLOAD)
    assert np.array_equal(again, marked["ct"])
    assert detect(embed(marked["ct"], 0x123456)).payload == 0x123456


@pytest.mark.parametrize("pixels", [
    np.zeros((128, 128, 3), np.uint8), np.full((SMALLEST - 1, 200, 3), 99, np.uint8), np.full((1, 1, 3), 9, np.uint8),
])  # fmt: skip
def test_what_cannot_be_marked_is_returned_as_it_was(pixels):
    assert np.array_equal(embed(pixels, PAYLOAD), pixels) and not detect(pixels).found


@pytest.mark.parametrize("pixels", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)])
def test_other_arrays_are_refused(pixels):
    for function in (embed, detect):
        with pytest.raises(ValueError, match="uint8"):
            function(pixels)


@pytest.mark.parametrize("payload", [-1, 2**24])
def test_a_payload_has_24_bits(payload):
    with pytest.raises(ValueError, match="24 bits"):
        embed(np.zeros((128, 128, 3), np.uint8), payload)


# Where there is none -----------------------------------------------------------------------------


def test_pictures_without_it_stay_far_from_the_threshold(picture_of):
    """Simulated pictures, noise, stripes and steps: by Hoeffding's inequality one in a million comes to 7."""
    rng, pictures = np.random.default_rng(5), [picture_of(kind, 128, 9000 + n) for kind in KINDS for n in range(4)]
    for blur in (0, 1, 3, 9):
        for size in (32, 64, 128):
            noise = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
            pictures += [np.asarray(noise.filter(ImageFilter.GaussianBlur(blur))) for _ in range(4)]
    y, x = np.mgrid[:96, :96]
    stripes = [np.sin(x / n) * 100 + 128 for n in range(1, 9)] + [(y > 8 * n) * 200.0 for n in range(1, 9)]
    pictures += [np.uint8(s)[..., None].repeat(3, axis=2) for s in stripes]
    scores = [detect(p).score for p in pictures]
    assert len(scores) > 100 and max(scores) < THRESHOLD - 1.5, max(scores)


def test_the_threshold_keeps_its_promise_by_chance_of_the_key(picture_of, monkeypatch):
    """With other keys the scores of one picture stay under the bound too: the picture is not special to this key."""
    from dataclasses import replace

    from unimedvl.provenance import watermark

    real, rng, scores = pattern(), np.random.default_rng(3), []
    for _ in range(60):
        other = replace(real, sign=rng.choice([-1.0, 1.0], len(real.sign)))
        monkeypatch.setattr(watermark, "pattern", lambda other=other: other)
        scores.append(detect(picture_of("mri", 128)).score)
    assert max(scores) < THRESHOLD - 1
    tried = len(watermark._TRIED_STEPS) * len(watermark._BLURS) * 16
    assert tried * np.exp(-(THRESHOLD**2) / 2) < 1e-6


def test_a_payload_that_was_not_read_is_not_made_up():
    """Of random agreements one in 256 passes the check by chance."""
    rng = np.random.default_rng(0)
    read = [pattern().payload(rng.normal(size=len(pattern().sign))) for _ in range(500)]
    assert sum(r is not None for r in read) <= 10
