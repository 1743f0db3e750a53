"""The brain of a simulated slice: the MNI ICBM 152 template (``anatomy/``), deformed anew for each case.

Template coordinates are MNI millimetres. Display is radiological: the patient's right is at the image's left.
What a scanner makes of the tissues is in `mri` and `brain_ct`; what can be wrong with them in `brain_findings`.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import numpy as np
from scipy.ndimage import map_coordinates

from unimedvl.phantoms.study import Case

FIELD_OF_VIEW = 222.0  # mm, square
CENTRE_Y = -16.0  # MNI mm at the middle of the image


@lru_cache(maxsize=1)
def template() -> dict[str, np.ndarray]:
    """Maps [24, rows, columns] float32 (fractions 0..1, ``outside`` in mm) and their x, y, z axes [mm]."""
    path = resources.files("unimedvl.phantoms.anatomy").joinpath("brain.npz")
    with path.open("rb") as file, np.load(file) as data:
        maps = {k: data[k].astype(np.float32) / 255 for k in ("csf", "white", "ventricles")}
        maps["outside"] = data["outside"].astype(np.float32) / 8
        return maps | {k: data[k] for k in ("x", "y", "z")}


def lobe(x: float, y: float, z: float) -> str:
    """Name of the lobe, or of the deep nuclei, at MNI millimetres; planes, not an atlas."""
    if abs(x) < 36 and -28 < y < 14 and z < 18:
        return "basal ganglia"
    if y < -64:
        return "occipital"
    if y > (4 if z < 20 else -12):
        return "frontal"
    return "temporal" if z < 18 else "parietal"


def coordinates(case: Case, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Template millimetres x, y [size, size] seen by each pixel: pose, then elastic deformation."""
    a = case.anatomy
    step = FIELD_OF_VIEW / size
    centred = (np.arange(size, dtype=np.float32) + 0.5) * step - FIELD_OF_VIEW / 2
    u = -centred[None, :] - a["shift_x"]
    v = -centred[:, None] - a["shift_y"]
    c, s = np.cos(a["rotation"]), np.sin(a["rotation"])
    x = (c * u - s * v) / a["width"]
    y = (s * u + c * v) / a["length"] + CENTRE_Y
    dx, dy = _elastic(case, x, y)
    # Widening the ventricles: near their middle the template is sampled closer to that middle.
    pull = 1 - a["ventricles"] * np.exp(-(x**2 + (y + 12) ** 2) / (2 * 30.0**2))
    return ((x + dx) * pull).astype(np.float32), ((y + dy + 12) * pull - 12).astype(np.float32)


def _elastic(case: Case, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smooth displacement [mm]: plane waves of long wavelength for shape, of short for the sulci."""
    rng = np.random.default_rng((1, case.noise_seed))
    moved = []
    for _ in range(2):
        total = np.zeros(np.broadcast_shapes(x.shape, y.shape), np.float32)
        for low, high, amplitude in (
            (90, 160, 1.6),
            (90, 160, 1.6),
            (45, 70, 0.7),
            (22, 34, 0.4),
            (22, 34, 0.4),
        ):
            angle, wave = rng.uniform(0, np.pi), 2 * np.pi / rng.uniform(low, high)
            phase = (wave * np.cos(angle)) * x + (wave * np.sin(angle)) * y + rng.uniform(0, 2 * np.pi)
            total += amplitude * np.sin(phase.astype(np.float32))
        moved.append(total)
    return moved[0], moved[1]


def tissues(case: Case, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Fractions [size, size] in 0..1 of every normal tissue, plus ``brain`` and ``ventricles``."""
    t, a = template(), case.anatomy
    k = min(int(a["level"]), len(t["z"]) - 2)
    f = a["level"] - k
    spacing = t["x"][0] - t["x"][1]
    at = np.stack([(t["y"][0] - y) / spacing, (t["x"][0] - x) / spacing])
    m = {
        name: map_coordinates((1 - f) * t[name][k] + f * t[name][k + 1], at, order=1, cval=air)
        for name, air in (("csf", 0.0), ("white", 0.0), ("ventricles", 0.0), ("outside", 31.0))
    }
    outside = m["outside"]

    def beyond(distance: float) -> np.ndarray:
        return np.clip((outside - distance) / 1.2 + 0.5, 0, 1)

    brain = 1 - beyond(1.0)
    csf = np.where(m["csf"] + m["white"] == 0, 0, m["csf"]) * brain
    white = m["white"] * brain
    inner, outer = 2.5, 2.5 + a["skull"]
    skin = outer + a["scalp"]
    marrow = 0.45 * (beyond(inner + 0.32 * a["skull"]) - beyond(outer - 0.32 * a["skull"]))
    return {
        "brain": brain,
        "ventricles": m["ventricles"],
        "csf": csf + (1 - beyond(inner)) - brain,
        "white": white,
        "grey": np.clip(brain - csf - white, 0, 1),
        "bone": beyond(inner) - beyond(outer) - marrow,
        "fat": beyond(outer) - beyond(skin) + marrow,
        "skin": beyond(skin) - beyond(skin + 2.2),
    }
