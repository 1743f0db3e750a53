"""Which version of a model is meant: the commit that a name on the Hugging Face hub has now, or what a folder holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from unimedvl.data.error import DataError

# Called with how many more bytes are hashed, and how many there are.
Hashed = Callable[[int, int], None]
_CHUNK = 1 << 22
# Files of a folder that decide nothing.
_TALK = (".md", ".lock")
_EXPECTED = "a name on the Hugging Face hub, such as intfloat/e5-large-v2, or a folder with config.json and weights"


def folder_of(model: str) -> Path | None:
    """The folder that is meant; None for a name on the hub.

    Raises:
        DataError: it can only be a folder, and is none.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.exists() or path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise DataError(f"{model}: no such folder; expected {_EXPECTED}")
    return None


def revision_of(model: str, revision: str | None = None, hashed: Hashed = lambda more, of: None) -> str:
    """The commit on the hub, or 16 digits of a hash over a folder's files.

    The hash is a SHA-256 over the lines that `sha256sum` prints for the files, in order of their names; READMEs and
    hidden files are left out. Of the hub config.json is fetched, which is asked of its cache where it can't be reached.

    revision: on the hub a commit, tag or branch, else the main one; of a folder, what its hash must be.

    Raises:
        DataError: no such model or revision, no access to it, or a folder that holds something else.
    """
    folder = folder_of(model)
    if folder is None:
        return _commit(model, revision or "main")
    found = _hash(folder, hashed)
    if revision not in (None, found):
        raise DataError(f"{model}: revision is {revision}, and the files in the folder are {found}")
    return found


def _commit(model: str, revision: str) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        # In the cache it lies in a folder that the commit names.
        return Path(hf_hub_download(model, "config.json", revision=revision)).parent.name
    except GatedRepoError as error:
        wanted = "accept its terms on the hub and set HF_TOKEN"
        raise DataError(f"{model}: no access; {wanted}") from error
    except RepositoryNotFoundError as error:
        raise DataError(f"{model}: not on the Hugging Face hub, nor a folder here; expected {_EXPECTED}") from error
    except LocalEntryNotFoundError as error:
        wanted = "fetch it where it can be reached, or name the folder that has it"
        raise DataError(f"{model}@{revision}: not in the cache, and the hub can't be reached; {wanted}") from error
    except EntryNotFoundError as error:
        raise DataError(f"{model}@{revision}: no config.json, so it is no model of transformers") from error
    except (OSError, ValueError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{model}@{revision}: can't be had from the Hugging Face hub: {first}") from error


def _hash(folder: Path, hashed: Hashed) -> str:
    try:
        files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
        files = [f for f in files if f.suffix.lower() not in _TALK]
        if "config.json" not in {f.name for f in files}:
            raise DataError(f"{folder}: no config.json in this folder; expected {_EXPECTED}")
        total = sum(f.stat().st_size for f in files)
        whole = hashlib.sha256()
        for file in files:
            whole.update(f"{_digest(file, total, hashed)}  {file.name}\n".encode())
    except OSError as error:
        raise DataError(f"{error.filename or folder}: {error.strerror or error}") from error
    return whole.hexdigest()[:16]


def _digest(file: Path, total: int, hashed: Hashed) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
            hashed(len(chunk), total)
    return digest.hexdigest()
