"""A folder of DICOM files, de-identified into another: resumable, each file whole or not at all.

Files are named by their new UIDs, below a folder of their patient's pseudonym: old names may hold a patient's.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.privacy.audit import NAME, AuditLog, quarantined, settings, written
from unimedvl.data.privacy.file import Options, deidentify_bytes
from unimedvl.data.privacy.key import Key
from unimedvl.data.whole import written_whole
from unimedvl.imaging.source import MAX_BYTES


@dataclass(frozen=True)
class Progress:
    """Files that are through, of how many."""

    number: int
    total: int


@dataclass(frozen=True)
class Quarantined:
    """A file that was left out. `file` is its old name, for the user's eyes: it is in no output."""

    file: Path
    input_sha256: str
    reason: str


@dataclass
class Summary:
    """What became of the files of a folder."""

    written: int = 0
    done_before: int = 0
    duplicates: int = 0
    quarantined: list[Quarantined] = field(default_factory=list)


def deidentify_folder(
    source: Path,
    out: Path,
    key: Key,
    options: Options = Options(),  # noqa: B008 - frozen
    *,
    quarantine: Path | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """De-identify every DICOM image below `source` into `out`, whose audit.jsonl says what was done.

    A run goes on where an earlier one stopped: a file whose hash the log has, and whose output is still as logged, is
    passed over. Links are not followed. What can't be de-identified is told in the summary and logged with the reason;
    with `quarantine` it is also copied there, unchanged, under its hash.

    Raises:
        DataError: `source` is no folder or has no file, a folder lies in another of the three, `out` is of a run with
            another key or other options, or can't be written.
    """
    source = Path(source)
    _check_apart(source, Path(out), quarantine)
    files = _files(source)
    if not files:
        raise DataError(f"{source}: expected DICOM files below it, found no file")
    _make(out)
    run = _Run(Path(out), key, options)
    for number, file in enumerate(files, 1):
        data, input_hash = b"", ""
        try:
            data = _contents(file)
            input_hash = hashlib.sha256(data).hexdigest()
            run.take(data, input_hash)
        except _LeftOut as error:
            run.log.add(quarantined(input_hash, str(error)))
            run.summary.quarantined.append(Quarantined(file.relative_to(source), input_hash, str(error)))
            if quarantine is not None and input_hash:
                _make(quarantine)
                _write(Path(quarantine) / f"{input_hash}.dcm", data)
        progress(Progress(number, len(files)))
    return run.summary


class _LeftOut(Exception):
    """Why a file is left out, without anything of its contents or name."""


class _Run:
    """What a run knows of its output folder: the log, which input is at which place, and what it met already."""

    def __init__(self, out: Path, key: Key, options: Options) -> None:
        self.out, self.key, self.options = out, key, options
        self.log, self.summary = AuditLog(out, settings(key, options)), Summary()
        self._inputs = {line["output"]: input_hash for input_hash, line in self.log.written.items()}
        self._met: set[str] = set()

    def take(self, data: bytes, input_hash: str) -> None:
        """De-identify one file, unless it is done or was met before. Raises _LeftOut."""
        if input_hash in self._met:
            self.summary.duplicates += 1
            return
        if _is_done(self.out, self.log.written.get(input_hash)):
            self._met.add(input_hash)
            self.summary.done_before += 1
            return
        try:
            file = deidentify_bytes(data, self.key, self.options)
        except DataError as error:
            raise _LeftOut(str(error)) from error
        output = f"{file.patient}/{file.uid}.dcm"
        if self._inputs.setdefault(output, input_hash) != input_hash:
            raise _LeftOut("another file has the same SOPInstanceUID and other contents")
        _make(self.out / file.patient)
        _write(self.out / output, file.data)
        self.log.add(written(input_hash, hashlib.sha256(file.data).hexdigest(), output, file))
        self._met.add(input_hash)
        self.summary.written += 1


def _is_done(out: Path, line: dict | None) -> bool:
    if line is None:
        return False
    file = out / line["output"]
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == line["output_sha256"]


def _check_apart(source: Path, out: Path, quarantine: Path | None) -> None:
    if not source.is_dir():
        raise DataError(f"{source}: expected a folder")
    places = [("the input", source.resolve()), ("--out", out.resolve())]
    if quarantine is not None:
        places.append(("--quarantine", Path(quarantine).resolve()))
    for i, (name, place) in enumerate(places):
        for other_name, other in places[i + 1 :]:
            if place == other or place in other.parents or other in place.parents:
                raise DataError(f"{other}: {other_name} and {name} lie in each other; give folders that are apart")
    # An output folder that holds other things is most likely another's.
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: expected a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / NAME).is_file():
        raise DataError(f"{out}: holds other files; give an empty folder, or one that was de-identified into")


def _files(source: Path) -> list[Path]:
    """Everything below a folder that is no folder, links included, in the order of names."""
    found = []
    for place, folders, names in os.walk(source, followlinks=False):
        links = [f for f in folders if Path(place, f).is_symlink()]
        folders[:] = sorted(f for f in folders if f not in links)
        found += [Path(place, name) for name in sorted([*names, *links])]
    return found


def _contents(file: Path) -> bytes:
    """The bytes of a regular file.

    Raises:
        _LeftOut: it is a link or none, too large, or can't be read.
    """
    try:
        mode = file.lstat()
        if stat.S_ISLNK(mode.st_mode):
            raise _LeftOut("a link; links are not followed")
        if not stat.S_ISREG(mode.st_mode):
            raise _LeftOut("no regular file")
        if mode.st_size > MAX_BYTES:
            raise _LeftOut("larger than 4 GiB")
        # Should a link take the file's place meanwhile, it isn't followed either.
        with os.fdopen(os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as stream:
            return stream.read()
    except OSError as error:
        raise _LeftOut(f"can't be opened: {os.strerror(error.errno or 0)}") from error


def _make(folder: Path) -> None:
    """Raises DataError: the folder can't be made, or is a link to elsewhere."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from error


def _write(file: Path, data: bytes) -> None:
    if file.parent.is_symlink() or file.is_symlink():
        raise DataError(f"{file}: a link stands where the output goes; remove it")
    with written_whole(file) as part:
        part.write_bytes(data)
