"""The moving average of the weights (Polyak and Juditsky, 1992), which is what a training gives in the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unimedvl.training.parallel import local


class Average:
    """Of all weights that are trained, each as it is shared out. Frozen ones are the model's own."""

    def __init__(self, model: nn.Module) -> None:
        self._of = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.tensors: dict[str, Tensor] = {name: p.detach().clone() for name, p in self._of.items()}

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move towards the weights as they are."""
        theirs = [local(p.detach()) for p in self._of.values()]
        torch._foreach_lerp_([local(t) for t in self.tensors.values()], theirs, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the average's weights within, and its own again after."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, p in self._of.items():
            mine, theirs = local(self.tensors[name]), local(p.detach())
            kept = theirs.clone()
            theirs.copy_(mine)
            mine.copy_(kept)

    @torch.no_grad()
    def hand_over(self) -> None:
        """Give the model the average's weights for good."""
        for name, p in self._of.items():
            local(p.detach()).copy_(local(self.tensors[name]))
