"""Low-rank adapters as files, and merged into the weights that they belong to (Hu et al., arXiv 2106.09685).

A folder holds `adapters.safetensors`, two matrices for each adapted weight under its published name:
``NAME.lora_A`` [rank, inputs] and ``NAME.lora_B`` [outputs, rank]; and `adapter.json`, which says what they are and
which checkpoint they belong to. The adapted weight is ``W + alpha / rank * B A``.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from unimedvl.checkpoint.error import CheckpointError
from unimedvl.checkpoint.tensorfile import MappedFile, read_header, write_tensors
from unimedvl.model.decoder import GENERATION
from unimedvl.model.linear import Linear
from unimedvl.model.unified import UnifiedModel

TENSORS, ABOUT = "adapters.safetensors", "adapter.json"
DOWN, UP = ".lora_A", ".lora_B"
# What can be adapted, and what frozen weights may be held in.
MODULES = ("understanding", "generation", "connector")
HELD = ("float32", "bfloat16", "int8")
_FORMAT = "unimedvl-lora-1"


@dataclass(frozen=True)
class Base:
    """The checkpoint that adapters belong to. name: as the user named it. weights_sha256: `checkpoint.fingerprint`."""

    name: str
    weights_sha256: str


@dataclass(frozen=True)
class Adapters:
    """The adapters of a model.

    modules: of what they are, as in MODULES. held: what the frozen weights were held in while they were trained, as in
    HELD. tensors: as in the file, float32. sha256: of the file, empty where there is none yet.
    """

    rank: int
    alpha: float
    modules: tuple[str, ...]
    held: str
    base: Base
    tensors: dict[str, Tensor]
    sha256: str = ""

    @property
    def weights(self) -> list[str]:
        """Names of the adapted weights."""
        return [name.removesuffix(DOWN) for name in self.tensors if name.endswith(DOWN)]

    def change(self, weight: str, device: torch.device | None = None) -> Tensor:
        """What is to be added to a weight: [outputs, inputs] float32."""
        down, up = (self.tensors[weight + suffix].to(device) for suffix in (DOWN, UP))
        return (up @ down).mul_(self.alpha / self.rank)


def module_of(weight: str) -> str | None:
    """What an adapted weight is part of, by its name: understanding, generation or connector."""
    if weight.startswith("connector."):
        return "connector"
    if not weight.startswith("language_model.model.layers."):
        return None
    return "generation" if GENERATION in weight else "understanding"


def write_adapters(folder: str | Path, adapters: Adapters) -> None:
    """Write the two files, each whole or not at all, the one that describes the other last.

    Where a crash came between the two, `read_adapters` says so. Other files of the folder stay.

    Raises:
        CheckpointError: the disk refuses.
    """
    folder = Path(folder)
    parts = {name: folder / f"{name}.part" for name in (TENSORS, ABOUT)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            write_tensors(parts[TENSORS], adapters.tensors.items(), torch.float32)
            _write_json(parts[ABOUT], _about(adapters, _digest(parts[TENSORS])))
            for name, part in parts.items():
                part.replace(folder / name)
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: adapters cannot be saved: {error.strerror or error}") from error


def read_adapters(folder: str | Path) -> Adapters:
    """The adapters of a folder, whole.

    Raises:
        CheckpointError: a file is missing, damaged, or not what the other one says.
    """
    folder = Path(folder)
    if not (folder / ABOUT).is_file():
        raise CheckpointError(f"{folder}: expected adapters, {ABOUT} and {TENSORS}, found no {ABOUT}")
    about, file = _read_json(folder / ABOUT), folder / TENSORS
    entries = read_header(file)
    if _digest(file) != about["tensors_sha256"]:
        raise CheckpointError(f"{file}: expected the file that {ABOUT} describes, found another; save them again")
    mapped = MappedFile(file)
    tensors = {name: mapped.tensor(entry).float().clone() for name, entry in entries.items()}
    base = Base(about["base"]["name"], about["base"]["weights_sha256"])
    modules = tuple(about["modules"])
    found = Adapters(
        about["rank"], about["alpha"], modules, about["trained_over"], base, tensors, about["tensors_sha256"]
    )
    _check_pairs(file, found)
    return found


def check_base(adapters: Adapters, base: Base) -> None:
    """Raises CheckpointError where adapters belong to another checkpoint."""
    ours, theirs = base.weights_sha256, adapters.base.weights_sha256
    if ours != theirs:
        raise CheckpointError(
            f"adapters belong to {adapters.base.name} (weights {theirs[:12]}), not to {base.name} "
            f"(weights {ours[:12]}); name the checkpoint that they were trained on"
        )


def check_shapes(adapters: Adapters, shapes: dict[str, tuple[int, ...]], partial: bool = False) -> None:
    """Hold adapters against the model's weights.

    shapes: of all weights that adapters of these modules have in the model, by name. partial: the generation weights
    may be missing.

    Raises:
        CheckpointError: adapters of another geometry; the first that doesn't fit is named.
    """
    found = {
        name: (len(adapters.tensors[name + UP]), adapters.tensors[name + DOWN].shape[1])
        for name in adapters.weights
        if not (partial and module_of(name) == "generation")
    }
    for name in sorted(found.keys() | shapes.keys()):
        ours, theirs = shapes.get(name), found.get(name)
        if ours != theirs:
            expected, has = ("none" if s is None else list(s) for s in (ours, theirs))
            raise CheckpointError(
                f"adapters of another geometry: {name}: the model's weight is {expected}, the adapter's {has}"
            )


def linears_of(model: nn.Module, modules: tuple[str, ...]) -> dict[str, nn.Linear]:
    """The plain linear layers of a model that adapters of some modules go to, by the names of their weights."""
    linears = {f"{name}.weight": m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    return {name: m for name, m in linears.items() if module_of(name) in modules}


@torch.no_grad()
def merge_tensors(model: UnifiedModel, adapters: Adapters) -> None:
    """Add adapters to the plain weights of a model, in float32, and round to the weights' type once.

    A model without generation weights takes in those of the rest. Packed weights are left unpacked.

    Raises:
        CheckpointError: adapters of another geometry.
    """
    partial = not model.generation
    modules = tuple(m for m in adapters.modules if not (partial and m == "generation"))
    linears = linears_of(model, modules)
    check_shapes(adapters, {name: tuple(m.weight.shape) for name, m in linears.items()}, partial)
    for name, linear in linears.items():
        if isinstance(linear, Linear):
            linear.unpack()
        weight = linear.weight
        merged = adapters.change(name, weight.device).add_(weight).to(weight.dtype)
        linear.weight = nn.Parameter(merged, requires_grad=weight.requires_grad)


def _check_pairs(file: Path, adapters: Adapters) -> None:
    """Every weight has its two matrices, of the rank that is stated."""
    names = {name + suffix for name in adapters.weights for suffix in (DOWN, UP)}
    odd = sorted(names ^ adapters.tensors.keys())
    if odd or not names:
        raise CheckpointError(f"{file}: expected pairs of {DOWN} and {UP}, found {odd[0] if odd else 'none'} alone")
    for name in adapters.weights:
        down, up = adapters.tensors[name + DOWN], adapters.tensors[name + UP]
        if down.dim() != 2 or up.dim() != 2 or len(down) != adapters.rank or up.shape[1] != adapters.rank:
            raise CheckpointError(
                f"{file}: {name}: expected rank {adapters.rank}, found {list(down.shape)} and {list(up.shape)}"
            )


def _about(adapters: Adapters, sha256: str) -> dict:
    return {
        "format": _FORMAT,
        "rank": adapters.rank,
        "alpha": adapters.alpha,
        "modules": list(adapters.modules),
        "trained_over": adapters.held,
        "base": {"name": adapters.base.name, "weights_sha256": adapters.base.weights_sha256},
        "tensors_sha256": sha256,
    }


# What `adapter.json` must hold, and of which type.
_FIELDS = {
    "rank": int, "alpha": (int, float), "modules": list, "trained_over": str, "base": dict, "tensors_sha256": str
}  # fmt: skip


def _read_json(file: Path) -> dict:
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read: {error}") from error
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        raise CheckpointError(f"{file}: expected format {_FORMAT}, found something else")
    for name, kind in _FIELDS.items():
        if not isinstance(about.get(name), kind):
            raise CheckpointError(f"{file}: field {name}: found {about.get(name)!r:.40}, which it can't be")
    if not {"name", "weights_sha256"} <= about["base"].keys() or about["rank"] < 1:
        raise CheckpointError(f"{file}: expected a rank of 1 or more, and the base's name and weights_sha256")
    stated = (("modules", about["modules"], MODULES), ("trained_over", [about["trained_over"]], HELD))
    for name, values, known in stated:
        if not values or not set(map(str, values)) <= set(known):
            raise CheckpointError(f"{file}: field {name}: expected {', '.join(known)}, found {values!r:.60}")
    return about


def _write_json(file: Path, values: dict) -> None:
    with file.open("w", encoding="utf-8") as out:
        json.dump(values, out, indent=1, ensure_ascii=False)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
