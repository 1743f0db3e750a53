"""Derive ``brain.npz`` from the MNI ICBM 152 template (2009a, nonlinear, symmetric) that nilearn ships.

Run again with ``python -m unimedvl.phantoms.anatomy.derive FOLDER [OUT]``, where FOLDER holds the three
``mni_icbm152_*_tal_nlin_sym_09a_converted.nii.gz`` files (nilearn keeps them in ``datasets/data``).
Only this script needs nibabel; the simulator reads the derived file alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

SPACING = 1.25  # mm in plane
X = np.arange(90.0, -90.1, -SPACING)  # columns: patient's right (+x) at image left
Y = np.arange(92.0, -124.1, -SPACING)  # rows: anterior at the top
Z = np.arange(-2.0, 45.0, 2.0)  # 24 slices, basal ganglia to centrum semiovale
# Mean T1 values of the template: CSF 55, grey matter 165. Averaging 152 people fills the sulci, so
# what lies between is counted as CSF from 158 downwards and wholly so below 95.
CSF_FULL, CSF_NONE = 95.0, 158.0
# The lateral and third ventricles lie inside this box of MNI millimetres (x to either side).
VENTRICLE_BOX = {"x": 44.0, "y": (-60.0, 36.0), "z": (-6.0, 34.0)}


def _load(folder: Path, tissue: str) -> tuple[np.ndarray, np.ndarray]:
    """The volume [X, Y, Z] in 0..1 and its voxel-to-millimetre matrix [4, 4]."""
    image = nibabel.load(folder / f"mni_icbm152_{tissue}_tal_nlin_sym_09a_converted.nii.gz")
    return np.asarray(image.dataobj, dtype=np.float32) / 255.0, image.affine


def _ventricles(csf: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """CSF connected to the lateral ventricles inside their box, [X, Y, Z] bool.

    One opening breaks the thin bridges to the cisterns; the ventricles are then grown back.
    """
    origin = -affine[:3, 3]
    x, y, z = (np.arange(n) - o for n, o in zip(csf.shape, origin, strict=True))
    box = (
        (np.abs(x) < VENTRICLE_BOX["x"])[:, None, None]
        & ((y > VENTRICLE_BOX["y"][0]) & (y < VENTRICLE_BOX["y"][1]))[None, :, None]
        & ((z > VENTRICLE_BOX["z"][0]) & (z < VENTRICLE_BOX["z"][1]))[None, None, :]
    )
    fluid = (csf > 0.5) & box
    cores = ndimage.binary_erosion(fluid)
    labels, _ = ndimage.label(cores)
    seeds = [tuple(np.round(origin + (sx, -5.0, 22.0)).astype(int)) for sx in (-9.0, 9.0)]
    keep = {labels[s] for s in seeds} - {0}
    if not keep:
        raise ValueError("no cerebrospinal fluid at the lateral ventricles: is this the 2009a template?")
    return ndimage.binary_dilation(np.isin(labels, list(keep)), iterations=2) & fluid


def derive(folder: Path) -> dict[str, np.ndarray]:
    """Maps [24, rows, columns] uint8: csf, white, ventricles (fractions * 255), outside (mm * 8)."""
    t1, affine = _load(folder, "t1")
    grey, white = _load(folder, "gm")[0], _load(folder, "wm")[0]
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(t1 > 0, iterations=2))
    csf = np.clip((CSF_NONE - t1 * 255.0) / (CSF_NONE - CSF_FULL), 0, 1) * brain
    white = (1 - csf) * white / np.maximum(grey + white, 0.2) * brain
    ventricles = _ventricles(csf, affine)
    # Skull and scalp follow a smooth hull of the brain: distance from it, in mm, 0 inside.
    padded = np.pad(brain, 30)
    hull = ndimage.gaussian_filter(padded.astype(np.float32), 6.0) > 0.4
    outside = ndimage.distance_transform_edt(~(hull | padded)).astype(np.float32)

    def resample(volume: np.ndarray, shift: float = 0.0) -> np.ndarray:
        zz, yy, xx = np.meshgrid(Z, Y, X, indexing="ij")
        origin = -affine[:3, 3] + shift
        at = [xx + origin[0], yy + origin[1], zz + origin[2]]
        return ndimage.map_coordinates(volume, at, order=1, mode="nearest")

    fractions = {"csf": csf, "white": white, "ventricles": ventricles.astype(np.float32)}
    maps = {k: np.round(resample(v) * 51).astype(np.uint8) * 5 for k, v in fractions.items()}
    maps["outside"] = np.round(np.clip(resample(outside, 30.0), 0, 31) * 8).astype(np.uint8)
    return maps


def main() -> None:
    folder = Path(sys.argv[1])
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).with_name("brain.npz")
    np.savez_compressed(out, spacing=np.float32(SPACING), x=X, y=Y, z=Z, **derive(folder))


if __name__ == "__main__":
    main()
