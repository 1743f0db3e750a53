"""Example studies: simulated, made when they are first asked for, each with words that fit it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from unimedvl.phantoms import simulate
from unimedvl.phantoms.study import Study

_SIDE = 256
# Slices of the CT, and how far apart they lie, in mm.
_SLICES, _APART = 9, 12.0


@dataclass(frozen=True)
class Example:
    """One study. make: its file's name and bytes. words: what is filled into the forms, by field."""

    key: str
    title: str
    make: Callable[[], tuple[str, bytes]]
    words: Mapping[str, str] = field(default_factory=dict)


def _study(modality: str, seed: int) -> Study:
    """Of a seed that nothing was trained on."""
    return simulate(modality, seed, _SIDE)


def _png(modality: str, seed: int, view: str) -> tuple[str, bytes]:
    from PIL import Image as PillowImage

    out = io.BytesIO()
    PillowImage.fromarray(_study(modality, seed).images[view]).save(out, "PNG")
    return f"simulated-{modality}-{view.replace(' ', '-')}.png", out.getvalue()


def _dicom(modality: str, seed: int, view: str) -> tuple[str, bytes]:
    from unimedvl.phantoms.dicom import dicom_of

    out = io.BytesIO()
    dicom_of(_study(modality, seed), view).save_as(out, enforce_file_format=True)
    return f"simulated-{modality}.dcm", out.getvalue()


def _ct_volume(seed: int) -> tuple[str, bytes]:
    """Slices through one chest in Hounsfield units, as NIfTI."""
    import nibabel

    from unimedvl.phantoms import ct

    case = ct.sample(seed)
    middle, side = case.anatomy["level"], case.anatomy["field"] / _SIDE
    levels = [middle + _APART * (k - _SLICES // 2) for k in range(_SLICES)]
    slices = [ct.hounsfield(ct.of(case, level), _SIDE) for level in levels]
    # Seen as radiologists do: columns run to the patient's left, rows to the back; RAS+ the other way.
    voxels = np.stack([s[::-1, ::-1].T for s in slices], axis=2).round().astype(np.int16)
    image = nibabel.Nifti1Image(voxels, np.diag([side, side, _APART, 1.0]))
    image.header.set_xyzt_units("mm")
    return "simulated-ct.nii", image.to_bytes()


EXAMPLES: dict[str, Example] = {
    e.key: e
    for e in (
        Example(
            "cxr", "Chest X-ray (DICOM)", lambda: _dicom("cxr", 12, "frontal"),
            {"question": "Is there a pleural effusion?", "target": "heart",
             "change": "resolution of the left pleural effusion", "instruction": "Remove the left pleural effusion.",
             "caption": "Chest X-ray with cardiomegaly and a moderate left pleural effusion"},
        ),
        Example(
            "ct", "Chest CT (volume)", lambda: _ct_volume(12),
            {"question": "Is there a nodule?", "target": "left lung", "change": "a larger nodule", "to": "MR",
             "instruction": "Remove the nodule.", "caption": "Axial CT of the chest with a left nodule"},
        ),
        Example(
            "mri", "Brain MRI, T2", lambda: _png("mri", 12, "t2"),
            {"question": "Is there a tumour?", "target": "ventricles", "change": "no tumour", "to": "FLAIR",
             "source": "T2", "instruction": "Remove the tumour.", "caption": "Axial T2 MRI of the brain with a tumour"},
        ),
        Example(
            "his", "Breast histology, H&E", lambda: _png("his", 12, "he"),
            {"question": "Is there invasive carcinoma?", "target": "nuclei", "change": "no invasive carcinoma",
             "instruction": "Remove the carcinoma.", "caption": "H&E image of the breast with invasive carcinoma"},
        ),
        Example(
            "cfp", "Fundus photograph", lambda: _png("cfp", 12, "fundus"),
            {"question": "Are there hard exudates?", "target": "vessels", "change": "no hard exudates",
             "instruction": "Remove the hard exudates.",
             "caption": "Colour fundus photograph of the left eye with hard exudates"},
        ),
        Example(
            "oct", "Retinal OCT", lambda: _png("oct", 12, "b-scan"),
            {"question": "Is there a macular hole?", "target": "retina", "change": "no macular hole",
             "instruction": "Close the macular hole.", "caption": "OCT of the left eye with a macular hole"},
        ),
        Example(
            "us", "Abdominal ultrasound", lambda: _png("us", 12, "b-mode"),
            {"question": "Is there hydronephrosis?", "target": "kidney", "change": "no hydronephrosis",
             "instruction": "Remove the hydronephrosis.", "caption": "Ultrasound of the abdomen with hydronephrosis"},
        ),
        Example(
            "endoscopy", "Colonoscopy", lambda: _png("endoscopy", 12, "colonoscopy"),
            {"question": "Are there diverticula?", "target": "lumen", "change": "no diverticula",
             "instruction": "Remove the diverticula.", "caption": "Colonoscopy with diverticula"},
        ),
        Example(
            "dermoscopy", "Dermoscopy", lambda: _png("dermoscopy", 12, "dermoscopy"),
            {"question": "What is the lesion?", "target": "lesion", "change": "no hairs",
             "instruction": "Remove the hairs.", "caption": "Dermoscopy with a dermatofibroma"},
        ),
    )
}  # fmt: skip


@cache
def file_of(key: str) -> tuple[str, bytes]:
    """The file of an example: its name and bytes; kept once made. Raises KeyError."""
    return EXAMPLES[key].make()


@cache
def thumbnail_of(key: str) -> bytes:
    """A small PNG of an example. Raises KeyError."""
    from unimedvl.imaging import read_image
    from unimedvl.serving.page.upload import thumbnail

    return thumbnail(read_image(file_of(key)[1]))
