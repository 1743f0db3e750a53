"""What a TIFF says of its pixels (TIFF 6.0), and where Pillow would read that wrongly or not at all.

Pillow knows some layouts of pixels and takes a few more for what they are not. `mend` puts the latter right
before pixels are decoded, `values` after, and `unread` says in words what a layout is that nothing here reads.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from PIL import Image as PillowImage
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from unimedvl.imaging.errors import ImagingError

_WIDTH, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _EXTRA, _FORMAT = 256, 258, 262, 277, 284, 338, 339
_WHITE_IS_ZERO = 0
_PREMULTIPLIED, _ALPHA = 1, 2
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_WORDS = {_UNSIGNED: "unsigned integer", _SIGNED: "signed integer", _FLOAT: "float"}
_COLOURS = {2: 3, 5: 4, 6: 3, 8: 3}  # by photometric interpretation; all others have one channel
_BIG = b"II+\x00"  # a BigTIFF, whose header and offsets are longer
_BIG_TURNED = b"MM\x00+"
_FAR = 2**63  # no file reaches so far


@dataclass(frozen=True)
class Layout:
    """How a page stores its pixels.

    bits: of each sample. kind: 1 unsigned, 2 signed, 3 floats, others as in tag 339. colours: samples that are
    no extra ones. extra: what the extra samples are, as in tag 338. planes: stored one after the other.
    """

    bits: tuple[int, ...]
    kind: int
    colours: int
    extra: tuple[int, ...]
    planes: bool
    white_is_zero: bool

    @property
    def premultiplied(self) -> bool:
        """Whether colours are stored as they are over black (associated alpha)."""
        return self.extra[:1] == (_PREMULTIPLIED,)

    @property
    def has_alpha(self) -> bool:
        return self.extra[:1] in ((_PREMULTIPLIED,), (_ALPHA,))

    def __str__(self) -> str:
        count, sizes = len(self.bits), "-".join(map(str, sorted(set(self.bits))))
        kind = _WORDS.get(self.kind, "sample of an unknown kind")
        words = f"{f'{count} x' if count > 1 else 'one'} {sizes}-bit {kind}"
        words += " whose smallest value is white" if self.white_is_zero else ""
        words += " with premultiplied alpha" if self.premultiplied else " with alpha" if self.has_alpha else ""
        return words + (" in separate planes" if self.planes and count > 1 else "")

    @property
    def advice(self) -> str:
        """What to save it as."""
        if self.colours > 1:
            return "save it as 8-bit or unsigned 16-bit RGB in interleaved (chunky) order"
        if self.extra:
            return "save it as grey alone, or as 8-bit grey and alpha, not premultiplied, in interleaved (chunky) order"
        if self.white_is_zero:
            return "save it with its smallest value as black"
        return "save it as 32-bit float, or as integers of 8, 16 or 32 bits"


def layout(tags: ImageFileDirectory_v2) -> Layout:
    """The layout by a page's tags. Raises KeyError, TypeError or ValueError where these are damaged."""
    bits, kinds = tuple(tags.get(_BITS, (1,))), tuple(tags.get(_FORMAT, (_UNSIGNED,)))
    samples = int(tags.get(_SAMPLES, len(bits)))
    photometric = tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO)
    if len(bits) == 1:
        bits *= min(samples, 16)
    return Layout(
        bits,
        kinds[0] if len(set(kinds)) == 1 else 0,
        _COLOURS.get(photometric, 1),
        tuple(tags.get(_EXTRA, ())),
        tags.get(_PLANAR, 1) == 2,
        photometric == _WHITE_IS_ZERO,
    )


def opened(picture: PillowImage.Image, name: str) -> Layout | None:
    """The layout of a Pillow image that somebody else opened; None where it is no TIFF. Raises as `mend`."""
    tags = getattr(picture, "tag_v2", None)
    if tags is None:
        return None
    # Once its pixels are loaded, it is too late to mend, and Pillow has divided colours by alpha.
    return mend(picture, name) if picture.tile else replace(layout(tags), extra=())


