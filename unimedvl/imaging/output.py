"""Saving a made picture, whole or not at all, with where it came from and that it is synthetic."""

from __future__ import annotations

import json
import os
import secrets
import stat
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from unimedvl.imaging.errors import ImagingError
from unimedvl.imaging.kind import detect
from unimedvl.imaging.source import check_pixels, open_source

PROVENANCE_KEY = "unimedvl:provenance"
SYNTHETIC = "SYNTHETIC image made by a model (UniMedVL). Not for clinical use."

# IPTC's word for a picture made by a trained model, in the field of XMP that viewers and archives read.
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    Iptc4xmpExt:DigitalSourceType="{_SOURCE_TYPE}"
    xmp:CreatorTool="UniMedVL"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def check_output(path: str | os.PathLike) -> Path:
    """Tell now, before long work, whether a PNG can be saved at `path`. Leaves nothing behind.

    Returns:
        The file that will be written, links followed.

    Raises:
        ImagingError: the folder is missing or read-only; the path is a folder, a device or a file
            that may not be replaced; or its name does not end in ``.png``.
    """
    name = os.fspath(path)
    try:
        target = Path(os.path.realpath(name))
        if target.is_dir() or name.endswith(("/", os.sep)):
            raise ImagingError(name, "is a folder; give the name of a file in it, such as out.png")
        if target.suffix.lower() != ".png":
            raise ImagingError(name, "must end in .png; pictures are saved as PNG")
        if not target.parent.exists():
            raise ImagingError(name, f"the folder {target.parent} does not exist; create it first")
        if not target.parent.is_dir():
            raise ImagingError(name, f"{target.parent} is not a folder")
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            raise ImagingError(name, "is a pipe, socket or device; give the name of a regular file")
        if target.exists() and not os.access(target, os.W_OK):
            raise ImagingError(name, "exists and is read-only; give another name")
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except ImagingError:
        raise
    except (OSError, ValueError) as error:
        problem = f"cannot be written ({_why(error)}); give a file in a writable folder"
        raise ImagingError(name, problem) from error
    return target


def save_png(pixels: np.ndarray, path: str | os.PathLike, provenance: dict) -> None:
    """Save a made picture as PNG with its provenance, and marked as synthetic.

    The file holds iTXt chunks ``unimedvl:provenance`` (JSON), ``Software``, ``Comment`` and an XMP
    packet with the IPTC digital source type ``trainedAlgorithmicMedia``. It is written beside its
    place and then moved there, so that nobody ever sees half of it.

    Args:
        pixels: [H, W, 3] uint8 RGB.
        provenance: what can be written as JSON: weights hash, seed, settings, versions, input hash.

    Raises:
        ImagingError: as `check_output`, or the disk is full.
        ValueError: other shapes or types of pixels. TypeError: a provenance that is no JSON.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"save_png takes [H, W, 3] uint8, not {list(pixels.shape)} {pixels.dtype}")
    check_pixels(os.fspath(path), pixels.shape[1], pixels.shape[0])
    chunks = _chunks(provenance)
    target = check_output(path)
    partial = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        # Not tempfile's: a made picture should have the permissions that any new file has.
        with open(partial, "xb") as stream:
            PillowImage.fromarray(pixels).save(stream, format="PNG", pnginfo=chunks)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise ImagingError(os.fspath(path), f"could not be written ({_why(error)})") from error
    finally:
        partial.unlink(missing_ok=True)


def read_provenance(path: str | os.PathLike) -> dict | None:
    """The provenance of a PNG that `save_png` wrote, or None for a picture without one.

    Raises:
        ImagingError: not a readable image, or its provenance is damaged.
    """
    with open_source(path) as source:
        if detect(source) != "png":
            return None
        source.stream.seek(0)
        try:
            with PillowImage.open(source.stream, formats=("PNG",)) as picture:
                check_pixels(source.name, *picture.size)
                text = getattr(picture, "text", {}).get(PROVENANCE_KEY)
            provenance = None if text is None else json.loads(text)
        except ImagingError:
            raise
        except Exception as error:
            raise ImagingError(source.name, f"is a damaged PNG ({_why(error)})") from error
        if provenance is not None and not isinstance(provenance, dict):
            raise ImagingError(source.name, "has a provenance that is no JSON object")
        return provenance


def _chunks(provenance: dict) -> PngInfo:
    chunks = PngInfo()
    text = json.dumps(provenance, sort_keys=True, ensure_ascii=False, allow_nan=False)
    chunks.add_itxt(PROVENANCE_KEY, text)
    chunks.add_itxt("Software", "UniMedVL")
    chunks.add_itxt("Comment", SYNTHETIC)
    chunks.add_itxt("XML:com.adobe.xmp", _XMP)
    return chunks


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).split("\n")[0] or type(error).__name__
