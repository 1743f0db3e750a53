"""Low-rank adapters: a few trained weights beside the frozen ones (Hu et al., arXiv 2106.09685).

An adapted layer gives ``W x + alpha / rank * B A x``. W is frozen and held in float32, bfloat16, or as whole numbers
of 8 bits with a scale for each row (int8), and is brought to the type of the computation in each product, forward
and backward: no wide copy of it is kept for the gradient. A and B are float32 and trained. B begins at zero, so an
adapted model begins as the model that it adapts. The model itself knows of none of this.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from unimedvl.checkpoint import CheckpointError, Fingerprint, load_model, open_checkpoint, save_model
from unimedvl.checkpoint.adapters import (
    DOWN,
    UP,
    Adapters,
    Base,
    check_base,
    check_shapes,
    linears_of,
    merge_tensors,
    module_of,
    read_adapters,
    write_adapters,
)
from unimedvl.checkpoint.layout import Checkpoint
from unimedvl.checkpoint.tensorfile import MappedFile
from unimedvl.model.linear import Linear
from unimedvl.model.unified import UnifiedModel
from unimedvl.training.error import TrainingError
from unimedvl.training.parallel import whole
from unimedvl.training.recipe import Lora

_HELD = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class _FrozenProduct(torch.autograd.Function):
    """x W^T of a frozen weight, with the gradient of x alone.

    Autograd would keep the weight in the type of the product until the backward pass, which costs what holding it in
    a narrow type saves. Here the held one is kept, and widened once more.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, scale: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight, scale)
        out = F.linear(x, weight.to(x.dtype))
        return out if scale is None else out * scale.to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        if scale is not None:
            grad = grad * scale.to(grad.dtype)
        # Turned before it is widened: a compiler that found the forward's product here would keep the wide copy.
        return F.linear(grad, weight.t().to(grad.dtype)), None, None


def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight [outputs, inputs] as int8 of the same shape, and scales [outputs] in bfloat16.

    Symmetric, by each row's largest value. The scale is rounded up, so that no value is cut off, and values are
    rounded under the scale as it is held: its own rounding costs nothing.
    """
    weight = weight.float()
    exact = weight.abs().amax(1).div(127).clamp_min(torch.finfo(torch.bfloat16).tiny)
    scale = exact.bfloat16()
    scale = torch.where(scale.float() < exact, (exact * (1 + 2**-7)).bfloat16(), scale)
    return weight.div(scale.float()[:, None]).round_().to(torch.int8), scale


class AdaptedLinear(nn.Module):
    """A linear layer with a frozen weight and an adapter.

    base [outputs, inputs], frozen, with `scale` [outputs] where it is int8; lora_A [rank, inputs] and
    lora_B [outputs, rank], float32. It computes in the type of its input, or that of autocast. Moved to another type
    with the rest of a model, these keep theirs.
    """

    def __init__(self, linear: nn.Linear, settings: Lora, generator: torch.Generator | None = None) -> None:
        """linear: what it takes the place of. generator: of the random A, on the CPU."""
        super().__init__()
        weight = linear.weight.detach()
        self.out_features, self.in_features = weight.shape
        self.rank, self.alpha, self.held = settings.rank, settings.alpha, settings.base
        self.dtype = weight.dtype
        base, scale = quantised(weight) if settings.base == "int8" else (weight.to(_HELD[settings.base]), None)
        self.base = nn.Parameter(base, requires_grad=False)
        self.scale = None if scale is None else nn.Parameter(scale, requires_grad=False)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)
        # Kaiming (arXiv 1502.01852) with a slope of the root of 5, as published. Made on the CPU: all devices alike.
        bound = self.in_features**-0.5
        down = torch.empty(self.rank, self.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(down.to(weight.device))
        self.lora_B = nn.Parameter(torch.zeros(self.out_features, self.rank, device=weight.device))

    @property
    def weight(self) -> Tensor:
        """The frozen weight [outputs, inputs] in the type of the layer that was adapted."""
        if self.scale is None:
            return self.base.to(self.dtype)
        return (self.base.float() * self.scale.float()[:, None]).to(self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., inputs] to [..., outputs]."""
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        x = x.to(dtype)
        out = _FrozenProduct.apply(x, self.base, self.scale)
        if self.bias is not None:
            out = out + self.bias.to(dtype)
        low = F.linear(x, self.lora_A.to(dtype)) * (self.alpha / self.rank)
        return out + F.linear(low, self.lora_B.to(dtype))

    def _apply(self, fn, recurse: bool = True):
        own = [id(p) for p in (self.base, self.scale, self.lora_A, self.lora_B) if p is not None]

        def keep_type(t: Tensor) -> Tensor:
            moved = fn(t)
            return moved.to(t.dtype) if id(t) in own else moved

        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        return super()._apply(keep_type, recurse)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, rank={self.rank}, alpha={self.alpha}, base={self.held}"


