"""Many ranks: who we are, what we sum over all of us, and how weights are shared out (FSDP2). The model knows of none.

One process needs no process group. Under torchrun ranks share copies of the weights: all of them one copy (full
sharding), groups of them a copy each (hybrid), or each its own. Gradients are summed, for losses are sums over
all ranks' tokens already.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from unimedvl.model.unified import UnifiedModel
from unimedvl.training.error import TrainingError
from unimedvl.training.recipe import Devices

# How long ranks wait for each other: one may prepare alone what all need.
PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class World:
    """This process among all. saves: the group that checkpoints talk over, beside the training; None where alone."""

    rank: int
    size: int
    local: int
    device: torch.device
    saves: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def sharded(self) -> bool:
        """Whether `shard` shares weights out, be it among one rank."""
        return dist.is_initialized()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over all ranks."""
        if self.size == 1:
            return [float(v) for v in values]
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def sum_tensor(self, values: Tensor) -> Tensor:
        """A tensor [n] summed over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Go on when all ranks are here."""
        if self.size > 1:
            dist.barrier()


def rank() -> int:
    """Which rank this process is, whether or not it has joined the others; 0 where alone."""
    return int(os.environ.get("RANK", 0))


def join() -> World:
    """The world that torchrun started, or this process alone. Cores are shared with the ranks beside us."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    local, beside = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if "RANK" not in os.environ:
        return World(0, 1, 0, device)
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
        if not cuda:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // beside))
    return World(rank(), size, local, device, dist.new_group(backend="gloo", timeout=PATIENCE))


def leave() -> None:
    """Let the other ranks go."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def shard(model: UnifiedModel, settings: Devices, world: World, bf16: bool) -> None:
    """Share the weights out, a layer of the decoder at a time; the frozen autoencoder stays whole on each rank.

    Raises:
        TrainingError: ranks can't be split as the settings say.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import (
        CPUOffloadPolicy,
        FSDPModule,
        MixedPrecisionPolicy,
        OffloadPolicy,
        fully_shard,
    )

    together = settings.shard or world.size
    if world.size % together:
        raise TrainingError(f"devices.shard is {together}; it must divide the {world.size} ranks")
    if not world.sharded:
        if settings.offload:
            raise TrainingError("devices.offload needs torchrun, with one process or more")
        return
    names, shape = ("replicate", "shard"), (world.size // together, together)
    if together == world.size:
        names, shape = names[1:], shape[1:]
    mesh = init_device_mesh(world.device.type, shape, mesh_dim_names=names)
    cuda = world.device.type == "cuda"
    how = {
        "mesh": mesh,
        "mp_policy": MixedPrecisionPolicy(torch.bfloat16, torch.float32) if bf16 and cuda else MixedPrecisionPolicy(),
        "offload_policy": CPUOffloadPolicy(pin_memory=cuda) if settings.offload else OffloadPolicy(),
    }
    for layer in model.stack.layers:
        fully_shard(layer, **how)
    fully_shard(model, **how, ignored_params=set(model.vae.parameters()))
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def share_out_again(model: nn.Module) -> None:
    """After a pass without gradients: the backward pass would have let gathered weights go, and so they are kept.

    Until then the model holds them as they were, whatever becomes of each rank's own part.
    """
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; every rank must ask for it."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def clip(parameters: Sequence[nn.Parameter], largest: float) -> float:
    """Bring the gradient's norm over all ranks to at most `largest`; returns the norm before."""
    norm = whole(torch.nn.utils.clip_grad_norm_(parameters, largest))
    return float(norm)
