"""Lookup tables of DICOM: what modality, VOI and palette tables have in common (PS3.3 C.11.1, C.7.9)."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

_MOST_ENTRIES = 2**16


def look_up(stored: np.ndarray, table: np.ndarray, first: int) -> np.ndarray:
    """`table` at ``stored - first``; below the first entry it is the first, above the last the last.

    Args:
        stored: integers, or floats that are rounded first, of any shape.
    """
    if stored.dtype.kind == "f":
        stored = np.rint(np.nan_to_num(stored))
    index = np.clip(stored.astype(np.int64) - first, 0, len(table) - 1)
    return table[index]


def read_table(item: Dataset, little_endian: bool) -> tuple[np.ndarray, int, float]:
    """The entries, the first stored value mapped and the white value of a modality or VOI LUT item.

    Raises:
        ValueError: no entries, or a depth outside 8 to 16 bits.
    """
    count, first, depth = (int(v) for v in item.LUTDescriptor)
    if not 8 <= depth <= 16:
        raise ValueError(f"a lookup table of {depth} bits; 8 to 16 are read")
    data = item.LUTData
    if isinstance(data, bytes):
        table = _entries(data, count or _MOST_ENTRIES, little_endian)
    else:
        table = np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF
    table = table[: count or _MOST_ENTRIES]
    if table.size == 0:
        raise ValueError("a lookup table without entries")
    return table.astype(np.float32), first, float(max(2**depth - 1, table.max()))


def read_palette(dataset: Dataset, little_endian: bool) -> tuple[np.ndarray, int]:
    """The palette of a PALETTE COLOR image, plain or segmented.

    Returns:
        float32 [entries, 3] in [0, 1], and the first stored value mapped.

    Raises:
        ValueError: the tables are missing, empty or damaged.
    """
    channels = []
    for colour in ("Red", "Green", "Blue"):
        descriptor = dataset.get(f"{colour}PaletteColorLookupTableDescriptor")
        if descriptor is None:
            raise ValueError("a palette image without its palette")
        count, first, depth = (int(v) for v in descriptor)
        count = count or _MOST_ENTRIES
        plain = dataset.get(f"{colour}PaletteColorLookupTableData")
        if plain:
            table = _entries(plain, count, little_endian)
        else:
            segments = dataset.get(f"Segmented{colour}PaletteColorLookupTableData")
            if not segments:
                raise ValueError("a palette image without its palette")
            wide = (">u2", "<u2")[little_endian] if depth > 8 else "u1"
            usable = len(segments) - len(segments) % np.dtype(wide).itemsize
            table = _expand_segments(np.frombuffer(segments[:usable], wide).tolist(), depth > 8)
        if len(table) == 0:
            raise ValueError("an empty palette")
        # Some makers declare 16 bits but fill 8, or store 8 bits in the high byte; both end white at 1.
        white = 255 if depth <= 8 or max(table) <= 255 else 65535
        channels.append(np.asarray(table, np.float32)[:count] / np.float32(white))
    shortest = min(len(channel) for channel in channels)
    return np.stack([channel[:shortest] for channel in channels], axis=1), first


def _entries(data: bytes, count: int, little_endian: bool) -> np.ndarray:
    """Table entries of one or two bytes; which, only the length tells for certain (PS3.3 C.7.6.3.1.6)."""
    two = len(data) >= 2 * count
    width = 2 if two else 1
    usable = min(len(data) // width, count) * width
    return np.frombuffer(data[:usable], ("<u2" if little_endian else ">u2") if two else "u1")


def _expand_segments(data: list[int], wide: bool) -> list[int]:
    """Expand a segmented palette (PS3.3 C.7.9.2): discrete, linear and indirect segments.

    An indirect segment repeats earlier ones; it may not itself lead to another, and the table may
    not pass 65536 entries, so that no file can make this loop for long.
    """
    table: list[int] = []

    def expand(at: int, segments: int | None, nested: bool) -> None:
        done = 0
        while at + 1 < len(data) and (segments is None or done < segments):
            code, length = data[at], data[at + 1]
            at += 2
            if code == 0:
                table.extend(data[at : at + length])
                at += length
            elif code == 1:
                if not table or at >= len(data):
                    raise ValueError("a damaged segmented palette")
                table.extend(int(v) for v in np.rint(np.linspace(table[-1], data[at], length + 1)[1:]))
                at += 1
            elif code == 2 and not nested:
                words = data[at : at + (2 if wide else 4)]
                offset = sum(word << ((16 if wide else 8) * i) for i, word in enumerate(words))
                expand(offset, length, True)
                at += len(words)
            else:
                raise ValueError("a damaged segmented palette")
            if len(table) > _MOST_ENTRIES:
                raise ValueError("a segmented palette of over 65536 entries")
            done += 1

    expand(0, None, False)
    return table
