"""The root mean square norm (Zhang and Sennrich, arXiv 1910.07467), alone and with the rotation that follows it.

PyTorch has a kernel for it on GPUs and puts it together from single operations on a CPU. There it is done here, forward
and backward, in fewer passes over memory, and keeps nothing for the backward pass but its input.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from unimedvl.model.linear import product_type

Rotation = tuple[Tensor, Tensor]


class RMSNorm(nn.Module):
    """``weight * x / sqrt(mean(x ** 2) + eps)`` over the last dimension, computed in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x [..., width] to the same shape.

        In x's type, but where a CPU learns: there in the type of products, for products are what follows.
        """
        if x.device.type != "cpu":
            return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)
        if torch.is_grad_enabled():
            return _Norm.apply(x, self.weight, self.eps, product_type(x))
        return _normalised(x, self.weight, self.eps)[0].to(x.dtype)

    def rotated(self, x: Tensor, rotation: Rotation) -> Tensor:
        """The norm of x [T, heads, width], rotated as by `rotate`."""
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return rotate(self(x), rotation)
        return _RotatedNorm.apply(x, self.weight, self.eps, *rotation)


def rotation(positions: Tensor, head_dim: int, theta: float) -> Rotation:
    """Cosines and sines of rotary positions (Su et al., arXiv 2104.09864).

    positions [T] to two float32 tensors [T, 1, head_dim], laid out for `rotate`.
    """
    frequency = theta ** (-torch.arange(0, head_dim, 2, device=positions.device).float() / head_dim)
    angle = positions.float()[:, None, None] * frequency
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn the pairs (i, i + dim / 2) of x [T, heads, dim], in float32."""
    cos, sin = rotation
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin).to(x.dtype)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        out, factor = _normalised(x, weight, eps)
        ctx.save_for_backward(x, weight, factor)
        return out.to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return *_norm_backward(grad, *ctx.saved_tensors, ctx.needs_input_grad), None, None


class _RotatedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, eps: float, cos: Tensor, sin: Tensor) -> Tensor:
        out, factor = _normalised(x, weight, eps)
        ctx.save_for_backward(x, weight, factor, cos, sin)
        return rotate(out, (cos, sin)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        x, weight, factor, cos, sin = ctx.saved_tensors
        back = rotate(_wide(grad), (cos, -sin))
        return *_norm_backward(back, x, weight, factor, ctx.needs_input_grad), None, None, None


def _wide(x: Tensor) -> Tensor:
    """x in float32, or as it is where that is wider."""
    return x if x.dtype == torch.float64 else x.float()


def _normalised(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The norm in float32, and what each row was multiplied with [..., 1]."""
    wide = _wide(x)
    square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1])
    factor = square.add_(eps).rsqrt_()
    out = wide * factor if wide is x else wide.mul_(factor)
    return out.mul_(weight), factor


def _norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, factor: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of x and of the weight, where needed.

    The norm of a row is its layer norm with a mean held at nought, for which PyTorch has a backward kernel. What that
    takes to flow through the mean, ``-factor * mean(weight * grad)``, is given back.
    """
    grad, scale = _wide(grad), _wide(weight).to(factor.dtype)
    of_x, of_weight, _ = torch.ops.aten.native_layer_norm_backward(
        grad, _wide(x), list(weight.shape), torch.zeros_like(factor), factor, scale, None, [*needed[:2], False]
    )
    if needed[0]:
        with torch.autocast(grad.device.type, enabled=False):  # or the product would be a rounded one
            through_mean = torch.matmul(grad, scale / x.shape[-1]).unsqueeze(-1)
        of_x = of_x.add_(through_mean.mul_(factor)).to(x.dtype)
    return of_x, of_weight.to(weight.dtype) if needed[1] else None
