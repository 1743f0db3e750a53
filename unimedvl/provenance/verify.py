"""What a file tells of having been made by this program: metadata, manifest and watermark, held together."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image as PillowImage

from unimedvl.imaging import Bounds, ImagingError, ReadOptions, read_image
from unimedvl.imaging.image import Image
from unimedvl.imaging.kind import detect as kind_of
from unimedvl.imaging.metadata import Told, digest_of, told_by
from unimedvl.imaging.source import Source, open_source
from unimedvl.provenance.manifest import Manifest, read_manifest
from unimedvl.provenance.mark import LABELS, payload_of
from unimedvl.provenance.watermark import SMALLEST, Detected, detect

# Larger pictures are made smaller before the watermark is looked for, which it survives.
_LONGEST_SIDE = 2048
# Frames of a file that are looked at, evenly spread.
_MOST_FRAMES = 8
_SYNTHESIZING = "109100"  # DICOM CID 7005, Synthesizing Equipment

Verdict = Literal["made", "signs", "nothing"]


@dataclass(frozen=True)
class Verified:
    """What was found in a file.

    kind, size: of the file; size is (width, height), None for a DICOM file without pixels. told: what its metadata
    says.
    manifest, watermark: as they were read. matches: whether the watermark's payload is that of the provenance in
    metadata or
        manifest; None where one of them is missing.
    notes: what doesn't fit together, such as changes since it was signed.
    verdict: "made" (a manifest of ours that holds, or a watermark that fits the metadata), "signs" (less than that) or
        "nothing", which proves nothing: marks get lost. closing: the verdict in words.
    """

    file: str
    kind: str
    size: tuple[int, int] | None
    told: Told
    manifest: Manifest
    watermark: Detected
    matches: bool | None
    notes: tuple[str, ...]
    verdict: Verdict
    closing: str

    @property
    def provenance(self) -> dict | None:
        """Of a manifest that holds, else of the metadata, else of any manifest."""
        if self.manifest.state in ("valid", "trusted") and self.manifest.provenance:
            return self.manifest.provenance
        return self.told.provenance or self.manifest.provenance

    def to_dict(self) -> dict:
        """Everything, as JSON can hold it."""
        return asdict(self) | {"provenance": self.provenance}


def verify(path: str | os.PathLike | bytes, *, trust: bytes | None = None, bounds: Bounds | None = None) -> Verified:
    """Look for all marks in a PNG, JPEG, WebP, TIFF or DICOM file, and in what else is read as a picture.

    Args:
        path: a file, or its bytes.
        trust: certificates in PEM that are trusted to sign manifests, or to vouch for who signs.
        bounds: how large a file may be.

    Raises:
        ImagingError: no picture, or a damaged one.
    """
    with open_source(path, bounds or Bounds()) as source:
        kind = kind_of(source)
        source.stream.seek(0)
        data = source.stream.read()
        told, has_pixels = _told(source, kind)
    # From here on the bytes are looked at, so that all three are of the same file though it may be replaced meanwhile.
    picture = _read(source.name, data, ReadOptions(), bounds) if has_pixels else None
    watermark = Detected(False, 0.0) if picture is None else _watermark(source.name, data, picture, bounds)
    size = None if picture is None else (picture.width, picture.height)
    return _judged(source.name, kind, size, told, read_manifest(data, kind, trust), watermark)


def _told(source: Source, kind: str) -> tuple[Told, bool]:
    """What the metadata says, and whether there are pixels."""
    source.stream.seek(0)
    if kind == "dicom":
        return _told_by_dicom(source.name, source.stream)
    if kind not in ("png", "jpeg", "webp", "tiff"):
        return Told(), True
    try:
        with PillowImage.open(source.stream, formats=(kind.upper(),)) as opened:
            return told_by(opened), True
    except ValueError:
        return Told(comment="a provenance that is damaged", made=True), True
    except Exception as error:  # decoders raise every type there is on damaged files
        raise ImagingError(source.name, f"is a damaged {kind} ({error})") from error


def _told_by_dicom(name: str, stream: BinaryIO) -> tuple[Told, bool]:
    """Synthetic Data (0008,001C), and the equipment that says that it made the content up."""
    from pydicom import dcmread

    try:
        data = dcmread(stream, stop_before_pixels=True, force=True)
        makers = [
            item
            for item in data.get("ContributingEquipmentSequence", None) or []
            if any(c.get("CodeValue") == _SYNTHESIZING for c in item.get("PurposeOfReferenceCodeSequence", None) or [])
        ]
        names = [" ".join(filter(None, (str(m.get("Manufacturer", "")), str(m.get("ManufacturerModelName", "")))))
                 for m in makers]  # fmt: skip
        made = str(data.get("SyntheticData", "")) == "YES"
        told = Told(None, "", made, "; ".join(names), str(data.get("DerivationDescription", "")))
        return told, "Rows" in data
    except Exception as error:  # as above
        raise ImagingError(name, f"is a damaged DICOM file ({error})") from error


def _read(name: str, data: bytes, options: ReadOptions, bounds: Bounds | None) -> Image:
    try:
        return read_image(data, options, bounds)
    except ImagingError as error:
        raise ImagingError(name, error.problem) from error


def _watermark(name: str, data: bytes, first: Image, bounds: Bounds | None) -> Detected:
    """Of the picture, or of that of its frames where it shows best."""
    frames = int(first.details.get("frames", 1))
    best = detect(_pixels(first))
    for frame in np.unique(np.linspace(0, frames - 1, min(frames, _MOST_FRAMES)).round().astype(int)):
        if best.found or frames == 1:
            break
        found = detect(_pixels(_read(name, data, ReadOptions(frame=int(frame)), bounds)))
        best = max(best, found, key=lambda d: d.score)
    return best


def _pixels(image: Image) -> np.ndarray:
    pixels = np.rint(image.pixels * 255).astype(np.uint8)
    factor = -(-max(pixels.shape[:2]) // _LONGEST_SIDE)
    return pixels if factor == 1 else np.asarray(PillowImage.fromarray(pixels).reduce(factor))


def _judged(
    name: str, kind: str, size: tuple[int, int] | None, told: Told, manifest: Manifest, watermark: Detected
) -> Verified:
    found = Verified(name, kind, size, told, manifest, watermark, None, (), "nothing", "")
    provenance = found.provenance
    matches = None
    if watermark.payload is not None:
        if provenance is not None:
            matches = watermark.payload == payload_of(provenance)
        elif told.digest:
            matches = watermark.payload == int(told.digest[:6] or "0", 16)
    found = replace(found, matches=matches, notes=tuple(_misfits(found, matches)))
    return replace(found, **dict(zip(("verdict", "closing"), _verdict(found), strict=True)))


def _misfits(found: Verified, matches: bool | None):
    """What doesn't fit together."""
    told, manifest = found.told, found.manifest
    if manifest.state == "invalid":
        yield f"the manifest does not hold: {'; '.join(manifest.problems) or 'no reason is given'}"
    if told.provenance is not None and told.digest and digest_of(told.provenance) != told.digest:
        yield "the provenance in the metadata was changed: it has not the hash that stands beside it"
    both = told.provenance is not None and manifest.provenance is not None
    if both and digest_of(told.provenance or {}) != digest_of(manifest.provenance or {}):
        yield "metadata and manifest tell of different pictures"
    if matches is False:
        yield "the watermark is of another picture: its payload is not that of the provenance told here"
    if found.watermark.changed:
        yield f"the picture was {found.watermark.changed} after it was marked"
    task = (found.provenance or {}).get("task")
    marked = task is not None and task not in LABELS and found.size is not None and min(found.size) >= SMALLEST
    if marked and not found.watermark.found:
        yield "no watermark, though such pictures have one unless they are black: they were replaced, cut or turned"


