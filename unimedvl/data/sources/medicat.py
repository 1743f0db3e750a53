"""MediCaT (Subramanian et al., Findings of EMNLP 2020): figures of medical papers with captions and mentions."""

from __future__ import annotations

import json
import tarfile
import threading
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from unimedvl.data.error import DataError
from unimedvl.data.files import Rows, json_lines
from unimedvl.data.record import Record
from unimedvl.data.source import (
    Item,
    Load,
    Sample,
    Source,
    described,
    file_bytes,
    need,
    pictures,
    required,
    samples,
    words,
)

_LICENCE = "research only, non-commercial; each paper has its own"
_TABLE = "s2_full_figures_oa_nonroco_combined_medical_top4_public.jsonl"
_FOLDER, _PACKED = "release", "medicat_release.tar.gz"


def read(root: Path) -> Iterator[Item]:
    """A record for each figure, of the unpacked release or else of the archive as it comes.

    The archive is walked to its end first, since the captions stand near it: they are held in memory, and so is
    where the figures lie. Records follow in the order of the figures, so that loading them reads it once more.
    """
    found = need(root, f"{_FOLDER}/{_TABLE}", _PACKED)
    if found.name == _TABLE:
        folder = need(root / _FOLDER, "figures")
        yield from samples(json_lines(found), lambda row: _record(row, file_bytes(folder / _name(row))))
        return
    packed = _Packed(found)
    yield from samples(packed.rows(), lambda row: _record(row, packed.figure(_name(row))))


class _Packed:
    """The release as it comes: a tar archive that is compressed as a whole."""

    def __init__(self, file: Path) -> None:
        """Raises DataError where it is no such archive, is cut short, or has no captions."""
        self._file, self._lock = file, threading.Lock()
        self._figures: dict[str, tarfile.TarInfo] = {}
        lines: bytes | None = None
        try:
            self._archive = tarfile.open(file, "r:gz")  # noqa: SIM115 - figures are read when they are asked for
            for member in self._archive:
                name = PurePosixPath(member.name)
                if name.name == _TABLE:
                    lines = self._archive.extractfile(member).read()
                elif member.isfile() and name.parent.name == "figures":
                    self._figures[name.name] = member
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise DataError(f"{file}: no whole tar.gz archive: {error}") from error
        if lines is None:
            raise DataError(f"{file}: expected {_FOLDER}/{_TABLE} in it, found none")
        self._lines = lines.splitlines()

    def rows(self) -> Rows:
        """The lines of the captions in the order of their figures; first those that have none."""
        rows = []
        for number, line in enumerate(self._lines, 1):
            if line.strip():
                row = _parsed(line)
                name = _file(row) if isinstance(row, dict) else ""
                place = self._figures[name].offset if name in self._figures else -1
                rows.append((place, number, row))
        for _, number, row in sorted(rows, key=lambda row: row[:2]):
            yield f"{self._file}: {_TABLE}: line {number}", row

    def figure(self, name: str) -> Load:
        """Loads a figure. Quick in the archive's order only, since going back in it means to start anew."""
        return partial(self._read, name)

    def _read(self, name: str) -> bytes:
        if name not in self._figures:
            raise DataError(f"{self._file}: no figures/{name} in it")
        try:
            with self._lock:
                return self._archive.extractfile(self._figures[name]).read()
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise DataError(f"{self._file}: figures/{name}: {error}") from error


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        return DataError(f"not JSON: {error}")


def _file(row: dict) -> str:
    return f"{row.get('pdf_hash')}_{row.get('fig_uri')}"


def _name(row: dict) -> str:
    """The file of a figure.

    Raises:
        DataError: what it is made of is missing, or no part of a file's name.
    """
    name = f"{required(row, 'pdf_hash')}_{required(row, 'fig_uri')}"
    if "/" in name:
        raise DataError(f"fig_uri: expected a file's name, found {row['fig_uri']!r}")
    return name


def _record(row: dict, load: Load) -> Sample:
    """The caption is the layout parser's, or where it found none, that of the paper's text."""
    caption = next((text for text in (_maybe(row, "s2_caption"), _maybe(row, "s2orc_caption")) if text), "")
    if not caption:
        raise DataError("s2_caption, s2orc_caption: both empty")
    references = row.get("s2orc_references") or []
    if not isinstance(references, list):
        raise DataError(f"s2orc_references: expected a list, found {type(references).__name__}")
    told = {name: "yes" if row.get(name) is True else "" for name in ("radiology", "scope")}
    told |= {"figure_type": _maybe(row, "predicted_type"), "figure": _maybe(row, "fig_key")}
    told |= {"mentions": "\n".join(map(str, references)), "doi": _maybe(_inner(row, "oa_info"), "doi")}
    record = Record(
        main_task_type="understanding", sub_task_type="caption", modality="mixed", dataset="medicat",
        input_img=pictures([f"{_FOLDER}/figures/{_name(row)}"]), message=described(caption),
        id=_name(row).rpartition(".")[0] or _name(row),
        licence=_maybe(_inner(_inner(row, "oa_info"), "oa"), "license") or _LICENCE, study=required(row, "pdf_hash"),
        attributes={key: text for key, text in told.items() if text},
    )  # fmt: skip
    return Sample(record, (load,))


def _maybe(row: dict, name: str) -> str:
    return words(row, name) if name in row else ""


def _inner(row: dict, name: str) -> dict:
    """An object that may be missing.

    Raises:
        DataError: it is something else.
    """
    found = row.get(name) or {}
    if not isinstance(found, dict):
        raise DataError(f"{name}: expected an object, found {type(found).__name__}")
    return found


SOURCE = Source(
    name="medicat",
    title="MediCaT",
    home="https://github.com/allenai/medicat",
    licence=_LICENCE,
    access="open",
    modalities=("mixed",),
    expected={"train": 217060},
    read=read,
    notes="No split. A record has the licence that its paper is known to have, and its study is its paper. The "
    "captions of sub-figures (subcaptions_public.jsonl) are not read. Unpack the archive if it is read often.",
    tasks=("caption",),
)
