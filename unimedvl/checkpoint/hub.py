"""From what a user names (nothing, a folder, a hub id) to a folder on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from unimedvl.checkpoint.error import CheckpointError

EMBEDDED = Path(__file__).parents[1] / "weights" / "nano"
# All but the ViT's weights and the autoencoder; the first of these that a folder has is read.
WEIGHTS = ("ema.safetensors", "model.safetensors", "ema_bf16.safetensors", "model_bf16.safetensors")
AUTOENCODER = "ae.safetensors"
INDEX = ".index.json"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_TEXT_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "README.md", "LICENSE*")


def resolve(source: str | Path | None, revision: str | None = None, download: bool = True) -> Path:
    """The folder of a checkpoint; a hub id is downloaded, only the files that are needed.

    source: None for the embedded model, a folder, or a hub id such as
        ``"General-Medical-AI/UniMedVL"``. revision: branch, tag or commit on the hub.
    download: False looks for a hub id in the hub's cache alone, as ``HF_HUB_OFFLINE=1`` does.
    Raises:
        CheckpointError: no such folder, or the hub cannot give it.
    """
    if source is None:
        if not EMBEDDED.is_dir() or not any(EMBEDDED.iterdir()):
            raise CheckpointError(f"{EMBEDDED}: the embedded model is not there; name a folder or a hub id")
        return EMBEDDED
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise CheckpointError(f"{folder}: expected a checkpoint's folder, found a file; name {folder.parent}")
    if isinstance(source, str) and _HUB_ID.fullmatch(source):
        return _download(source, revision) if download else _cached(source, revision)
    raise CheckpointError(f"{folder}: no such folder, and no hub id of the form owner/name either")


def choose(names: Iterable[str], variants: tuple[str, ...]) -> str | None:
    """The first of the variants that is there, as a file or as the index of its shards."""
    there = set(names)
    for name in variants:
        for candidate in (name, name + INDEX):
            if candidate in there:
                return candidate
    return None


def _download(hub_id: str, revision: str | None) -> Path:
    import huggingface_hub as hub  # slow to import, and seldom needed
    from huggingface_hub import constants, errors

    where = _where(hub_id, revision)
    if constants.HF_HUB_OFFLINE:
        return _from_cache(hub_id, revision, "HF_HUB_OFFLINE is set", "unset it")
    try:
        # One request, not tried again and again: it also tells whether the hub is there.
        info = hub.HfApi().model_info(hub_id, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        names = [file.rfilename for file in info.siblings or ()]
        wanted = [*_TEXT_FILES, *_tensor_patterns(names)]
        return Path(hub.snapshot_download(hub_id, revision=revision, allow_patterns=wanted))
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{where}: access is restricted; ask for it on its page, then run `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{where}: the hub has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{where}: no such folder, and unknown to the hub; check the name (if private: `hf auth login`)"
        ) from error
    except Exception as error:  # noqa: BLE001  no network, a proxy, a full disk: many types, one answer
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        return _from_cache(hub_id, revision, reason, "connect to the network", error)


def _tensor_patterns(names: list[str]) -> list[str]:
    """The tensor files to fetch: one variant of the weights, and the autoencoder."""
    patterns = []
    for chosen in (choose(names, WEIGHTS), choose(names, (AUTOENCODER,))):
        if chosen is not None and chosen.endswith(INDEX):
            patterns.append(chosen.removesuffix(".safetensors" + INDEX) + "-*-of-*.safetensors")
        elif chosen is not None:
            patterns.append(chosen)
    return patterns


def _where(hub_id: str, revision: str | None) -> str:
    return f"hub checkpoint {hub_id}" + (f" at {revision}" if revision else "")


def _from_cache(
    hub_id: str, revision: str | None, reason: str, remedy: str, cause: Exception | None = None
) -> Path:
    """The cached folder; where there is none, what kept it from being downloaded and what would help."""
    try:
        return _cached(hub_id, revision)
    except CheckpointError:
        raise CheckpointError(
            f"{_where(hub_id, revision)}: no such folder, cannot be downloaded, and is not in the local "
            f"cache ({reason}); {remedy}, or download it elsewhere and name its folder"
        ) from cause


def _cached(hub_id: str, revision: str | None) -> Path:
    import huggingface_hub as hub

    try:
        return Path(hub.snapshot_download(hub_id, revision=revision, local_files_only=True))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{_where(hub_id, revision)}: no such folder, and not in the local cache of the hub, the only place "
            "looked at; a command that loads the model downloads it"
        ) from error