def add_adapters(model: UnifiedModel, settings: Lora, seed: int = 0) -> list[str]:
    """Adapt the linear layers of the settings' modules and freeze all else; returns the adapted weights' names.

    Understanding and generation are the projections and MLPs of the decoder's layers, the connector its two layers.
    What is not adapted stays in the type that it has. Layers are replaced one by one, so that a mapped model takes
    the memory of what it becomes. A depends on the seed and the weight's name alone.

    Raises:
        TrainingError: the model has adapters, or lacks a module.
    """
    if _adapted(model):
        raise TrainingError("the model has adapters already; merge them first (merge_adapters)")
    model.requires_grad_(False)
    if "generation" in settings.modules and not model.generation:
        raise TrainingError("lora.modules: generation is asked for, and the model was loaded for understanding only")
    names = []
    for name, linear in linears_of(model, settings.modules).items():
        if isinstance(linear, Linear):
            linear.unpack()
        digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        _put(model, name, AdaptedLinear(linear, settings, generator))
        names.append(name)
    return names


@torch.no_grad()
def merge_adapters(model: UnifiedModel) -> UnifiedModel:
    """Make the model plain again, each adapted weight ``W + alpha / rank * B A`` in the type that it once had.

    W is what was held, so with an int8 base its rounding stays in: to export, use `merge_into`. The merged layers
    stay frozen.

    Raises:
        TrainingError: the weights are shared out over ranks.
    """
    for name, layer in _adapted(model).items():
        if any(hasattr(p, "full_tensor") for p in layer.parameters()):
            raise TrainingError("adapters of weights that ranks share can't be merged; save them, and merge the files")
        change = (layer.lora_B @ layer.lora_A).mul_(layer.alpha / layer.rank)
        base = layer.base.float() if layer.scale is None else layer.base.float() * layer.scale.float()[:, None]
        with torch.device("meta"):
            plain = Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        plain.weight = nn.Parameter(change.add_(base).to(layer.dtype), requires_grad=False)
        plain.bias = layer.bias
        _put(model, name, plain)
    return model


def save_adapters(model: UnifiedModel, folder: str | Path, settings: Lora, base: Base) -> None:
    """Write a model's adapters to a folder (`checkpoint/adapters.py` says how it looks).

    Where ranks share the weights all must call this; the first writes, and all fail if it does.

    Raises:
        TrainingError: the model has no adapters of these settings.
        CheckpointError: the disk refuses.
    """
    layers = _adapted(model)
    _check_settings(layers, settings)
    tensors = {}
    for name, layer in layers.items():
        for suffix, p in ((DOWN, layer.lora_A), (UP, layer.lora_B)):
            tensors[name + suffix] = whole(p.detach()).cpu()
    adapters = Adapters(settings.rank, settings.alpha, settings.modules, settings.base, base, tensors)
    failure: list[Exception | None] = [None]
    if not dist.is_initialized() or dist.get_rank() == 0:
        try:
            write_adapters(folder, adapters)
        except ValueError as error:
            failure[0] = error
    if dist.is_initialized():
        dist.broadcast_object_list(failure, 0)
    if failure[0] is not None:
        raise failure[0]


@torch.no_grad()
def load_adapters(model: UnifiedModel, folder: str | Path, base: Base | None = None) -> Adapters:
    """Fill a model's adapters from a folder; a plain model gets adapters as those were trained.

    base: the checkpoint that the model was loaded from, held against the adapters' own. A model whose weights are
    shared out takes its part on each rank.

    Raises:
        CheckpointError: no adapters there, or those of another checkpoint, geometry, rank, alpha or modules.
    """
    found = read_adapters(folder)
    if base is not None:
        check_base(found, base)
    layers = _adapted(model)
    settings = Lora(rank=found.rank, alpha=found.alpha, modules=found.modules, base=found.held)
    try:
        if layers:
            _check_settings(layers, settings, held=False)
        targets = layers or linears_of(model, found.modules)
        check_shapes(found, {n: (m.out_features, m.in_features) for n, m in targets.items()})
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}") from None
    if not layers:
        add_adapters(model, settings)
        layers = _adapted(model)
    for name, layer in layers.items():
        for suffix, p in ((DOWN, layer.lora_A), (UP, layer.lora_B)):
            p.copy_(_shared_like(found.tensors[name + suffix], p))
    return found