def _verdict(found: Verified) -> tuple[Verdict, str]:
    told, manifest, watermark = found.told, found.manifest, found.watermark
    ours = "UniMedVL" in told.software or told.provenance is not None
    if manifest.ours and manifest.state in ("valid", "trusted"):
        by = "a signer that is trusted here" if manifest.state == "trusted" else "a key that nobody here vouches for"
        return "made", f"made by UniMedVL, and unchanged since it was signed by {by}"
    if manifest.ours and manifest.state == "invalid":
        return "signs", "signs of UniMedVL, and of changes since it was signed"
    if watermark.found and found.matches and (told.made or ours):
        return "made", "made by UniMedVL: watermark and metadata fit; no manifest shows that it is unchanged"
    if watermark.found and found.matches is None and told.made and ours:
        return "made", "made by UniMedVL: it has the watermark and says so itself"
    signs = [("the watermark", watermark.found), ("the metadata", ours and (told.made or bool(told.comment)))]
    signs += [("a picture that it was made from", any(a.startswith("UniMedVL") for a in manifest.ancestors))]
    named = [name for name, there in signs if there]
    if named:
        changed = "; it was changed, or its marks are not its own" if found.matches is False else ""
        return "signs", f"signs of UniMedVL in {' and '.join(named)}{changed}"
    if told.made:
        return "nothing", "no sign of UniMedVL, though its metadata says that a model or program made it"
    return "nothing", "nothing found, which proves nothing: marks can be lost or removed"


def read_trust(file: Path) -> bytes:
    """Certificates in PEM. Raises ProvenanceError for a file that can't be read or holds none."""
    from unimedvl.provenance.error import ProvenanceError

    try:
        data = file.read_bytes()
    except OSError as error:
        raise ProvenanceError(f"{file}: cannot be read ({error.strerror or error})") from error
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise ProvenanceError(f"{file}: holds no certificate in PEM")
    return data
