"""Where the time of a pass goes, from one run under torch.profiler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

MATMUL = (
    "aten::mm", "aten::addmm", "aten::linear", "aten::matmul", "aten::mv", "mkldnn::", "aten::mkldnn_convolution",
    "aten::cudnn_convolution",
)  # fmt: skip
ATTENTION = (
    "aten::bmm", "aten::baddbmm", "scaled_dot_product", "flex_attention", "softmax", "logsumexp", "aten::masked_fill",
)  # fmt: skip
COPIES = ("aten::copy_", "aten::cat", "aten::stack", "aten::index", "aten::clone", "aten::gather", "aten::embedding")
OPTIMISER = ("adamw", "aten::_foreach", "Optimizer.")
# Operators that compute nothing: what they take is the cost of calling them.
CALLS = (
    "aten::view", "aten::_unsafe_view", "aten::reshape", "aten::_reshape_alias", "aten::slice", "aten::select",
    "aten::transpose", "aten::t", "aten::permute", "aten::unsqueeze", "aten::squeeze", "aten::expand",
    "aten::as_strided", "aten::split", "aten::chunk", "aten::narrow", "aten::unflatten", "aten::flatten",
    "aten::empty", "aten::resize_", "aten::to", "aten::_to_copy", "aten::result_type", "aten::detach", "detach",
    "aten::alias", "aten::movedim", "aten::contiguous", "aten::unbind",
)  # fmt: skip
PARTS = ("products", "attention", "norms, rotary and other elementwise", "copies and conversions", "optimiser",
         "Python and calls")


@dataclass(frozen=True)
class Breakdown:
    """shares: of the time by `PARTS`, adding up to 1. largest: the operators that take most, but products."""

    shares: dict[str, float]
    largest: tuple[tuple[str, float], ...]

    def text(self) -> str:
        shares = ", ".join(f"{part} {100 * s:.0f} %" for part, s in self.shares.items() if s >= 0.005)
        largest = ", ".join(f"{name} {100 * s:.1f} %" for name, s in self.largest)
        return f"{shares}; largest beside products: {largest}"


def part_of(operator: str) -> str:
    """The part that an operator's own time belongs to."""
    lower = operator.lower()
    if any(lower.startswith(m) for m in MATMUL) and not lower.startswith("aten::matmul_"):
        return PARTS[0]
    if any(a in lower for a in ATTENTION):
        return PARTS[1]
    if any(o.lower() in lower for o in OPTIMISER):
        return PARTS[4]
    if operator in CALLS or operator.endswith("Backward0") or operator.startswith("autograd::"):
        return PARTS[5]
    if any(lower.startswith(c) for c in COPIES):
        return PARTS[3]
    return PARTS[2] if operator.startswith("aten::") else PARTS[5]


def breakdown(run: Callable[[], object]) -> Breakdown:
    """Profile one call. What lies between operators, in Python, is the time of the pass that none accounts for."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler, record_function("the pass"):
        run()
    return shares(profiler)


def shares(profiler: profile, largest: int = 5) -> Breakdown:
    """Shares of what was profiled within a `record_function("the pass")`."""
    events = profiler.key_averages()
    own = {e.key: e.self_cpu_time_total for e in events}
    on_device = {e.key: e.self_device_time_total for e in events if e.device_type == DeviceType.CPU}
    if any(on_device.values()):  # of a GPU that was profiled too: what its kernels took, by who asked for them
        own = on_device
    total = sum(own.values()) or 1.0
    found = dict.fromkeys(PARTS, 0.0)
    for name, microseconds in own.items():
        found[part_of(name)] += microseconds / total
    beside = {name: t / total for name, t in own.items() if part_of(name) != PARTS[0] and name != "the pass"}
    top = sorted(beside.items(), key=lambda item: -item[1])[:largest]
    return Breakdown(found, tuple(top))
