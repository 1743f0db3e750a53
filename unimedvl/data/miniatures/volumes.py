"""Small volumes for miniatures: a simulated brain, and NIfTI files in any orientation."""

from __future__ import annotations

import gzip
from dataclasses import replace

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from unimedvl.phantoms import mri


def brain(seed: int, count: int = 4) -> dict[str, np.ndarray]:
    """A simulated brain by view, and its first finding as `finding`: each [R, A, S] int16, 128 x 128 x count.

    Slices run from the base of the brain up; the finding is a mask of 0 and 1.
    """
    case = mri.sample(seed)
    levels = np.linspace(6, 16, count)
    studies = [mri.render(replace(case, anatomy=case.anatomy | {"level": float(level)})) for level in levels]
    names = [f.name for f in case.findings[:1]]
    nothing = np.zeros((128, 128), np.int16)
    slices = {view: [s.images[view][..., 0] for s in studies] for view in mri.VIEWS}
    slices["finding"] = [s.masks[names[0]] if names else nothing for s in studies]
    # From the radiologist's view, right at the left and front at the top, to canonical axes.
    return {name: np.stack([i.T[::-1, ::-1] for i in images], -1).astype(np.int16) for name, images in slices.items()}


def nifti(
    values: np.ndarray, codes: str = "RAS", spacing: tuple[float, float, float] = (1, 1, 1), packed: bool = True
) -> bytes:
    """A NIfTI file of canonical voxels [R, A, S] that are stored in another orientation.

    codes: where the stored axes run to, as nibabel has it. spacing: along R, A and S, in millimetres.
    """
    to = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    affine = np.diag([*spacing, 1.0]) @ inv_ornt_aff(to, values.shape)
    data = nib.Nifti1Image(apply_orientation(values, to), affine).to_bytes()
    return gzip.compress(data, mtime=0) if packed else data
