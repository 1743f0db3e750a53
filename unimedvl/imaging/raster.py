"""PNG, JPEG, TIFF, BMP and WebP, and pictures in memory, at 8 and 16 bits.

Pillow decodes them. Its pictures hold 16-bit greys but only 8-bit colours, so 16-bit colours are
decoded twice, once for the high bytes and once, by asking for the other byte order, for the low.
"""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image as PillowImage

from unimedvl.imaging.codestream import check_scans, webp_size
from unimedvl.imaging.errors import ImagingError, TooLarge
from unimedvl.imaging.image import ReadOptions
from unimedvl.imaging.metadata import says_made
from unimedvl.imaging.source import Source, check_pixels
from unimedvl.imaging.tiff import Layout, mend, opened, pages, unread, values
from unimedvl.imaging.windowing import (
    AUTO,
    FULL,
    PRESETS,
    apply_range,
    apply_window,
    full_range,
    preset_name,
    robust_range,
)

_ORIENTATION = 0x0112
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_SIXTEEN = ";16"


def read_raster(source: Source, kind: str, options: ReadOptions) -> tuple[np.ndarray, dict]:
    """Decode one page of a picture file.

    Returns:
        float32 [H, W, 3] in [0, 1], and the details.

    Raises:
        ImagingError: what is refused by a rule. Damaged files raise whatever Pillow raises.
    """
    picture = _open(source, kind, options.frame)
    details: dict = {}
    frames = _frames(source, kind, picture)
    source.check_frames(frames, "pages")
    if frames > 1:
        details.update(frame=picture.tell(), frames=frames)
    layout = mend(picture, source.name) if kind == "tiff" else None
    if kind in ("png", "tiff") and _has_wide_colour(picture, layout):
        stored = _decode_wide_colour(source, kind, options.frame, picture)
        picture.load()
        pixels, more = _from_colour(stored, 65535.0, source.name, options, layout and layout.premultiplied)
        more["bits"] = 16
    else:
        picture.load()
        pixels, more = _from_loaded(picture, source.name, options, layout)
    details.update(more)
    orientation = _orientation(picture)
    if orientation != 1:
        details["exif_orientation"] = orientation
    if says_made(picture):
        details["synthetic"] = True
    return np.ascontiguousarray(_turn(pixels, orientation)), details


def from_pillow(picture: PillowImage.Image, name: str, options: ReadOptions) -> tuple[np.ndarray, dict]:
    """A Pillow image, turned upright by its EXIF orientation. Returns and errors as `read_raster`."""
    check_pixels(name, *picture.size)
    layout = opened(picture, name)
    picture.load()
    pixels, details = _from_loaded(picture, name, options, layout)
    return np.ascontiguousarray(_turn(pixels, _orientation(picture))), details


