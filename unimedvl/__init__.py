"""UniMedVL: one model that reads medical images and makes them. Research software, not for clinical use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unimedvl.inference.unimedvl import UniMedVL

__all__ = ["UniMedVL"]


def __getattr__(name: str):
    """Import the user's object when it is first asked for: the command line's help needs no PyTorch."""
    if name == "UniMedVL":
        from unimedvl.inference.unimedvl import UniMedVL

        return UniMedVL
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
