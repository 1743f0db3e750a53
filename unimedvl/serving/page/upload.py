"""An image of a tab: its file, how it is looked at, and which controls fit it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PIL import Image as PillowImage

from unimedvl.imaging import PRESETS, Image, ReadOptions
from unimedvl.imaging.image import PLANES
from unimedvl.serving.uploads import Refused, read_upload

if TYPE_CHECKING:
    import numpy as np

    from unimedvl.hospital.context import StudyContext
    from unimedvl.serving.service import Service

# How a window may be chosen, beside the named ones of CT.
AS_SAVED, CUSTOM = "as in the file", "center and width"
ANY_WINDOWS = ("auto", "full")
# The longest side of what is shown; the model is given the whole.
_SHOWN = 768
_THUMB = 384


@dataclass(frozen=True)
class Item:
    """One image. data: its file. image: as it is looked at now, which is what the model is given."""

    name: str
    data: bytes
    image: Image
    options: ReadOptions = ReadOptions()
    simulated: bool = False

    @property
    def nbytes(self) -> int:
        return len(self.data) + self.image.pixels.nbytes

    @property
    def key(self) -> tuple:
        """Equal for the same look at the same file."""
        return self.image.sha256, self.options

    @property
    def how(self) -> str:
        """How it was read, in words; nothing of the patient."""
        told = self.image.details
        parts = [f"{self.image.kind.upper()}, {self.image.width} x {self.image.height}"]
        if "slices" in told:
            parts.append(f"{told['plane']} slice {told['slice'] + 1} of {told['slices']}")
        if "frames" in told:
            parts.append(f"frame {told['frame'] + 1} of {told['frames']}")
        window = told.get("window")
        if window is not None:
            parts.append(f"window {window}" if isinstance(window, str) else "window {:g}/{:g}".format(*window))
        if self.simulated:
            parts.append("simulated, not a patient")
        return ", ".join(parts)


@dataclass(frozen=True)
class Controls:
    """What can be chosen of how an image is looked at; counts are 1 where there is nothing to choose.

    windows: names, the first as in the file; empty for colour. center, width: of the window now, where it has numbers.
    """

    windows: tuple[str, ...] = ()
    center: float | None = None
    width: float | None = None
    planes: tuple[str, ...] = ()
    plane: str | None = None
    slices: int = 1
    slice: int = 0
    volumes: int = 1
    volume: int = 0


def read_item(service: Service, data: bytes, name: str, options: ReadOptions = ReadOptions()) -> Item:
    """Read an image in a process of its own. Raises Refused: one sentence for its sender."""
    image = read_upload(data, name, service.limits, options, decoders=service.decoders)
    return Item(image.source, data, image, options)


def looked_at(service: Service, item: Item, options: ReadOptions) -> Item:
    """The same image with another window or slice. Raises Refused."""
    if options == item.options:
        return item
    image = read_upload(item.data, item.name, service.limits, options, decoders=service.decoders)
    return replace(item, image=image, options=options)


def controls(image: Image) -> Controls:
    """What fits an image: windows for greyscale, slices for volumes, frames for what has several."""
    told = image.details
    grey = str(told.get("photometric", "")).lower().startswith(("mono", "grey"))
    windows: tuple[str, ...] = ()
    if grey:
        hounsfield = image.kind == "nifti" or told.get("modality") == "CT"
        windows = (AS_SAVED, *ANY_WINDOWS, *(PRESETS if hounsfield else ()), CUSTOM)
    window = told.get("window")
    center = width = None
    if isinstance(window, list | tuple):
        center, width = window
    elif "range" in told:
        center, width = _between(told["range"])
    elif grey:
        center, width = _between((0, 2 ** told.get("bits", 8) - 1))
    return Controls(
        windows=windows, center=center, width=width,
        planes=PLANES if "plane" in told else (), plane=told.get("plane"),
        slices=told.get("slices", told.get("frames", 1)), slice=told.get("slice", told.get("frame", 0)),
        volumes=told.get("volumes", 1), volume=told.get("volume", 0),
    )  # fmt: skip


def _between(limits: Sequence[float]) -> tuple[float, float]:
    low, high = limits
    return (low + high) / 2, max(high - low, 1e-6)


def options_for(
    item: Item, window: str, center: float | None, width: float | None, plane: str | None, place: int, volume: int
) -> ReadOptions:
    """The look at an image that its controls say. place: of the slice or frame, from 0.

    Raises:
        Refused: a window that is none.
    """
    can = controls(item.image)
    chosen: tuple[float, float] | str | None = None
    if can.windows and window == CUSTOM:
        if center is None or width is None:
            raise Refused(400, "the window needs a center and a width, two numbers")
        chosen = float(center), float(width)
    elif can.windows and window in can.windows and window != AS_SAVED:
        chosen = window
    try:
        if can.planes:
            turned = plane in PLANES and plane != can.plane
            return ReadOptions(
                slice=None if turned else place, plane=plane if plane in PLANES else None, window=chosen,
                volume=volume if can.volumes > 1 else None,
            )  # fmt: skip
        return ReadOptions(frame=place if can.slices > 1 else None, window=chosen)
    except ValueError as error:
        raise Refused(400, str(error)) from None


def in_order(items: Sequence[Item]) -> list[Item]:
    """DICOM images of one series by their InstanceNumber; all else as it came."""
    if len(items) < 2 or any(item.image.kind != "dicom" for item in items):
        return list(items)
    headers = [_header(item) for item in items]
    if len({str(h.get("SeriesInstanceUID")) for h in headers}) > 1:
        return list(items)
    try:
        numbers = [int(h.get("InstanceNumber") or 0) for h in headers]
    except (TypeError, ValueError):
        return list(items)
    return [items[k] for k in sorted(range(len(items)), key=numbers.__getitem__)]


def context_of(items: Sequence[Item]) -> StudyContext | None:
    """The study that results on images belong to; None where they are not all DICOM, or not of one study."""
    if not items or any(item.image.kind != "dicom" for item in items):
        return None
    from unimedvl.hospital.context import StudyContext
    from unimedvl.hospital.error import HospitalError

    try:
        return StudyContext.of([_header(item) for item in items], [i.image.details.get("frame") for i in items])
    except HospitalError:
        return None


def _header(item: Item):
    """Of a DICOM that was read within the limits before."""
    import pydicom

    return pydicom.dcmread(io.BytesIO(item.data), stop_before_pixels=True, force=True)


def shown(image: Image) -> tuple[str, bytes]:
    """What the page shows of an image: its type and file, of at most 768 pixels a side."""
    picture = _picture(image.pixels, _SHOWN)
    grey = bool((image.pixels == image.pixels[..., :1]).all())
    out = io.BytesIO()
    if grey:
        picture.convert("L").save(out, "PNG", compress_level=1)
        return "image/png", out.getvalue()
    picture.save(out, "JPEG", quality=92)
    return "image/jpeg", out.getvalue()


def thumbnail(image: Image) -> bytes:
    """A small PNG of an image that was given, beside its result."""
    out = io.BytesIO()
    _picture(image.pixels, _THUMB).save(out, "PNG")
    return out.getvalue()


def _picture(pixels: np.ndarray, side: int) -> PillowImage.Image:
    """Of float [H, W, 3] in [0, 1]."""
    picture = PillowImage.fromarray((pixels * 255).round().astype("uint8"))
    picture.thumbnail((side, side))
    return picture