def from_array(array: np.ndarray, name: str, options: ReadOptions) -> tuple[np.ndarray, dict]:
    """An array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; bool, uint8, uint16 or float in [0, 1].

    Grey arrays of any real type are taken if a window is given. Returns as `read_raster`.

    Raises:
        ImagingError: another shape or type, values out of range or not finite.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImagingError(name, f"has shape {list(array.shape)}; give [H, W], [H, W, 3] or [H, W, 4]")
    check_pixels(name, array.shape[1], array.shape[0])
    if array.dtype.kind not in "buif":
        raise ImagingError(name, f"has type {array.dtype}; give bool, uint8, uint16 or float in [0, 1]")
    grey = array if array.ndim == 2 else array[..., 0] if array.shape[2] == 1 else None
    if grey is not None and (options.window is not None or array.dtype in (np.uint8, np.uint16)):
        return _from_grey(grey, name, options)
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ImagingError(name, "has floats outside [0, 1]; scale them, or give a window if it is grey")
        top = 1.0
    elif array.dtype in (np.bool_, np.uint8, np.uint16):
        top = {"b": 1.0, "u": float(2 ** (8 * array.dtype.itemsize) - 1)}[array.dtype.kind]
    else:
        raise ImagingError(name, f"has type {array.dtype}; give bool, uint8, uint16 or float, or a window")
    if grey is not None:
        return _three(grey.astype(np.float32) / np.float32(top)), {"photometric": "grey"}
    return _from_colour(array, top, name, options)


def _open(source: Source, kind: str, frame: int | None) -> PillowImage.Image:
    """Open the header, check the size, go to the wanted page. No pixel is decoded yet."""
    if kind == "webp" and (size := webp_size(source.head(30))):  # Pillow makes room for it when it opens it
        source.check_pixels(*size)
    source.stream.seek(0)
    try:
        picture = PillowImage.open(source.stream, formats=(kind.upper(),))
    except PillowImage.DecompressionBombError as error:
        most = source.bounds.pixels / 1e6
        raise TooLarge(source.name, f"is over {most:.4g} megapixels; at most {most:.4g} are read") from error
    except PillowImage.UnidentifiedImageError as error:
        if kind == "tiff":
            raise unread(source.stream, source.name, 0) from error
        problem = f"starts like a {kind.upper()} but is damaged, truncated or of a layout that is not read"
        raise ImagingError(source.name, problem) from error
    _check_page(source, kind, picture)
    if frame is not None:
        frames = _frames(source, kind, picture)
        source.check_frames(frames, "pages")
        if not 0 <= frame < frames:
            raise ImagingError(source.name, _out_of_range("frame", frame, frames))
        try:
            picture.seek(frame)
        except SyntaxError as error:  # a page of another layout than the first
            raise unread(source.stream, source.name, frame) from error
        _check_page(source, kind, picture)
    return picture


def _check_page(source: Source, kind: str, picture: PillowImage.Image) -> None:
    """Refuse an opened page whose pixels would take too much room or time to decode."""
    source.check_pixels(*picture.size)
    if kind == "tiff":
        tile = [int(picture.tag_v2.get(tag, 1)) for tag in (_TILE_WIDTH, _TILE_LENGTH)]
        if min(tile) > 0 and tile[0] * tile[1] > source.bounds.pixels:  # libtiff decodes whole tiles
            raise TooLarge(source.name, f"has tiles of {tile[0]} x {tile[1]} pixels; it is damaged")
    elif kind == "jpeg":
        source.stream.seek(0)
        check_scans(source.stream.read(), source.name)


def _frames(source: Source, kind: str, picture: PillowImage.Image) -> int:
    return pages(source.stream) if kind == "tiff" else getattr(picture, "n_frames", 1)


def _out_of_range(what: str, wanted: int, count: int) -> str:
    if count == 1:
        return f"has one {what}; {what} {wanted} is out of range, leave it out or give 0"
    return f"has {count} {what}s; {what} {wanted} is out of range, give 0 to {count - 1}"


def _from_loaded(
    picture: PillowImage.Image, name: str, options: ReadOptions, layout: Layout | None = None
) -> tuple[np.ndarray, dict]:
    """Any Pillow mode to float RGB. layout: of a TIFF."""
    transparent = "transparency" in picture.info or picture.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    if picture.mode in _WIDE_MODES:
        return _from_wide_grey(picture, name, options, layout)
    if picture.mode in ("1", "L") and not transparent:
        grey = np.asarray(picture.convert("L"))
        return _from_grey(values(picture, layout) if layout and layout.bits[0] == 8 else grey, name, options)
    if picture.mode in ("La", "RGBa"):  # Pillow would divide by alpha, and lose levels
        stored = np.asarray(picture)
        stored = stored[..., [0, 0, 0, 1]] if picture.mode == "La" else stored
        return _from_colour(stored, 255.0, name, options, premultiplied=True)
    if transparent:
        premultiplied = layout is not None and layout.premultiplied
        return _from_colour(np.asarray(picture.convert("RGBA")), 255.0, name, options, premultiplied)
    pixels, details = _from_colour(np.asarray(picture.convert("RGB")), 255.0, name, options)
    if picture.mode == "P":
        details["photometric"] = "palette"
    return pixels, details


def _from_wide_grey(
    picture: PillowImage.Image, name: str, options: ReadOptions, layout: Layout | None
) -> tuple[np.ndarray, dict]:
    """Greys of more than 8 bits, turned over where the smallest value is white, with "nothing here" as white."""
    grey = np.asarray(picture) if layout is None else values(picture, layout)
    turned = layout is not None and layout.white_is_zero  # Pillow turns 8 bits over, and no more
    if turned and grey.dtype.kind == "u":
        grey = np.iinfo(grey.dtype).max - grey
    pixels, details = _from_grey(grey, name, options)
    if turned and grey.dtype.kind != "u":
        pixels = 1 - pixels
    if "transparency" in picture.info:  # of a PNG: one grey that stands for "nothing here"
        pixels[np.asarray(picture) == picture.info["transparency"]] = 1
        details["alpha"] = "over white"
    return pixels, details


def _from_grey(values: np.ndarray, name: str, options: ReadOptions) -> tuple[np.ndarray, dict]:
    """Grey values by the window asked for, or by the range of their type."""
    details: dict = {"photometric": "grey", "bits": 8 * values.dtype.itemsize}
    if isinstance(options.window, tuple):
        details["window"] = [float(v) for v in options.window]
        grey = apply_window(values, *details["window"], "LINEAR_EXACT")
    elif options.window is None and values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        details["range"] = [0, _top(values)]
        grey = values.astype(np.float32) / np.float32(details["range"][1])
    else:
        word = preset_name(options.window or AUTO)
        if word not in (AUTO, FULL):
            why = "is in Hounsfield units, which this is not" if word in PRESETS else "is not known"
            raise ImagingError(name, f"window {options.window!r} {why}; give center,width, auto or full")
        try:
            low, high = (full_range if word == FULL else robust_range)(values)
        except ValueError as error:
            raise ImagingError(name, str(error)) from error
        details.update(window=word, range=[low, high])
        grey = apply_range(np.nan_to_num(values, nan=low) if values.dtype.kind == "f" else values, low, high)
    return _three(grey), details


def _top(values: np.ndarray) -> int:
    """The value that is white: 255, 65535, or 4095 and 1023 for such data in 16 bits.

    16-bit files of 10 and 12-bit detectors are common and would be nearly black at full scale;
    a true 16-bit picture whose brightest pixel is below one sixteenth of white is not.
    """
    if values.dtype.itemsize == 1:
        return 255
    brightest = int(values.max())
    if 255 < brightest < 1024:
        return 1023
    return 4095 if 255 < brightest < 4096 else 65535


def _from_colour(
    stored: np.ndarray, top: float, name: str, options: ReadOptions, premultiplied: bool | None = False
) -> tuple[np.ndarray, dict]:
    """[H, W, 3 or 4] stored values to float RGB; alpha is laid over white, as the web shows it."""
    if options.window is not None:
        raise ImagingError(name, "is a colour image, which has no window; leave out the window")
    colour = stored[..., :3].astype(np.float32) / np.float32(top)
    if stored.shape[2] == 3:
        return colour, {"photometric": "RGB"}
    alpha = stored[..., 3:].astype(np.float32) / np.float32(top)
    over_black = np.minimum(colour, alpha) if premultiplied else colour * alpha
    return over_black + (1 - alpha), {"photometric": "RGB", "alpha": "over white"}


def _three(grey: np.ndarray) -> np.ndarray:
    """[H, W] to [H, W, 3]."""
    return np.repeat(grey[..., None], 3, axis=2)


def _has_wide_colour(picture: PillowImage.Image, layout: Layout | None) -> bool:
    """Whether colours are stored with 16 bits, of which Pillow alone would keep 8. layout: of a TIFF."""
    if layout is not None:
        return len(layout.bits) > 1 and max(layout.bits) > 8
    return any(_SIXTEEN in str(tile.args) for tile in picture.tile) and picture.mode not in _WIDE_MODES


def _decode_wide_colour(
    source: Source, kind: str, frame: int | None, high: PillowImage.Image
) -> np.ndarray:
    """16-bit [H, W, 3] or [H, W, 4] of a PNG or TIFF.

    Raises:
        ImagingError: layouts whose low bytes Pillow cannot give: CMYK, more than 16 bits.
    """
    advice = "save it as 16-bit RGB in interleaved (chunky) order, or as 8-bit"
    raw = [_raw_mode(tile.args) for tile in high.tile]
    low = _open(source, kind, frame)
    if raw == ["LA;16B"]:
        # 16-bit grey and alpha take four bytes a pixel, like 8-bit RGBA, and are filtered alike.
        low.tile = [tile._replace(args="RGBA") for tile in low.tile]
        four = np.asarray(low).astype(np.uint16)
        grey, alpha = four[..., 0] << 8 | four[..., 1], four[..., 2] << 8 | four[..., 3]
        return np.stack([grey, grey, grey, alpha], axis=-1)
    if any(mode.split(_SIXTEEN)[0] not in ("RGB", "RGBA", "RGBX") or _SIXTEEN not in mode for mode in raw):
        stored = raw[0] if raw else "no"
        raise ImagingError(source.name, f"holds {stored} pixels, which are not read; {advice}")
    low.tile = [tile._replace(args=_other_byte_order(tile.args)) for tile in high.tile]
    wide = np.asarray(high).astype(np.uint16) << 8 | np.asarray(low).astype(np.uint16)
    if "transparency" in high.info:                   # one colour that stands for "nothing here"
        key = np.array(high.info["transparency"], np.uint16)
        alpha = np.where((wide[..., :3] == key).all(axis=-1), 0, 65535).astype(np.uint16)
        wide = np.concatenate([wide[..., :3], alpha[..., None]], axis=-1)
    return wide


def _raw_mode(args: object) -> str:
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _other_byte_order(args: object) -> object:
    """Tile arguments with the raw mode that takes the other byte of every pair."""
    mode = _raw_mode(args)
    native = "L" if sys.byteorder == "little" else "B"
    order = native if mode[-1] == "N" else mode[-1]
    swapped = mode[:-1] + ("B" if order == "L" else "L")
    return swapped if isinstance(args, str) else (swapped, *args[1:])


def _orientation(picture: PillowImage.Image) -> int:
    """The EXIF orientation still to be applied, 1 to 8. (Pillow itself turns TIFFs upright.)

    A camera's damaged EXIF block says nothing of the pixels, so it counts as none.
    """
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - broken EXIF raises anything, and the picture is still good
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn [H, W, 3] upright, by the orientation tag of EXIF 2.3."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
