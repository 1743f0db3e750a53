"""What is kept of an image and of a text, so that the same one is found again without holding it."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import unicodedata
from functools import cache
from typing import Annotated

import numpy as np
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field

from unimedvl.data.error import DataError
from unimedvl.data.record import Sha256, sha256

VERSION = "1"  # another one where the same image or text could get another hash
# Words of a shingle, and how a text's MinHash is cut: 12 bands of 5 find 99.1% of pairs of Jaccard 0.8.
SHINGLE, BANDS, ROWS, SEED = 3, 12, 5, 1
# Chinese and Japanese have no blanks between words: each character is one.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # grey of more than 8 bits, as Pillow calls it
_ORIENTATION = 0x0112  # the Exif tag

Code = Annotated[int, Field(ge=0, lt=2**64)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageHash(_Strict):
    """data: of the encoded bytes. pixels: of the picture, however encoded. perceptual: 64 bits, near for like ones."""

    data: Sha256
    pixels: Sha256
    perceptual: Code


class TextHash(_Strict):
    """exact: of the words, whatever their case, signs and blanks. bands: of MinHash. words: how many there are."""

    exact: Sha256
    bands: tuple[Code, ...]
    words: int = Field(ge=0)


def decode(data: bytes, name: str) -> Image.Image:
    """An encoded image in the one form that is hashed: upright, 8-bit RGB, RGBA where something shines through,
    or 32-bit grey where the file has more than 8 bits. Of several frames it is the first. name: for an error.

    Raises:
        DataError: it is no image, or damaged.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return fixed_form(opened)
    # A damaged file raises nearly anything, by format.
    except (
        OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, struct.error,
        Image.DecompressionBombError,
    ) as error:  # fmt: skip
        raise DataError(f"{name}: no image that can be decoded: {error}") from error


def fixed_form(image: Image.Image) -> Image.Image:
    """The form of `decode`, of an image that is opened already; the image itself where it has that form."""
    image.load()  # for a PNG may have its Exif after its pixels
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP:
        return image.convert("F" if image.mode == "F" else "I")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        if clear.getchannel("A").getextrema() != (255, 255):
            return clear
    return image if image.mode == "RGB" else image.convert("RGB")


def hash_image(data: bytes, name: str) -> ImageHash:
    """All hashes of an encoded image. Raises DataError as `decode`."""
    return hash_decoded(data, decode(data, name))


def hash_decoded(data: bytes, image: Image.Image) -> ImageHash:
    """The same where the caller has decoded it. image: in the form of `decode`."""
    return ImageHash(data=sha256(data), pixels=pixel_hash(image), perceptual=perceptual_hash(image))


def pixel_hash(image: Image.Image) -> str:
    """SHA-256 of the form, the size and the pixels of an image in the form of `decode`."""
    hashed = hashlib.sha256(f"{image.mode} {image.width} {image.height}\n".encode())
    hashed.update(image.tobytes())
    return hashed.hexdigest()


def perceptual_hash(image: Image.Image) -> int:
    """pHash: signs of the 8 x 8 lowest DCT coefficients of the 32 x 32 grey image, against their median (`imagehash`).

    image: in the form of `decode`, or `reduced` already. The first coefficient is the highest bit.
    """
    import imagehash

    bits = imagehash.phash(reduced(image)).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def reduced(image: Image.Image) -> Image.Image:
    """An image in the form of `decode` as 8-bit grey, averaged over squares while both sides stay at 128 or more, which
    takes a fraction of the time that a filter down to less does. One that is so already stays as it is.
    """
    small = image if image.mode == "L" else grey(image)
    factor = max(1, min(small.size) // 128)
    return small.reduce(factor) if factor > 1 else small


def grey(image: Image.Image) -> Image.Image:
    """An image in the form of `decode` as 8-bit grey; one of more bits is stretched from its least to its largest."""
    if image.mode not in ("I", "F"):
        return image.convert("L")
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    low, high = values.min(), values.max()
    return Image.fromarray(((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8))


def words_of(text: str) -> list[str]:
    """The words of a text in order, without case and signs; each Chinese or Japanese character is a word."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def shingles(words: list[str]) -> frozenset[str]:
    """All runs of 3 words; of fewer words, the one run of them all; none of none."""
    if not words:
        return frozenset()
    return frozenset(" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1)))


def hash_text(text: str) -> TextHash:
    """The hashes of a text. Those of the empty text are equal to each other, and its bands are none."""
    from datasketch import MinHash

    words = words_of(text)
    exact = sha256(" ".join(words).encode())
    if not words:
        return TextHash(exact=exact, bands=(), words=0)
    hashed = MinHash(num_perm=BANDS * ROWS, seed=SEED, scheme="affine32", permutations=_permutations())
    hashed.update_batch([s.encode() for s in sorted(shingles(words))])
    bands = hashed.hashvalues.astype("<u4").reshape(BANDS, ROWS)
    return TextHash(exact=exact, bands=tuple(short_key(b.tobytes()) for b in bands), words=len(words))


@cache
def _permutations() -> tuple:
    """Those of the seed: making them takes longer than a short text's hash."""
    from datasketch import MinHash

    return MinHash(num_perm=BANDS * ROWS, seed=SEED, scheme="affine32").permutations


def short_key(data: bytes) -> int:
    """64 bits of a hash, for columns."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
