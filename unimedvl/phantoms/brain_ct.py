"""Simulated brain CT of an `mri` case: the same deformed template as attenuation, pixel by pixel on its T1.

Each tissue fraction carries its Hounsfield value, so the picture is the mixture of the tissues that the MR views
show. A reconstruction kernel blurs it and quantum noise is added; the display is the brain window, width 80, level 40.

Values are round figures of the order given in textbooks (Osborn, *Osborn's Brain*, 2nd ed., 2017; Hounsfield, Br J
Radiol 46:1016, 1973): grey matter is a few HU denser than white for its blood and lesser fat, acute blood is dense
for its protein, and water taken up by an infarct lowers the attenuation by 2.5 HU per percent of water (Torack et
al., Stroke 7:535, 1976). The lesion is acute where MR shows it early subacute; both are the same patient.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from unimedvl.phantoms import mri
from unimedvl.phantoms.brain import FIELD_OF_VIEW, coordinates, tissues
from unimedvl.phantoms.brain_findings import PAINTERS
from unimedvl.phantoms.shapes import block_mean
from unimedvl.phantoms.study import Case

WIDTH, LEVEL = 80.0, 40.0  # HU, the brain window
AIR = -1000.0

# HU of normal tissues and of what a lesion's layers hold.
HOUNSFIELD = {
    "csf": 6.0,
    "grey": 39.0,
    "white": 30.0,
    "bone": 1100.0,
    "fat": -90.0,
    "skin": 50.0,
    "white matter lesions": 21.0,
    "oedema": 21.0,
    "tumour": 27.0,
    "tumour core": 14.0,
    "infarct": 20.0,
    "haemorrhage": 68.0,
}
KERNEL = 0.55  # mm, sigma of the reconstruction kernel
NOISE = 3.2  # HU in a pixel of 0.43 mm (512 px); larger pixels average it
MARROW = 450.0  # HU of the diploe, that MR shows as fat


def companion_ct(case: Case, size: int = 128) -> np.ndarray:
    """The brain-window CT [size, size, 3] uint8 of an MR case, registered to its views pixel by pixel.

    Raises:
        ValueError: the case is not of MR, or size is not in 64..512.
    """
    hu = companion_hounsfield(case, size)
    grey = np.clip(np.rint((hu - (LEVEL - WIDTH / 2)) * (255 / WIDTH)), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def companion_hounsfield(case: Case, size: int = 128, noise: bool = True) -> np.ndarray:
    """The same slice in HU, [size, size] float32 from -1024 to 3071, with or without noise.

    Raises:
        ValueError: the case is not of MR, or size is not in 64..512.
    """
    if case.modality != mri.MODALITY:
        raise ValueError(f"companion CT is of an {mri.MODALITY!r} case, not of {case.modality!r}")
    if not 64 <= size <= 512:
        raise ValueError(f"size is {size}; it must be 64 to 512")
    finer = -(-256 // size)  # edges of bone and scalp are steep: average them from a fine grid
    x, y = coordinates(case, size * finer)
    tissue = tissues(case, x, y)
    hu = block_mean(_attenuation(case, x, y, tissue), finer)
    pixel = FIELD_OF_VIEW / size
    hu = gaussian_filter(hu, KERNEL / pixel, truncate=3.0)
    if noise:
        hu = hu + _noise(case, size, pixel)
    return np.clip(hu, -1024, 3071).astype(np.float32)


def _attenuation(case: Case, x: np.ndarray, y: np.ndarray, tissue: dict[str, np.ndarray]) -> np.ndarray:
    """HU [H, W] before blur and noise: the mixture of the tissues, then lesions painted layer by layer."""
    # The template's fat is scalp, and diploe where it lies among bone, of which it is 45 parts in 100.
    marrow = np.minimum(tissue["fat"], tissue["bone"] * (0.45 / 0.55))
    fat = tissue["fat"] - marrow
    filled = sum(tissue[name] for name in ("csf", "white", "grey", "bone", "fat", "skin"))
    hu = AIR * (1 - np.clip(filled, 0, 1)) + MARROW * marrow + HOUNSFIELD["fat"] * fat
    hu = hu + sum(tissue[name] * HOUNSFIELD[name] for name in ("csf", "white", "grey", "bone", "skin"))
    for finding in case.findings:
        for name, opacity in PAINTERS[finding.name](finding, x, y, tissue)[:-1]:
            hu = hu + opacity * (HOUNSFIELD[name] - hu)
    return hu


def _noise(case: Case, size: int, pixel: float) -> np.ndarray:
    """Quantum noise [size, size] HU; a pixel of twice the side holds the mean of four, less correlated ones."""
    rng = np.random.default_rng((4, case.noise_seed, size))
    spread = min(NOISE * FIELD_OF_VIEW / 512 / pixel, NOISE)
    grain = gaussian_filter(rng.standard_normal((size, size)), max(0.6 * 0.43 / pixel, 0.2))
    return (grain * (spread / grain.std())).astype(np.float32)
