"""The one way in which a made picture becomes a file: watermark, then metadata, then a signed manifest."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from unimedvl.imaging.image import Original
from unimedvl.imaging.metadata import JPEG_PACKET, chunks, digest_of, packet
from unimedvl.imaging.output import FORMATS, check_output, write_whole
from unimedvl.imaging.source import check_pixels
from unimedvl.provenance import manifest
from unimedvl.provenance.credentials import Credentials
from unimedvl.provenance.watermark import embed

Format = Literal["png", "jpeg", "webp"]
# Tasks whose pictures are labels: what a pixel means hangs on its value, so no pixel is touched.
LABELS = ("segment",)


def payload_of(provenance: dict) -> int:
    """The 24 bits that the watermark carries: the first of the SHA-256 of the provenance."""
    return int(digest_of(provenance)[:6], 16)


def watermarked(array: np.ndarray, provenance: dict) -> np.ndarray:
    """The picture [H, W, 3] uint8 with the watermark of its provenance; labels are returned as they are.

    Raises:
        ValueError: another shape or type. TypeError: a provenance that is no JSON.
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"a made picture is [H, W, 3] uint8, not {list(array.shape)} {array.dtype}")
    check_pixels("<picture>", array.shape[1], array.shape[0])
    if provenance.get("task") in LABELS:
        return array
    return embed(array, payload_of(provenance))


def encoded(
    array: np.ndarray,
    provenance: dict,
    format: Format = "png",
    *,
    originals: Sequence[Original] = (),
    quality: int = 90,
    signer: Credentials | None = None,
) -> bytes:
    """A made picture as a file, marked in every way there is.

    The same call gives the same pixels and provenance; the manifest holds the time and random identifiers.

    Args:
        array: [H, W, 3] uint8 RGB as the model drew it.
        provenance: what can be written as JSON: task, weights hash, seed, settings, versions, hashes of inputs.
        originals: the files that it was made from (`Image.original`).
        quality: of JPEG and WebP, 1 to 100.
        signer: whose manifest it is; `find_credentials()` where None. Without c2pa-python there is no manifest.

    Raises:
        ValueError: another shape, type or format. TypeError: a provenance that is no JSON.
        ProvenanceError: it can't be signed.
    """
    return written(
        watermarked(array, provenance), provenance, format, originals=originals, quality=quality, signer=signer
    )


def written(
    marked: np.ndarray,
    provenance: dict,
    format: Format = "png",
    *,
    originals: Sequence[Original] = (),
    quality: int = 90,
    signer: Credentials | None = None,
    sign: bool = True,
) -> bytes:
    """The file of a picture that has its watermark already; all else as in `encoded`. sign: with a manifest."""
    if format not in manifest.TYPES or format == "tiff":
        raise ValueError(f"the format is {format!r}; it must be png, jpeg or webp")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; it must be from 1 to 100")
    options: dict
    if format == "png":
        options = {"pnginfo": chunks(provenance)}
    else:
        digest = digest_of(provenance)
        whole = packet(provenance, digest)
        fits = format == "webp" or len(whole) <= JPEG_PACKET
        options = {"quality": quality, "xmp": whole if fits else packet({}, digest)}
    stream = io.BytesIO()
    Image.fromarray(marked).save(stream, format.upper(), **options)
    data = stream.getvalue()
    if not sign or not manifest.available():
        return data
    return manifest.signed(data, format, provenance, originals, signer)


def save(
    array: np.ndarray, path: str | os.PathLike, provenance: dict, originals: Sequence[Original] = ()
) -> Path:
    """Write a made picture as PNG, JPEG or WebP, by the name's ending, whole or not at all; links are followed.

    Raises:
        ImagingError: as `imaging.check_output`, or the disk is full. Else as `encoded`.
    """
    kind = FORMATS[check_output(path).suffix.lower()]
    return write_whole(encoded(array, provenance, kind, originals=originals), path)
