"""What a file is, told from its first bytes and never from its name."""

from __future__ import annotations

from unimedvl.imaging.errors import ImagingError, NotAnImage
from unimedvl.imaging.source import Source, gunzip_head

READABLE = "PNG, JPEG, TIFF, BMP, WebP, DICOM or NIfTI"

# (bytes at the start, what it is) of files that are images, and of files often mistaken for one.
_RASTER = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"BM", "bmp"),
)
_OTHER = (
    (b"GIF8", "a GIF"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive (or an Office document)"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 file outside DICOM"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 codestream outside DICOM"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 or MINC file"),
    (b"CDF\x01", "a MINC file"),
    (b"NRRD", "an NRRD file"),
    (b"ObjectType", "a MetaImage header"),
    (b"8BPS", "a Photoshop file"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x93NUMPY", "a NumPy array file"),
    (b"<?xml", "an XML file"),
    (b"<svg", "an SVG drawing"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"{", "a text file"),
)
_GROUPS_WITHOUT_PREAMBLE = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")


def detect(source: Source) -> str:
    """One of "png", "jpeg", "tiff", "bmp", "webp", "dicom", "nifti".

    Raises:
        NotAnImage: it is none of these; says what it looks like where that is known.
    """
    head = source.head(544)
    if head[128:132] == b"DICM":       # first: the preamble before it may pose as a TIFF, by PS3.10 7.1
        return "dicom"
    for start, kind in _RASTER:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"\x1f\x8b":
        return _detect_gzip(source)
    if _is_nifti(head):
        return "nifti"
    if _looks_like_bare_dicom(head):
        return "dicom"
    raise NotAnImage(source.name, f"is {_looks_like(head)}, which is no image read here; give {READABLE}")


def _detect_gzip(source: Source) -> str:
    inside = gunzip_head(source.stream, 544)
    if _is_nifti(inside):
        return "nifti"
    if not inside:
        raise ImagingError(source.name, "is a damaged or truncated gzip file; give a whole .nii.gz")
    raise NotAnImage(source.name, "is a gzip file without NIfTI inside; unpack it first, or give a .nii.gz")


def _is_nifti(head: bytes) -> bool:
    """Whether a NIfTI-1 or NIfTI-2 header starts here, of a single file or of a pair."""
    return head[344:348] in (b"n+1\x00", b"ni1\x00") or head[4:8] in (b"n+2\x00", b"ni2\x00")


def _looks_like_bare_dicom(head: bytes) -> bool:
    """Whether this may be a DICOM data set without the 128-byte preamble, as old archives keep.

    Such a file starts with an element of group 0002 or 0008, whose number and length are small.
    """
    if len(head) < 16 or head[:2] not in _GROUPS_WITHOUT_PREAMBLE:
        return False
    order = "little" if head[1] == 0 else "big"
    element = int.from_bytes(head[2:4], order)
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    length = int.from_bytes(head[6:8] if explicit else head[4:8], order)
    return element <= 0x0100 and length <= 1024


def _looks_like(head: bytes) -> str:
    for start, name in _OTHER:
        if head.lower().startswith(start.lower()):
            return name
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"):
        return "an HEIC or AVIF image"
    if head[4:8] == b"ftyp":
        return "a video"
    if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head[:64]):
        return "a text file"
    return "of an unknown type"
