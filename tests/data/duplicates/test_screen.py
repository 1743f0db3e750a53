"""The quick look at many pairs passes all that the comparison takes for one picture, and few others."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from unimedvl.data.duplicates.hashes import perceptual_hash
from unimedvl.data.duplicates.images import ImageSettings
from unimedvl.data.duplicates.likeness import LikenessSettings, compare, thumbnail
from unimedvl.data.duplicates.screen import looks_of, may_be_same
from unimedvl.data.miniatures.paint import encoded, picture

MODALITIES = ("cxr", "mri", "his", "cfp")
# Left, top, right and bottom, as parts of the sides.
CROPS = ((0.02, 0.02, 0.02, 0.02), (0.03, 0.03, 0.03, 0.03), (0.05, 0, 0, 0), (0, 0.04, 0.02, 0), (0.01, 0, 0.03, 0.03))


def again(image: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def copies(image: Image.Image) -> list[Image.Image]:
    """Re-encoded, resized, cropped, brighter: as a set repeats an image of another."""
    width, height = image.size
    cut = [
        image.crop((round(a * width), round(b * height), round(width * (1 - c)), round(height * (1 - d))))
        for a, b, c, d in CROPS
    ]
    sizes = [image.resize((width * a // 12, height * b // 12)) for a, b in ((4, 4), (24, 24), (12, 11))]
    brighter = ImageEnhance.Brightness(cut[0]).enhance(1.15)
    paler = ImageEnhance.Contrast(cut[2]).enhance(0.7)
    return [again(image, 30), *(again(x, 80) for x in (*cut, *sizes, brighter, paler))]


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_copy_that_the_comparison_takes_for_the_picture_passes_either_way_round(modality):
    settings, pairs = LikenessSettings(), []
    for seed in range(4):
        image = Image.fromarray(picture(modality, 40 + seed, 256))
        pairs += [(thumbnail(image), thumbnail(copy)) for copy in copies(image)]
    pairs += [(other, one) for one, other in pairs]
    same = np.array([compare(one, other, settings).same for one, other in pairs])
    assert same.sum() >= 60
    assert passing(pairs, settings)[same].all()


def passing(pairs, settings) -> np.ndarray:
    looks = looks_of(np.stack([thumbnail for pair in pairs for thumbnail in pair]))
    return may_be_same(looks, range(0, 2 * len(pairs), 2), range(1, 2 * len(pairs), 2), settings)


def test_of_patients_with_near_hashes_most_need_no_comparison():
    images = [Image.fromarray(picture("cxr", seed, 128)) for seed in range(80)]
    hashes = [perceptual_hash(image) for image in images]
    near = [(i, j) for i in range(80) for j in range(i) if (hashes[i] ^ hashes[j]).bit_count() <= 10]
    pairs = [(thumbnail(images[i]), thumbnail(images[j])) for i, j in near]
    assert len(pairs) >= 50 and passing(pairs, LikenessSettings()).mean() < 0.1


def test_a_picture_passes_with_itself_whatever_pairs_stand_beside_it():
    thumbnails = np.stack([thumbnail(Image.fromarray(picture(m, 1, 128))) for m in MODALITIES])
    looks, settings = looks_of(thumbnails), LikenessSettings()
    ones, others = np.divmod(np.arange(16), 4)
    assert np.array_equal(may_be_same(looks, ones, others, settings), ones == others)
    assert may_be_same(looks, np.zeros(200, int), np.zeros(200, int), settings).all()
    assert len(may_be_same(looks, [], [], settings)) == 0


def test_flat_images_never_pass():
    looks = looks_of(np.full((2, 64, 64), 90, dtype=np.uint8))
    assert not may_be_same(looks, [0, 0], [0, 1], LikenessSettings()).any()


@pytest.mark.parametrize("modality", MODALITIES)
def test_hard_copies_among_look_alike_patients_are_found_and_no_patients_joined(modality, sample, search):
    patients = [Image.fromarray(picture(modality, seed, 192)) for seed in range(16)]
    samples = [sample(str(n), encoded(np.asarray(image), "PNG")) for n, image in enumerate(patients)]
    changed = [(n % 16, copy) for n, copy in enumerate(c for i in (0, 5) for c in copies(patients[i])[:3])]
    owners = [0, 0, 0, 5, 5, 5]
    samples += [sample(f"copy {n}", encoded(np.asarray(copy), "PNG")) for n, copy in changed]
    found = search(samples, settings=ImageSettings(distance=12)).images
    assert list(found.group[:16]) == list(range(16))
    assert list(found.group[16:]) == owners