def mend(picture: PillowImage.Image, name: str) -> Layout:
    """Have a page that Pillow has opened decoded as it is stored. To be called before its pixels are loaded.

    Premultiplied colours are left premultiplied, at their full precision.

    Raises:
        ImagingError: separate planes that Pillow would mix up, or colours of which it would keep half the bits.
    """
    stored = layout(picture.tag_v2)
    wide = max(stored.bits) > 8 and len(stored.bits) > 1
    # Of separate planes Pillow reads those of 8-bit RGB, RGBA and CMYK; samples of no meaning it leaves out.
    if stored.planes and (wide or (stored.has_alpha and (stored.colours == 1 or stored.premultiplied))):
        raise refusal(stored, name)
    if stored.premultiplied and stored.colours == 1:  # which Pillow reads from its version 13 on
        raise refusal(stored, name)
    picture.tile = [tile._replace(args=_mended(tile)) for tile in picture.tile]
    return stored


def _mended(tile) -> object:
    """A tile's arguments with a raw mode that reads what is there.

    libtiff hands out values in the machine's byte order; Pillow takes signed values and floats for the file's.
    """
    args = tile.args
    mode = args if isinstance(args, str) else args[0] if args else ""
    if not isinstance(mode, str):
        return args
    mended = mode.replace("RGBa", "RGBA")
    if tile.codec_name == "libtiff" and mode[-2:] in ("BS", "BF"):
        mended = mode[:-2] + "N" + mode[-1]
    return mended if isinstance(args, str) else (mended, *args[1:])


def values(picture: PillowImage.Image, stored: Layout) -> np.ndarray:
    """Grey values of a loaded page in the type that they are stored in: [H, W]."""
    array = np.asarray(picture)
    if stored.kind == _SIGNED and array.dtype == np.uint8:
        return array.view(np.int8)
    if stored.kind == _SIGNED and stored.bits[0] == 16:
        return array.astype(np.int16)
    if stored.kind == _UNSIGNED and array.dtype == np.int32:
        return array.view(np.uint32)
    return array


def unread(stream: BinaryIO, name: str, frame: int) -> ImagingError:
    """What to raise for a page that Pillow does not open: its layout in words, or that it is damaged."""
    stream.seek(0)
    if stream.read(4) == _BIG_TURNED:
        return ImagingError(name, "is a big-endian BigTIFF, which is not read; save it as little-endian, or as TIFF")
    damaged = ImagingError(name, "starts like a TIFF but is damaged, truncated or of a layout that is not read")
    try:
        tags = _tags(stream, frame)
        stored = layout(tags)
    except Exception:  # noqa: BLE001 - damaged tags raise anything
        return damaged
    wide = max(stored.bits, default=1) > 8
    usual = stored.kind == _UNSIGNED and not stored.planes and not wide
    usual = usual and not (stored.premultiplied and stored.colours == 1)
    return damaged if usual or not {_BITS, _WIDTH} <= set(tags) else refusal(stored, name)


def _tags(stream: BinaryIO, frame: int) -> ImageFileDirectory_v2:
    stream.seek(0)
    head = stream.read(8)
    tags = ImageFileDirectory_v2(head + stream.read(8) if head.startswith(_BIG) else head)
    for _ in range(frame + 1):
        stream.seek(tags.next)
        tags.load(stream)
    return tags


def pages(stream: BinaryIO) -> int:
    """How many pages there are, at least 1, by the chain of their directories alone.

    Pillow counts too, but fails if any page is of a layout that it does not know.
    """
    stream.seek(0)
    head = stream.read(16)
    order, big = ("<" if head[:2] == b"II" else ">"), head.startswith(_BIG)
    count_format, offset_format, entry = ("Q", "Q", 20) if big else ("H", "I", 12)

    def number(code: str) -> int:
        raw = stream.read(struct.calcsize(order + code))
        return struct.unpack(order + code, raw)[0] if len(raw) == struct.calcsize(order + code) else 0

    seen: set[int] = set()
    stream.seek(8 if big else 4)
    place = number(offset_format)
    while place and place not in seen and place < _FAR:
        seen.add(place)
        stream.seek(place)
        stream.seek(place + struct.calcsize(count_format) + entry * min(number(count_format), 65535))
        place = number(offset_format)
    return max(1, len(seen))


def refusal(stored: Layout, name: str) -> ImagingError:
    return ImagingError(name, f"holds pixels of {stored}, which are not read; {stored.advice}")

