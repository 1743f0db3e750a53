"""Hashes of images and texts."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unimedvl.data.duplicates.hashes import (
    BANDS,
    decode,
    hash_image,
    hash_text,
    perceptual_hash,
    reduced,
    shingles,
    words_of,
)
from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture


def file_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_the_same_pixels_have_one_hash_however_they_are_encoded():
    image = Image.fromarray(picture("cxr", 1)).convert("L")
    forms = [
        file_of(image),
        file_of(image, compress_level=0),
        file_of(image, "BMP"),
        file_of(image.convert("RGB")),
        file_of(image.convert("P")),
        file_of(image.convert("RGBA")),
        file_of(image, "TIFF"),
    ]
    hashes = [hash_image(form, "a") for form in forms]
    assert len({h.pixels for h in hashes}) == 1 and len({h.perceptual for h in hashes}) == 1
    assert len({h.data for h in hashes}) == len(forms)


def test_a_turned_file_is_hashed_upright():
    image = Image.fromarray(picture("cfp", 1)).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright = hash_image(encoded(picture("cfp", 1), "PNG"), "a")
    assert hash_image(file_of(image, exif=exif), "a").pixels == upright.pixels


def test_sixteen_bits_are_not_cut_to_eight():
    eight = picture("cxr", 1)[..., 0]
    values = eight.astype(np.uint16) * 16
    other = values.copy()
    other[3, 3] += 1
    one, two = (hash_image(file_of(Image.fromarray(v)), "a") for v in (values, other))
    assert one.pixels != two.pixels
    # Its grey is stretched over all levels, and so looks as the 8-bit image does.
    assert (one.perceptual ^ perceptual_hash(Image.fromarray(eight))).bit_count() <= 2


def test_what_shines_through_is_part_of_the_picture():
    clear = Image.fromarray(picture("cxr", 1)).convert("RGBA")
    clear.putpixel((3, 3), (*clear.getpixel((3, 3))[:3], 0))
    assert hash_image(file_of(clear), "a").pixels != hash_image(encoded(picture("cxr", 1), "PNG"), "a").pixels


@pytest.mark.parametrize("size", [(384, 384), (300, 129), (64, 200), (1000, 700)])
def test_what_is_reduced_already_is_hashed_alike(size):
    image = Image.fromarray(picture("his", 1, 256)).resize(size)
    small = reduced(image)
    assert small.mode == "L" and reduced(small) is small
    assert min(small.size) >= min(128, *size) and min(small.size) < 256
    assert perceptual_hash(small) == perceptual_hash(image)


@pytest.mark.parametrize("data", [b"", b"no image", encoded(picture("cxr", 1))[:900]])
def test_what_is_no_image_is_an_error_that_names_it(data):
    with pytest.raises(DataError, match=r"a\.png: no image that can be decoded"):
        decode(data, "a.png")


def test_words_and_shingles():
    assert words_of("The LEFT lung,\n3.5 cm!") == ["the", "left", "lung", "3", "5", "cm"]
    assert words_of("左肺有结节 CT") == [*"左肺有结节", "ct"]
    assert shingles(["a", "b", "c", "d"]) == {"a b c", "b c d"}
    assert shingles(["no"]) == {"no"} and shingles([]) == frozenset()


def test_a_texts_hash_is_that_of_its_words_and_the_same_in_every_process():
    one = hash_text("Findings: The heart is normal.")
    assert one == hash_text("findings - the HEART is\nnormal") and one.words == 5
    # Fixed, so that prints of two runs, or two machines, fit together.
    assert len(one.bands) == BANDS and one.bands[0] == 16644628018091554489
    assert hash_text(" . ").bands == () and hash_text("").exact == hash_text("!").exact


@given(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=30))
def test_words_order_only_matters_through_shingles(words):
    again = hash_text(" ".join(words))
    assert again.words == len(words)
    assert hash_text(" ".join(words).upper()) == again
