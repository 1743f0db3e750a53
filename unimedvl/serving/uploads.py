"""Images that strangers send: bytes of a form and data URLs, refused in one sentence or read.

What a file is, is told from its content. Its name is a word for messages and never a path, and nothing that is sent is
written to a file of that name. Sizes are told from headers before pixels are decoded (`unimedvl.imaging.Bounds`); the
decoding itself, which is other people's C code, belongs into processes of its own (`unimedvl.serving.decoding`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unimedvl.imaging import Image, ImagingError, ReadOptions, parse_window, read_image
from unimedvl.imaging.errors import NotAnImage, TooLarge
from unimedvl.serving.limits import Limits

if TYPE_CHECKING:
    from unimedvl.serving.decoding import Decoders

# What a data URL or the part of a form may say that it is, and the kind that it then must be; "" for any.
TYPES = {
    "image/png": "png", "image/x-png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/pjpeg": "jpeg",
    "image/webp": "webp", "image/tiff": "tiff", "image/bmp": "bmp", "image/x-ms-bmp": "bmp",
    "application/dicom": "dicom", "image/dicom": "dicom", "application/nifti": "nifti", "image/nifti": "nifti",
    "application/gzip": "nifti", "application/x-gzip": "nifti", "application/octet-stream": "", "image/*": "", "": "",
}  # fmt: skip
_LONGEST_NAME = 60
_DATA_URL = re.compile(r"data:([^;,]{0,100})((?:;[^;,]{0,100}){0,8}),", re.IGNORECASE)
_STATUS = ((TooLarge, 413), (NotAnImage, 415))


class Refused(ValueError):
    """An image that is not taken. status: 400, 413, 415 or 422 of HTTP; the message is one sentence for its sender."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = {413: "image_too_large", 415: "unsupported_image"}.get(status, "invalid_image")


def read_upload(
    data: bytes,
    name: str,
    limits: Limits,
    options: ReadOptions | None = None,
    *,
    decoders: Decoders | None = None,
    declared: str = "",
) -> Image:
    """Read an image that was sent.

    name: what it is called in messages and in the result; of a path only its last part.
    decoders: the processes that decode it; in this process where left out.
    declared: the type that its sender says it is, which it must be.

    Raises:
        Refused: one sentence that begins with the name.
    """
    called, kind = label(name), _declared_kind(declared, name)
    if len(data) > limits.file_bytes:
        raise Refused(413, f"{called}: is {_mib(len(data))}; at most {_mib(limits.file_bytes)} are taken")
    options = options or ReadOptions()
    if decoders is not None:
        image = decoders.read(data, called, options)
    else:
        image = read_within(data, called, limits, options)
    if kind and image.kind != kind:
        raise Refused(415, f"{called}: says it is {declared[:40]} but is {image.kind.upper()}; say what it is")
    return image


def read_within(data: bytes, name: str, limits: Limits, options: ReadOptions) -> Image:
    """`read_image` within the limits, whose refusals are told with a status. Raises Refused."""
    try:
        return replace(read_image(data, options, limits.bounds), source=name)
    except ImagingError as error:
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 422)
        raise Refused(status, f"{name}: {error.problem}") from None  # its cause's message may hold what the file says


def from_data_url(
    url: str,
    limits: Limits,
    options: ReadOptions | None = None,
    *,
    name: str = "image",
    decoders: Decoders | None = None,
) -> Image:
    """Read the image of a ``data:TYPE;base64,...`` URL.

    Raises:
        Refused: it is no such URL, its base64 is wrong, or it holds another type than it says.
    """
    declared, data = parse_data_url(url, limits, name)
    return read_upload(data, name, limits, options, decoders=decoders, declared=declared)


def parse_data_url(url: str, limits: Limits, name: str = "image") -> tuple[str, bytes]:
    """The type that a data URL says, and its bytes. Raises Refused."""
    called = label(name)
    found = _DATA_URL.match(url)
    if found is None:
        raise Refused(400, f"{called}: is no data URL; give data:image/png;base64,... with the image's own type")
    declared, parameters = found[1].strip().lower(), found[2].lower().split(";")
    _declared_kind(declared, name)
    if "base64" not in (word.strip() for word in parameters):
        raise Refused(400, f"{called}: is a data URL without ;base64, which is the only form that is taken")
    length = len(url) - found.end()
    if length * 3 // 4 > limits.file_bytes + 3:
        raise Refused(413, f"{called}: is {_mib(length * 3 // 4)}; at most {_mib(limits.file_bytes)} are taken")
    try:
        return declared, base64.b64decode(url[found.end() :].encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Refused(400, f"{called}: its base64 is wrong or cut off") from None


def read_options(given: Mapping[str, Any]) -> ReadOptions:
    """Which part of an image is read, from the strings of a form; other fields of it are passed over.

    frame, slice, volume: whole numbers from 0. plane: axial, coronal or sagittal. window: ``40,400`` or a name.

    Raises:
        Refused: a value that is none, named.
    """
    numbers = {key: _count(key, given.get(key)) for key in ("frame", "slice", "volume")}
    plane, window = (str(given.get(key) or "").strip() or None for key in ("plane", "window"))
    try:
        return ReadOptions(
            **numbers, plane=plane and plane.lower(), window=parse_window(window[:100]) if window else None
        )
    except ValueError as error:  # ImagingError too
        raise Refused(400, str(error)) from None


def label(name: str) -> str:
    """What an upload is called in messages: the last part of its name, in one short line."""
    last = re.split(r"[/\\]", str(name))[-1]
    words = " ".join("".join(c if c.isprintable() else " " for c in last).split())
    return words[:_LONGEST_NAME] if words.strip(".") else "image"


def _declared_kind(declared: str, name: str) -> str:
    kind = TYPES.get(declared.partition(";")[0].strip().lower())
    if kind is None:
        raise Refused(415, f"{label(name)}: is said to be {label(declared.replace('/', ' '))}, which is no image read "
                           "here; give PNG, JPEG, TIFF, BMP, WebP, DICOM or NIfTI")
    return kind


def _count(key: str, value: Any) -> int | None:
    """A whole number from 0 that JSON or a form holds; None where it holds nothing."""
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Refused(400, f"{key}: must be a whole number from 0")
    return int(text)


def _mib(count: int) -> str:
    return f"{count / 2**20:.4g} MiB"
