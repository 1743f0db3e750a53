"""A linear layer whose weight may be laid out, once, in the order in which this processor multiplies.

oneDNN multiplies with weights in blocks. Given plain rows it reorders them in each product, which takes longer
than a product of few rows; PyTorch's float32 does not go through it at all. `benchmarks/` prints both rates.
"""

from __future__ import annotations

import platform
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@cache
def _packs(dtype: torch.dtype) -> bool:
    """Whether weights of a type can be laid out on this machine's CPU, and gain by it."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return False
    if not all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def product_type(x: Tensor) -> torch.dtype:
    """The type to which x is converted once, for all products that take it: on a CPU that of autocast, where it is on.

    On a GPU it stays as it is, and each product converts its own: memory is planned so (`training/activations.py`).
    """
    if x.device.type != "cpu" or x.dtype == torch.float64 or not torch.is_autocast_enabled("cpu"):
        return x.dtype
    return torch.get_autocast_dtype("cpu")


class Linear(nn.Linear):
    """`nn.Linear`, with `pack` for inference on a CPU.

    While packed, `weight` is a placeholder of the right shape and type whose every value is NaN. What
    moves, converts, copies, saves or loads the module unpacks it first or sees the true weight.
    """

    _packed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x [..., inputs] to [..., outputs]."""
        if self._packed is None or not x.numel():
            return F.linear(x, self.weight, self.bias)
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")

    @torch.no_grad()
    def pack(self) -> None:
        """Lay the weight out for this processor, in place of the plain one. Nothing where that gains nothing."""
        weight = self.weight
        if self._packed is not None or weight.device.type != "cpu" or not _packs(weight.dtype):
            return
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
        self._trained = weight.requires_grad
        self.weight = nn.Parameter(weight.new_full((), torch.nan).expand(weight.shape), requires_grad=False)

    @torch.no_grad()
    def unpack(self) -> None:
        """Undo `pack`, to the last bit."""
        if self._packed is not None:
            self.weight = nn.Parameter(self._packed.to_dense(), requires_grad=self._trained)
            self._packed = None

    def __getstate__(self) -> dict:
        """What copies and pickles are made of: they come out plain."""
        state = dict(self.__dict__)
        if self._packed is not None:
            weight = nn.Parameter(self._packed.to_dense(), requires_grad=self._trained)
            state |= {"_packed": None, "_parameters": {**self._parameters, "weight": weight}}
        return state

    def _apply(self, *args, **kwargs):
        self.unpack()
        return super()._apply(*args, **kwargs)

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._packed is not None:
            destination[prefix + "weight"] = self._packed.to_dense()

    def _load_from_state_dict(self, *args, **kwargs):
        self.unpack()
        super()._load_from_state_dict(*args, **kwargs)
