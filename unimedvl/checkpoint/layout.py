"""The published layout: which files a checkpoint has, and every tensor in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from unimedvl.checkpoint.error import CheckpointError
from unimedvl.checkpoint.geometry import GEOMETRY_FILE, LLM_FILE, VIT_FILE, model_config
from unimedvl.checkpoint.hub import AUTOENCODER, INDEX, WEIGHTS, choose, resolve
from unimedvl.checkpoint.tensorfile import Entry, read_header
from unimedvl.model.config import ModelConfig
from unimedvl.model.decoder import GENERATION

VAE_PREFIX = "vae."
_WRAPPER = "module."  # left over from distributed training in some published files


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose headers have been read and whose weights have not.

    files: the tensor files. tensors: by the model's names, those of the VAE under ``vae.``.
    geometry: `geometry.json` as it stands, empty where there is none.
    """

    folder: Path
    config: ModelConfig
    files: tuple[Path, ...]
    tensors: dict[str, Entry]
    geometry: dict

    @property
    def card(self) -> dict:
        """What the checkpoint says of itself (`model_card` in `geometry.json`)."""
        return self.geometry.get("model_card") or {}

    @property
    def has_generation(self) -> bool:
        """Whether it holds the generation weights, the VAE aside."""
        return any(GENERATION in name for name in self.tensors)

    @property
    def has_vae(self) -> bool:
        return any(name.startswith(VAE_PREFIX) for name in self.tensors)

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(entry.nbytes for entry in self.tensors.values())


def open_checkpoint(
    source: str | Path | None = None, revision: str | None = None, download: bool = True
) -> Checkpoint:
    """Find a checkpoint, read the headers of all its files and infer its geometry.

    source: None for the embedded model, a folder, or a hub id. revision: on the hub. download: False takes a
        hub id from the hub's cache alone.
    Raises:
        CheckpointError: something is missing, unreadable, truncated or contradicts itself.
    """
    folder = resolve(source, revision, download)
    names = [path.name for path in folder.iterdir()]
    weights = choose(names, WEIGHTS)
    if weights is None:
        found = ", ".join(sorted(n for n in names if n.endswith(".safetensors"))) or "no tensor file"
        raise CheckpointError(f"{folder}: expected {', '.join(WEIGHTS)} or an index of shards, found {found}")
    tensors = _tensors(folder, weights, "")
    autoencoder = choose(names, (AUTOENCODER,))
    if autoencoder is not None:
        tensors |= _tensors(folder, autoencoder, VAE_PREFIX)
    llm, vit = _read_json(folder / LLM_FILE), _read_json(folder / VIT_FILE)
    geometry = _read_json(folder / GEOMETRY_FILE) if GEOMETRY_FILE in names else {}
    try:
        config = model_config({name: e.shape for name, e in tensors.items()}, llm, vit, geometry)
    except CheckpointError as error:  # it begins with the file's name
        raise CheckpointError(f"{folder / str(error)}") from None
    files = tuple(sorted({entry.file for entry in tensors.values()}))
    return Checkpoint(folder, config, files, tensors, geometry)


def _tensors(folder: Path, name: str, prefix: str) -> dict[str, Entry]:
    """The tensors of a file, or of all the shards of an index, by the model's names."""
    path = folder / name
    stored = _sharded(path) if name.endswith(INDEX) else read_header(path)
    tensors: dict[str, Entry] = {}
    for key, entry in stored.items():
        ours = prefix + key.removeprefix(_WRAPPER)
        if ours in tensors:
            raise CheckpointError(
                f"{entry.file}: tensor {key}: expected once, found with and without {_WRAPPER}"
            )
        tensors[ours] = entry
    return tensors


def _sharded(index: Path) -> dict[str, Entry]:
    places = _read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(p, str) for p in places.values()):
        raise CheckpointError(
            f"{index}: field weight_map: expected tensor names and their files, found {places!r:.80}"
        )
    for place in places.values():
        if Path(place).name != place:
            raise CheckpointError(
                f"{index}: field weight_map: expected a file of the same folder, found {place!r}"
            )
    headers = {place: read_header(index.parent / place) for place in dict.fromkeys(places.values())}
    for name, place in places.items():
        if name not in headers[place]:
            raise CheckpointError(
                f"{index.parent / place}: tensor {name}: expected by {index.name}, found none"
            )
    for place, header in headers.items():
        for name in header:
            if places.get(name) != place:
                where = places.get(name, "nowhere")
                raise CheckpointError(
                    f"{index.parent / place}: tensor {name}: found here, expected by {index.name} in {where}"
                )
    return {name: headers[place][name] for name, place in places.items()}


def _read_json(path: Path) -> dict:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values
