"""BraTS 2023 in miniature: cases of two challenges, two time points of one patient, and a copy that isn't gzipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion

from unimedvl.data.miniatures.volumes import brain, nifti

# Set, case, seed of a brain with a tumour, and the ending of its files; copies on Kaggle are not gzipped.
_CASES = (
    ("GLI-Challenge-TrainingData", "BraTS-GLI-90012-000", 7, ".nii.gz"),
    ("GLI-Challenge-TrainingData", "BraTS-GLI-90012-001", 22, ".nii.gz"),
    ("SSA-Challenge-TrainingData", "BraTS-SSA-90002-000", 28, ".nii"),
    ("GLI-Challenge-ValidationData", "BraTS-GLI-90500-000", 30, ".nii.gz"),
)


def write(root: Path) -> None:
    for folder, case, seed, ending in _CASES:
        place = root / f"ASNR-MICCAI-BraTS2023-{folder}" / case
        place.mkdir(parents=True)
        seen = brain(seed)
        volumes = {"t1n": seen["t1"], "t1c": seen["t1"], "t2w": seen["t2"], "t2f": seen["flair"]}
        if "Training" in folder:
            volumes["seg"] = parts(seen["finding"]).astype(np.uint8)
        for name, values in volumes.items():
            # Stored to the left and to the back, as the challenge has it.
            (place / f"{case}-{name}{ending}").write_bytes(nifti(values, "LPS", packed=ending.endswith("gz")))


def parts(finding: np.ndarray) -> np.ndarray:
    """A finding [R, A, S] as a core 1, its enhancing rim 3 and oedema 2 around it, slice by slice."""
    flat = np.ones((3, 3, 1), bool)
    mass = finding > 0
    out = np.where(binary_dilation(mass, flat, iterations=3), 2, 0)
    out[mass] = 3
    out[binary_erosion(mass, flat, iterations=2)] = 1
    return out
