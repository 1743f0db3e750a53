"""A packed linear layer gives what a plain one gives, and never loses its weight."""

from __future__ import annotations

import copy

import pytest
import torch

from unimedvl.model import linear
from unimedvl.model.linear import Linear

packs = pytest.mark.skipif(not linear._packs(torch.float32), reason="this processor's weights are not packed")
DTYPES = [d for d in (torch.float32, torch.bfloat16) if linear._packs(d)]


def layer(dtype: torch.dtype, bias: bool = True) -> Linear:
    torch.manual_seed(0)
    return Linear(48, 40, bias=bias).to(dtype)


@packs
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(0, 48), (1, 48), (2, 48), (8, 48), (300, 48), (2, 3, 48)])
@torch.inference_mode()
def test_packed_and_plain_products_agree(dtype, bias, shape):
    plain, packed = layer(dtype, bias), layer(dtype, bias)
    packed.pack()
    x = torch.randn(shape).to(dtype)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 1e-2}[dtype]
    torch.testing.assert_close(packed(x), plain(x), atol=tolerance, rtol=tolerance)


@packs
@torch.inference_mode()
def test_rows_that_lie_apart_are_read_right():
    packed = layer(torch.float32)
    packed.pack()
    x = torch.randn(48, 12)
    assert torch.equal(packed(x.T), packed(x.T.contiguous()))
    assert torch.equal(packed(x.T[::3]), packed(x.T.contiguous())[::3])


@packs
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_weight_survives_to_the_last_bit(dtype):
    plain, packed = layer(dtype), layer(dtype)
    packed.pack()
    packed.pack()  # again changes nothing
    assert packed.weight.isnan().all() and packed.weight.shape == plain.weight.shape
    assert packed.weight.dtype == dtype and packed.weight.untyped_storage().nbytes() == dtype.itemsize
    assert torch.equal(packed.state_dict()["weight"], plain.weight)  # while packed
    packed.unpack()
    assert torch.equal(packed.weight, plain.weight) and packed.weight.requires_grad


@packs
def test_what_converts_or_loads_unpacks_first():
    plain, packed = layer(torch.float32), layer(torch.float32)
    packed.pack()
    assert torch.equal(packed.double().weight, plain.weight.double())
    packed = layer(torch.float32)
    packed.pack()
    packed.load_state_dict({"weight": plain.weight + 1, "bias": plain.bias})
    assert torch.equal(packed.weight, plain.weight + 1)


@packs
def test_copies_are_plain_and_leave_the_original_packed():
    plain, packed = layer(torch.float32), layer(torch.float32)
    packed.pack()
    twin = copy.deepcopy(packed)
    assert torch.equal(twin.weight, plain.weight) and twin.weight.requires_grad
    twin.weight.data.zero_()
    assert torch.equal(packed.state_dict()["weight"], plain.weight) and packed.weight.isnan().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_types_that_gain_nothing_stay_as_they_are(dtype):
    plain = layer(dtype)
    before = plain.weight.clone()
    plain.pack()
    assert torch.equal(plain.weight, before)
