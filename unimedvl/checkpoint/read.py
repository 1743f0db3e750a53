"""A model out of a checkpoint: checked whole before any weight is read, then mapped or converted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from unimedvl.checkpoint.error import CheckpointError
from unimedvl.checkpoint.hub import AUTOENCODER
from unimedvl.checkpoint.layout import VAE_PREFIX, Checkpoint, open_checkpoint
from unimedvl.checkpoint.progress import Progress, reporter
from unimedvl.checkpoint.tensorfile import NAMES, Entry, MappedFile
from unimedvl.model.config import ModelConfig
from unimedvl.model.decoder import GENERATION
from unimedvl.model.linear import Linear
from unimedvl.model.unified import UnifiedModel

_MARK = "connector.fc1.weight"  # its type is the model's
_TOLD = 3  # tensors that an error names


def load_model(
    source: str | Path | Checkpoint | None = None,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
    generation: bool = True,
    pack: bool = False,
    progress: Progress | bool = False,
    revision: str | None = None,
) -> UnifiedModel:
    """The model of a checkpoint, in evaluation mode.

    On the CPU, tensors that already have the type stay where they are in the mapped file: they
    are read from the disk when first used, and changing them changes no file. All others are
    converted a piece at a time. So the memory needed is the model's own and a few megabytes.
    A mapped file must not be overwritten in place while the model lives; `save_model` never does.

    source: None for the embedded model, a folder, a hub id, or an opened checkpoint.
    dtype: float32, bfloat16 or float16 for all weights; None for that of the checkpoint's decoder.
    generation: False leaves the generation weights and the VAE out.
    pack: lay the weights of linear layers out for the CPU's products, each as it is read (`Linear.pack`). They
        are then held in memory, and their mapped pages are given back.
    progress: called with the bytes read and the bytes to read; True draws a bar on standard error.
    Raises:
        CheckpointError: files or tensors are missing, unexpected, misshapen or truncated.
    """
    checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source, revision)
    if dtype is not None and dtype not in NAMES:
        raise CheckpointError(f"dtype: expected {', '.join(map(str, NAMES))}, found {dtype}")
    model = empty_model(checkpoint.config, generation)
    check_tensors(checkpoint, model)
    dtype = dtype or checkpoint.tensors[_MARK].dtype
    wanted = {name: checkpoint.tensors[name] for name in model.state_dict()}
    with reporter(progress, sum(e.nbytes for e in wanted.values()), "loading weights") as report:
        _assign(model, wanted, dtype, torch.device(device), report, pack)
    return model.eval()


class _NoInitialisation(TorchFunctionMode):
    """Leaves out `torch.nn.init`: on the meta device it fills nothing, and imports a compiler to do so."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


def empty_model(config: ModelConfig, generation: bool = True) -> UnifiedModel:
    """The model's structure on the meta device, without memory for its weights."""
    with torch.device("meta"), _NoInitialisation():
        return UnifiedModel(config, generation)


def check_tensors(checkpoint: Checkpoint, model: UnifiedModel) -> None:
    """Hold the checkpoint's names and shapes against the model's.

    Raises:
        CheckpointError: tensors are missing, unexpected or misshapen; the first three are named.
    """
    found, expected = checkpoint.tensors, {n: tuple(t.shape) for n, t in model.state_dict().items()}
    known = expected if model.generation else empty_model(checkpoint.config).state_dict()
    if model.generation and not checkpoint.has_generation:
        raise CheckpointError(
            f"{checkpoint.folder}: expected generation weights (tensors with {GENERATION}), found none; "
            "load with generation=False"
        )
    if model.generation and not checkpoint.has_vae:
        raise CheckpointError(
            f"{checkpoint.folder / AUTOENCODER}: no such file, and the model cannot draw without; "
            "add it or load with generation=False"
        )
    problems = []
    for name, shape in expected.items():
        entry = found.get(name)
        if entry is None:
            place = f"{_home(checkpoint, name)}: tensor {name.removeprefix(VAE_PREFIX)}"
            problems.append(f"{place}: expected {list(shape)}, found none")
        elif entry.shape != shape:
            place = f"{entry.file}: tensor {entry.stored}"
            problems.append(f"{place}: expected {list(shape)}, found {list(entry.shape)}")
    for entry in (entry for name, entry in found.items() if name not in known):
        problems.append(f"{entry.file}: tensor {entry.stored}: expected none, found {list(entry.shape)}")
    if problems:
        count = f"{len(problems)} tensors do not fit: " if len(problems) > 1 else ""
        told = "; ".join(problems[:_TOLD]) + ("; ..." if len(problems) > _TOLD else "")
        raise CheckpointError(count + told)


def _home(checkpoint: Checkpoint, name: str) -> Path:
    """The file in which a missing tensor should have been."""
    if name.startswith(VAE_PREFIX):
        return checkpoint.folder / AUTOENCODER
    files = {e.file for n, e in checkpoint.tensors.items() if not n.startswith(VAE_PREFIX)}
    return files.pop() if len(files) == 1 else checkpoint.folder


def _assign(
    model: UnifiedModel,
    entries: dict[str, Entry],
    dtype: torch.dtype,
    device: torch.device,
    report: Callable[[int], None],
    pack: bool,
) -> None:
    """Give each parameter its tensor, file by file in the order of the disk."""
    files: dict[Path, MappedFile] = {}
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].file, item[1].start)):
        mapped = files.get(entry.file) or files.setdefault(entry.file, MappedFile(entry.file))
        if device.type == "cpu" and entry.dtype == dtype and entry.start % dtype.itemsize == 0:
            tensor = mapped.tensor(entry)
            report(entry.nbytes)
        else:
            tensor = torch.empty(entry.shape, dtype=dtype, device=device)
            mapped.copy_into(entry, tensor, report)
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        trained = getattr(module, leaf).requires_grad
        setattr(module, leaf, nn.Parameter(tensor, requires_grad=trained))
        if pack and leaf == "weight" and isinstance(module, Linear):
            del tensor
            module.pack()
            mapped.forget(entry)
