"""IXI in miniature: tar archives of small volumes in several orientations, DTI's members in a folder of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unimedvl.data.miniatures.paint import tarred
from unimedvl.data.miniatures.volumes import brain, nifti

# Name, seed, orientation of the stored voxels, sides of a voxel in millimetres.
_T2 = (
    ("IXI901-Guys-0701-T2.nii.gz", 501, "LPS", (0.9375, 0.9375, 1.25)),
    ("IXI012-HH-1211-T2.nii.gz", 502, "RAS", (0.9375, 0.9375, 1.25)),
)


def write(root: Path) -> None:
    volumes = {name: nifti(brain(seed)["t2"], codes, spacing) for name, seed, codes, spacing in _T2}
    (root / "IXI-T2.tar").write_bytes(tarred(list(volumes.items())))
    # T1 was acquired in sagittal slices, 1.2 mm apart.
    sagittal = nifti(brain(501)["t1"], "PSR", (1.2, 0.9375, 0.9375))
    (root / "IXI-T1.tar").write_bytes(tarred([("IXI901-Guys-0701-T1.nii.gz", sagittal)]))
    small = nifti(np.zeros((4, 4, 2), np.int16))
    directions = [(f"./IXI901-Guys-0701-DTI-{n:02d}.nii.gz", small) for n in range(2)]
    (root / "IXI-DTI.tar").write_bytes(tarred(directions))
    (root / "bvals.txt").write_text("0 1000\n")
