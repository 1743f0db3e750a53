"""The size that a compressed frame says it has, read without decoding it."""

from __future__ import annotations

from unimedvl.imaging.errors import TooLarge

# Start-of-frame markers of JPEG (ITU-T T.81, Table B.1) without DHT, JPG and DAC, and of JPEG-LS (T.87).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xDA)) | {0x01, 0xFF}
_START_OF_SCAN = 0xDA
# A progressive JPEG is decoded anew for each of its scans, which take a few bytes each. Real ones have 10 or so.
_MOST_SCANS = 200


def check_scans(data: bytes, name: str) -> None:
    """Refuse a JPEG of so many scans that it is made to take long. Raises TooLarge."""
    scans = data.count(b"\xff\xda") if data[:2] == b"\xff\xd8" else 0
    if scans > _MOST_SCANS:
        raise TooLarge(name, f"is a JPEG of {scans} scans; at most {_MOST_SCANS} are read")


def webp_size(head: bytes) -> tuple[int, int] | None:
    """(width, height) of the canvas by the first 30 bytes of a WebP file (RFC 9649), or None where they don't say."""
    if len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if head[12:16] == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


def codestream_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a JPEG, JPEG-LS or JPEG 2000 codestream, or None where it does not say."""
    if data[:4] == b"\xff\x4f\xff\x51":
        return _jpeg2000_size(data)
    at = data.find(b"\xff\x4f\xff\x51", 0, 512) if data[4:8] == b"jP  " else -1
    if at >= 0:
        return _jpeg2000_size(data[at:])
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    return None


def _jpeg2000_size(data: bytes) -> tuple[int, int] | None:
    """Image area of the SIZ marker (ITU-T T.800, A.5.1): reference grid less its offset."""
    if len(data) < 24:
        return None
    right, bottom, left, top = (int.from_bytes(data[i : i + 4], "big") for i in (8, 12, 16, 20))
    return right - left, bottom - top


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker in _START_OF_FRAME:
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        if marker == _START_OF_SCAN:
            return None
        if marker == 0xFF:                            # fill byte before a marker
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
