"""A model into the published layout, every file whole or not there at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from unimedvl.checkpoint.error import CheckpointError
from unimedvl.checkpoint.geometry import GEOMETRY_FILE, LLM_FILE, VIT_FILE, geometry_json, llm_json, vit_json
from unimedvl.checkpoint.hub import AUTOENCODER, INDEX, WEIGHTS
from unimedvl.checkpoint.layout import VAE_PREFIX
from unimedvl.checkpoint.read import empty_model
from unimedvl.checkpoint.tensorfile import NAMES, header_bytes, write_tensors
from unimedvl.model.unified import UnifiedModel

Tensors = dict[str, Tensor]


class Savable(Protocol):
    """A tokenizer, as far as saving goes."""

    def save(self, folder: str | Path) -> None: ...


def save_model(
    model: UnifiedModel,
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    shard_bytes: int | None = None,
    tokenizer: Savable | None = None,
    card: dict | None = None,
) -> None:
    """Write a model in the published layout.

    Files are written under another name and moved into place when they are whole and on the disk,
    the weights last, so a crash leaves an old file or a new one and never a part. Tensor files of
    an earlier save that this one does not have are removed; other files of the folder stay.

    dtype: of the files: float32, bfloat16 or float16; None for the weights' own.
    shard_bytes: largest size of a tensor file, a single larger tensor aside; None for one file.
    card: what the model says of itself, kept as `model_card` in `geometry.json`.
    Raises:
        CheckpointError: the model's tensors are not the published ones or not in memory, the type is
            no such type, or the disk refuses.
    """
    folder = Path(folder)
    tensors = dict(model.state_dict())
    _check(model, tensors, dtype, shard_bytes)
    stored = str(dtype or model.dtype).removeprefix("torch.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = folder.parent / f".{folder.name}-{secrets.token_hex(4)}"
        try:
            draft.mkdir()
            _write_json(draft / LLM_FILE, llm_json(model.config.decoder, model.config.special, stored))
            _write_json(draft / VIT_FILE, vit_json(model.config.vit))
            about = {"model_card": card} if card else {}
            _write_json(draft / GEOMETRY_FILE, geometry_json(model.config) | about)
            if tokenizer is not None:
                tokenizer.save(draft)
            main = {n: t for n, t in tensors.items() if not n.startswith(VAE_PREFIX)}
            vae = {n.removeprefix(VAE_PREFIX): t for n, t in tensors.items() if n.startswith(VAE_PREFIX)}
            _write_set(draft, WEIGHTS[0], main, dtype, shard_bytes)
            if vae:
                _write_set(draft, AUTOENCODER, vae, dtype, shard_bytes)
            _move_into(folder, draft)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be saved: {error.strerror or error}") from error


def _check(model: UnifiedModel, tensors: Tensors, dtype: torch.dtype | None, shard_bytes: int | None) -> None:
    if shard_bytes is not None and shard_bytes <= 0:
        raise CheckpointError(f"shard_bytes: expected a positive number of bytes, found {shard_bytes}")
    published = empty_model(model.config, model.generation).state_dict()
    changed = sorted(published.keys() ^ tensors.keys())
    if changed:
        raise CheckpointError(
            f"tensor {changed[0]}: expected the published names, found {len(changed)} others; "
            "merge adapters and unwrap quantised or compiled parts before saving"
        )
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise CheckpointError(f"tensor {name}: expected weights, found the meta device, which holds none")
        if (dtype or tensor.dtype) not in NAMES:
            types = ", ".join(NAMES.values())
            raise CheckpointError(f"tensor {name}: expected type {types}, found {dtype or tensor.dtype}")


def _write_set(
    folder: Path, name: str, tensors: Tensors, dtype: torch.dtype | None, limit: int | None
) -> None:
    """One set of tensors as a file, or as shards and their index."""
    shards = _shards(tensors, dtype, limit)
    if len(shards) == 1:
        write_tensors(folder / name, tensors.items(), dtype)
        return
    stem, places = name.removesuffix(".safetensors"), {}
    for i, shard in enumerate(shards, 1):
        file = f"{stem}-{i:05d}-of-{len(shards):05d}.safetensors"
        write_tensors(folder / file, shard.items(), dtype)
        places |= dict.fromkeys(shard, file)
    total = sum(t.numel() * (dtype or t.dtype).itemsize for t in tensors.values())
    _write_json(folder / (name + INDEX), {"metadata": {"total_size": total}, "weight_map": places})


def _shards(tensors: Tensors, dtype: torch.dtype | None, limit: int | None) -> list[Tensors]:
    """Tensors in order, cut where the next one would take a file over the limit."""
    shards: list[Tensors] = [{}]
    size = 0
    for name, tensor in tensors.items():
        kind = dtype or tensor.dtype
        # A header alone for this tensor is longer than its share of a common one, padding apart.
        need = tensor.numel() * kind.itemsize + len(header_bytes({name: (kind, tuple(tensor.shape))}))
        if limit is not None and shards[-1] and size + need > limit:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += need
    return shards


def _move_into(folder: Path, draft: Path) -> None:
    """Move a finished draft to its place, whole where the place is free."""
    if not folder.exists():
        os.rename(draft, folder)
        return
    new = {path.name for path in draft.iterdir()}
    for path in sorted(draft.iterdir(), key=_rank):
        os.replace(path, folder / path.name)
    for name in (*WEIGHTS, AUTOENCODER):
        stem = name.removesuffix(".safetensors")
        for old in (
            *folder.glob(name),
            *folder.glob(name + INDEX),
            *folder.glob(f"{stem}-*-of-*.safetensors"),
        ):
            if old.name not in new:
                old.unlink()


def _rank(path: Path) -> tuple[int, str]:
    """Order of moving: what describes the weights, the weights, and the index that points at them."""
    return (2 if path.name.endswith(INDEX) else path.suffix == ".safetensors"), path.name


def _write_json(path: Path, values: dict) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
