"""SynthRAD2023 in miniature: both regions of task 1 with their overviews, a patient that isn't gzipped, and task 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation

from unimedvl.data.miniatures.paint import picture, save
from unimedvl.data.miniatures.volumes import brain, nifti

# Folder, seed, distance of slices in millimetres, and ending; copies on Kaggle are not gzipped.
_PATIENTS = (
    ("Task1/brain/1BA901", 521, 1.0, ".nii.gz"),
    ("Task1/brain/1BC955", 522, 1.0, ".nii"),
    ("Task1/pelvis/1PC902", 523, 2.5, ".nii.gz"),
    ("Task2/brain/2BB903", 524, 1.0, ".nii.gz"),
)


def write(root: Path) -> None:
    for name, seed, apart, ending in _PATIENTS:
        folder = root / name
        folder.mkdir(parents=True)
        volumes = scans(seed)
        if name.startswith("Task2"):
            volumes["cbct"] = volumes.pop("mr")
        for kind, values in volumes.items():
            data = nifti(values, "LPS", (1.0, 1.0, apart), packed=ending == ".nii.gz")
            (folder / (kind + ending)).write_bytes(data)
        overview = folder.parent / "overview"
        overview.mkdir(exist_ok=True)
        save(overview / f"{folder.name}_train.png", picture("mri", seed))
        (overview / "1_brain_train.xlsx").write_bytes(b"a workbook, which no reader opens")


def scans(seed: int) -> dict[str, np.ndarray]:
    """`mr`, `ct` in Hounsfield units with a table behind the head, and `mask`: each [R, A, S], 128 x 128 x 4."""
    mr = brain(seed)["t1"]
    head = mr > 12
    # Fat and bone aren't told apart from the rest here: all that matters is that it is a picture of its own.
    ct = np.where(head, (mr / 255 * 90).round(), -1000).astype(np.int16)
    mask = binary_dilation(head, np.ones((3, 3, 1), bool), iterations=4).astype(np.uint8)
    ct[:, 1:3] = 300
    mask[:, :4] = 0
    return {"mr": mr, "ct": ct, "mask": mask}
