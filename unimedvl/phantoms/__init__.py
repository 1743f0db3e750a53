"""Simulated studies with known truth. They stand in for patient data and are never real."""

from __future__ import annotations

from collections.abc import Mapping

from unimedvl.phantoms import ct, cxr, dermoscopy, endoscopy, fundus, histology, mri, oct, ultrasound
from unimedvl.phantoms.study import Case, Finding, Simulator, Study

# A new modality is one new file and one new entry here.
SIMULATORS: dict[str, Simulator] = {
    m.MODALITY: m for m in (cxr, mri, histology, fundus, ct, oct, ultrasound, endoscopy, dermoscopy)
}

__all__ = ["SIMULATORS", "Case", "Finding", "Simulator", "Study", "known_to", "simulate"]


def known_to(card: Mapping[str, object]) -> tuple[str, ...]:
    """Codes of the simulators that a model was trained on, by its card (`modalities`); all where it doesn't say."""
    return tuple(name for name in SIMULATORS if name in card.get("modalities", SIMULATORS))


def simulate(modality: str, seed: int, size: int = 128) -> Study:
    """The study of `modality` that `seed` stands for, rendered at size x size pixels.

    Raises:
        ValueError: no simulator of that name; the message lists those there are.
    """
    if modality not in SIMULATORS:
        raise ValueError(f"no simulator called {modality!r}; there are {', '.join(SIMULATORS)}")
    simulator = SIMULATORS[modality]
    return simulator.render(simulator.sample(seed), size)
