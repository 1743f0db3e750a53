"""One safetensors file: its header checked, its tensors mapped into memory, and written in a stream.

The format is an 8-byte little-endian header length, a JSON header, and the tensors' bytes
(https://huggingface.co/docs/safetensors). The safetensors package reads and writes it too, but
neither says which tensor a truncated file cuts, nor gives mapped pages back once they have been
converted, nor writes a tensor without first holding all of them in the type to be written.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unimedvl.checkpoint.error import CheckpointError

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
NAMES = {dtype: name for name, dtype in DTYPES.items()}

# Elements converted at a time: what a load or a save needs beyond the model itself.
CHUNK = 1 << 20
_LARGEST_HEADER = 100 << 20  # as in the safetensors package
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies: bytes [start, end) of `file`, under the name `stored` there."""

    file: Path
    stored: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.start


def read_header(file: Path) -> dict[str, Entry]:
    """Every tensor of a safetensors file by its stored name; no tensor is read.

    Raises:
        CheckpointError: no such file, not a safetensors file, truncated, or an unsupported type.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if start + stream.read(15) == _LFS_POINTER:
                raise CheckpointError(
                    f"{file}: expected tensors, found a git-lfs pointer; run `git lfs pull`"
                )
            if len(start) < 8 or (length <= _LARGEST_HEADER and 8 + length > size):
                raise CheckpointError(
                    f"{file}: truncated in its header: expected at least {8 + length} bytes, found {size}"
                )
            if length > _LARGEST_HEADER:
                raise CheckpointError(f"{file}: not a safetensors file: its header claims {length} bytes")
            stream.seek(8)
            header = json.loads(stream.read(length))
    except FileNotFoundError:
        raise CheckpointError(f"{file}: no such file") from None
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{file}: not a safetensors file: its header is no JSON ({error})") from error
    return _entries(file, header, 8 + length, size)


def _entries(file: Path, header: object, base: int, size: int) -> dict[str, Entry]:
    if not isinstance(header, dict):
        raise CheckpointError(f"{file}: not a safetensors file: its header is no JSON object")
    header.pop("__metadata__", None)
    entries = {name: _entry(file, name, fields, base) for name, fields in header.items()}
    end = base
    for entry in sorted(entries.values(), key=lambda e: (e.start, e.end)):
        if entry.start != end:
            raise CheckpointError(
                f"{file}: tensor {entry.stored}: expected to start at byte {end}, where the last one ends, "
                f"found byte {entry.start}"
            )
        end = entry.end
        if end > size:
            raise CheckpointError(
                f"{file}: truncated: tensor {entry.stored} expected to end at byte {entry.end}, "
                f"found the file's end at byte {size}"
            )
    if size > end:
        raise CheckpointError(f"{file}: expected {end} bytes, as its header says, found {size}")
    return entries


def _entry(file: Path, name: str, fields: object, base: int) -> Entry:
    try:
        code, shape, (start, end) = fields["dtype"], tuple(fields["shape"]), fields["data_offsets"]
        elements, valid = math.prod(shape), start >= 0 and all(n >= 0 for n in shape)
    except (TypeError, KeyError, ValueError):
        raise CheckpointError(
            f"{file}: tensor {name}: expected dtype, shape and data_offsets in the header, found {fields!r}"
        ) from None
    if code not in DTYPES:
        raise CheckpointError(f"{file}: tensor {name}: expected type {', '.join(DTYPES)}, found {code}")
    nbytes = elements * DTYPES[code].itemsize
    if not valid or end - start != nbytes:
        raise CheckpointError(
            f"{file}: tensor {name}: expected {nbytes} bytes for {list(shape)} in {code}, found {end - start}"
        )
    return Entry(file, name, DTYPES[code], shape, base + start, base + end)


class MappedFile:
    """A tensor file mapped privately: tensors share its pages, and writing to them changes no file."""

    def __init__(self, file: Path) -> None:
        with file.open("rb") as stream:
            if hasattr(mmap, "MAP_NORESERVE"):  # or Linux may want free memory for the whole file
                self._map = mmap.mmap(stream.fileno(), 0, flags=mmap.MAP_PRIVATE | mmap.MAP_NORESERVE)
            else:
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)

    def tensor(self, entry: Entry) -> Tensor:
        """The tensor itself, read from the disk only where it is touched."""
        if not entry.nbytes:
            return torch.empty(entry.shape, dtype=entry.dtype)
        count = entry.nbytes // entry.dtype.itemsize
        flat = torch.frombuffer(self._map, dtype=entry.dtype, count=count, offset=entry.start)
        return flat.view(entry.shape)

    def copy_into(self, entry: Entry, target: Tensor, done: Callable[[int], None]) -> None:
        """Convert a tensor into `target`, giving pages back as they are used; `done` takes bytes read."""
        source, flat = self.tensor(entry).flatten(), target.view(-1)
        for first in range(0, len(source), CHUNK):
            part = source[first : first + CHUNK]
            flat[first : first + CHUNK].copy_(part)
            self._release(entry.start + first * entry.dtype.itemsize, part.nbytes)
            done(part.nbytes)

    def forget(self, entry: Entry) -> None:
        """Drop a tensor's pages from this process, where it is no longer needed."""
        self._release(entry.start, entry.nbytes)

    def _release(self, start: int, length: int) -> None:
        """Drop clean pages from this process; touched again, they come from the file."""
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows, which trims them by itself
            first = start - start % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, first, start + length - first)


def header_bytes(specs: dict[str, tuple[torch.dtype, tuple[int, ...]]]) -> bytes:
    """The length and the header of a file that holds these tensors in this order."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape) in specs.items():
        end = offset + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    # Tensors start on a cache line, so that they can be used where they lie.
    text += b" " * (-(8 + len(text)) % 64)
    return struct.pack("<Q", len(text)) + text


def write_tensors(file: Path, tensors: Iterable[tuple[str, Tensor]], dtype: torch.dtype | None) -> None:
    """Write tensors in a stream, each in `dtype` (None: its own), and flush them to the disk."""
    tensors = sorted(tensors, key=lambda item: -(dtype or item[1].dtype).itemsize)  # keeps each aligned
    specs = {name: (dtype or tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors}
    with file.open("wb") as stream:
        stream.write(header_bytes(specs))
        for _, tensor in tensors:
            flat = tensor.detach().reshape(-1)
            for first in range(0, len(flat), CHUNK):
                part = flat[first : first + CHUNK].to("cpu", dtype or tensor.dtype)
                stream.write(part.contiguous().view(torch.uint8).numpy())
        stream.flush()
        os.fsync(stream.fileno())
