"""The norm and the rotation that follows it against their equations in float64, with gradients."""

from __future__ import annotations

import pytest
import torch

from unimedvl.model.norm import RMSNorm, rotate, rotation


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def norm() -> RMSNorm:
    norm = RMSNorm(40, 1e-2)  # large enough to be missed where it is left out
    norm.weight.data.copy_(random(40, seed=0))
    return norm


def equation(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x * (x.square().mean(-1, keepdim=True) + 1e-2).rsqrt() * weight


def results(function, *leaves: torch.Tensor) -> list[torch.Tensor]:
    """The value, and the gradients of what it was worked out from."""
    out = function(*leaves)
    return [out.detach(), *torch.autograd.grad((out * random(*out.shape, seed=9).to(out.dtype)).sum(), leaves)]


def exact(function, *leaves: torch.Tensor) -> list[torch.Tensor]:
    return results(function, *(x.detach().double().requires_grad_() for x in leaves))


@torch.no_grad()
def test_the_norm_of_bf16_on_a_cpu_is_that_of_float32_rounded_once(norm):
    norm.bfloat16()
    x = random(9, 3, 40, seed=1).bfloat16()
    expected = equation(x.double(), norm.weight.double()).bfloat16()
    assert norm(x).dtype == torch.bfloat16
    torch.testing.assert_close(norm(x), expected, atol=0, rtol=2**-7)
    with torch.enable_grad():
        torch.testing.assert_close(norm(x), expected, atol=0, rtol=2**-7)


def test_the_norm_has_the_value_and_the_gradients_of_its_equation(norm):
    x = (3 * random(9, 3, 40, seed=1) + 1).requires_grad_()
    found = results(lambda x, weight: norm(x), x, norm.weight)
    for ours, expected in zip(found, exact(equation, x, norm.weight), strict=True):
        torch.testing.assert_close(ours.double(), expected, atol=2e-5, rtol=2e-5)
    assert torch.equal(found[0], norm(x.detach())) and torch.allclose(found[0], _without_gradient(norm, x), atol=1e-6)


@torch.no_grad()
def _without_gradient(norm: RMSNorm, x: torch.Tensor) -> torch.Tensor:
    return norm(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_rotated_norm_has_the_value_and_the_gradients_of_both(norm, dtype):
    x = (3 * random(9, 3, 40, seed=1) + 1).to(dtype).requires_grad_()
    turn = rotation(torch.arange(9) * 5, 40, 1e4)
    wide = tuple(t.double() for t in turn)
    found = results(lambda x, weight: norm.rotated(x, turn), x, norm.weight)
    expected = exact(lambda x, weight: rotate(equation(x, weight), wide), x, norm.weight)
    tolerance = 2e-5 if dtype == torch.float32 else 2e-2
    assert found[0].dtype == dtype
    for ours, right in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), right, atol=tolerance * right.abs().max().item(), rtol=tolerance)


def test_under_autocast_a_norm_that_learns_gives_what_products_take_and_its_gradient_stays_float32(norm):
    x = random(9, 40, seed=1).requires_grad_()
    plain = results(lambda x, weight: norm(x), x, norm.weight)
    with torch.autocast("cpu", torch.bfloat16):  # the backward pass within it too, which rounds no part of the sum
        rounded = results(lambda x, weight: norm(x), x, norm.weight)
    assert [t.dtype for t in rounded] == [torch.bfloat16, torch.float32, torch.float32]
    for ours, expected in zip(rounded, plain, strict=True):
        torch.testing.assert_close(ours.float(), expected, atol=2e-2 * expected.abs().max().item(), rtol=1e-2)


def test_frozen_weights_and_frozen_rows_get_no_gradient(norm):
    x = random(9, 40, seed=1).requires_grad_()
    expected = results(lambda x, weight: norm(x), x, norm.weight)
    (of_weight,) = torch.autograd.grad((norm(x.detach()) * random(9, 40, seed=9)).sum(), norm.weight)
    norm.weight.requires_grad_(False)
    (of_x,) = torch.autograd.grad((norm(x) * random(9, 40, seed=9)).sum(), x)
    torch.testing.assert_close([of_x, of_weight], expected[1:])