def merge_into(
    source: str | Path | Checkpoint | None,
    adapters: str | Path,
    folder: str | Path,
    progress: bool = False,
    card: Mapping[str, Any] | None = None,
) -> Base:
    """Merge adapters into the checkpoint that they belong to, and write it in the published layout.

    Its weights are taken as they are stored, not as they were held in training, so a merge of adapters trained over
    int8 has no int8 in it. Each tensor keeps its type. The memory needed is the merged weights'.

    source: None takes the one that `adapter.json` names; "nano" is the embedded model. progress: draw bars.
    card: what the merged model says of itself beside what the checkpoint says.
    Returns the checkpoint merged into.
    Raises:
        CheckpointError: adapters or checkpoint are not there, do not belong together, or the disk refuses.
    """
    from unimedvl.tokenizer import Tokenizer

    found = read_adapters(adapters)
    if not isinstance(source, Checkpoint):
        name = found.base.name if source is None else source
        source = open_checkpoint(None if name == "nano" else name)
    checkpoint = source
    base = Base(str(checkpoint.card.get("name") or checkpoint.folder), Fingerprint(checkpoint, progress)())
    check_base(found, base)
    if Path(folder).resolve() == checkpoint.folder.resolve():
        raise CheckpointError(f"{folder}: is the checkpoint that the adapters belong to; name another folder")
    model = load_model(checkpoint, generation=checkpoint.has_generation and checkpoint.has_vae, progress=progress)
    _restore_types(model, checkpoint)
    merge_tensors(model, found)
    merged = {"base": base.name, "base_sha256": base.weights_sha256, "adapters_sha256": found.sha256}
    tokenizer = Tokenizer.load(checkpoint.folder)
    save_model(model, folder, tokenizer=tokenizer, card=checkpoint.card | dict(card or {}) | {"merged": merged})
    return base


def _restore_types(model: UnifiedModel, checkpoint: Checkpoint) -> None:
    """Give a model that was loaded in one type the tensors that the checkpoint has in another."""
    files: dict[Path, MappedFile] = {}
    for name, p in list(model.named_parameters()):
        entry = checkpoint.tensors[name]
        if entry.dtype != p.dtype and entry.start % entry.dtype.itemsize == 0:
            mapped = files.get(entry.file) or files.setdefault(entry.file, MappedFile(entry.file))
            owner, _, leaf = name.rpartition(".")
            tensor = nn.Parameter(mapped.tensor(entry), requires_grad=p.requires_grad)
            setattr(model.get_submodule(owner), leaf, tensor)


def _adapted(model: nn.Module) -> dict[str, AdaptedLinear]:
    """A model's adapted layers by the published names of their weights."""
    return {f"{n}.weight": m for n, m in model.named_modules() if isinstance(m, AdaptedLinear)}


def _check_settings(layers: dict[str, AdaptedLinear], settings: Lora, held: bool = True) -> None:
    modules = {module_of(name) for name in layers}
    if modules != set(settings.modules):
        here = ", ".join(sorted(modules)) or "no module"
        raise TrainingError(f"adapters of {', '.join(sorted(settings.modules))}, and the model's are of {here}")
    layer = next(iter(layers.values()))
    for what, theirs, ours in (
        ("rank", settings.rank, layer.rank),
        ("alpha", settings.alpha, layer.alpha),
        ("base", settings.base if held else layer.held, layer.held),
    ):
        if theirs != ours and not (isinstance(ours, float) and math.isclose(ours, theirs)):
            raise TrainingError(f"adapters of {what} {theirs}, and the model's are of {what} {ours}")


def _shared_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor that all ranks have, shared out as another one is."""
    if not hasattr(like, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def _put(model: nn.Module, weight: str, layer: nn.Module) -> None:
    """Put a layer in the place of the one that has this weight."""
    owner, _, leaf = weight.removesuffix(".weight").rpartition(".")
    setattr(model.get_submodule(owner), leaf, layer)
