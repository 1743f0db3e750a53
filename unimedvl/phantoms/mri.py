"""Simulated axial brain MR slices: one anatomy seen as T2, FLAIR and T1 by the signal equations.

The tissues are those of `brain`, the lesions those of `brain_findings`. Spin echo, and FLAIR as inversion recovery with
long TR (Haacke et al., *Magnetic Resonance Imaging*, 1999)::

    SE:    S = PD (1 - exp(-TR/T1)) exp(-TE/T2)
    FLAIR: S = PD |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2),  TI such that CSF is nulled
"""

from __future__ import annotations

import numpy as np

from unimedvl.phantoms.brain import coordinates, tissues
from unimedvl.phantoms.brain_findings import FINDINGS, GRADING, MAKERS, PAINTERS, SIDED, Layers, apart
from unimedvl.phantoms.shapes import block_mean
from unimedvl.phantoms.study import Case, Finding, Study

__all__ = ["FINDINGS", "GRADING", "MODALITY", "RELAXATION", "SEQUENCES", "SIDED", "VIEWS", "render", "sample", "signal"]

MODALITY = "mri"
VIEWS = ("t2", "flair", "t1")
NATIVE = 128  # smaller images are rendered finer and averaged, against aliasing

# T1 [ms], T2 [ms], proton density at 1.5 T. Normal tissues and the white matter lesion: BrainWeb (Kwan,
# Evans and Pike, IEEE TMI 18:1085, 1999). Other lesions: round values of the order reviewed by Bottomley
# et al., Med Phys 14:1, 1987; the haemorrhage is early subacute (intracellular methaemoglobin: bright on
# T1, dark on T2; Bradley, Radiology 189:15, 1993) with a rim of oedema.
RELAXATION = {
    "csf": (2569.0, 329.0, 1.00),
    "grey": (833.0, 83.0, 0.86),
    "white": (500.0, 70.0, 0.77),
    "fat": (350.0, 70.0, 1.00),
    "skin": (900.0, 47.0, 1.00),
    "bone": (500.0, 70.0, 0.04),
    "white matter lesions": (752.0, 237.0, 0.76),
    "oedema": (950.0, 200.0, 0.85),
    "tumour": (1000.0, 85.0, 0.85),
    "tumour core": (2000.0, 260.0, 0.95),
    "infarct": (1150.0, 210.0, 0.90),
    "haemorrhage": (260.0, 32.0, 0.85),
}
# TR [ms], TE [ms], and the signal shown as 255.
SEQUENCES = {"t2": (4500.0, 100.0, 0.64), "flair": (9000.0, 110.0, 0.42), "t1": (500.0, 12.0, 0.58)}


def signal(tissue: str, view: str) -> float:
    """Magnitude signal of a tissue in a sequence, relative to the equilibrium magnetisation of water."""
    t1, t2, density = RELAXATION[tissue]
    tr, te, _ = SEQUENCES[view]
    longitudinal = 1 - np.exp(-tr / t1)
    if view == "flair":
        csf = RELAXATION["csf"][0]
        ti = csf * np.log(2 / (1 + np.exp(-tr / csf)))
        longitudinal = abs(1 - 2 * np.exp(-ti / t1) + np.exp(-tr / t1))
    return float(density * longitudinal * np.exp(-te / t2))


def sample(seed: int) -> Case:
    """Draw a case: a quarter normal, else one finding, or sometimes two that lie apart."""
    rng = np.random.default_rng((0x3217, seed))
    anatomy = {
        "level": rng.uniform(1.0, 20.0),  # template slice, 2 mm apart
        "width": rng.uniform(0.94, 1.04),
        "length": rng.uniform(0.94, 1.03),
        "rotation": rng.uniform(-0.10, 0.10),  # radians
        "shift_x": rng.uniform(-4, 4),  # mm
        "shift_y": rng.uniform(-3, 3),
        "ventricles": rng.uniform(-0.05, 0.38),  # how much they are widened
        "skull": rng.uniform(5.0, 7.5),  # mm
        "scalp": rng.uniform(3.5, 6.5),  # mm of fat
        "gain": rng.uniform(0.93, 1.03),
        "bias": rng.uniform(0.02, 0.07),  # receive field, relative
    }
    number = int(rng.choice([0, 1, 2], p=[0.25, 0.63, 0.12]))
    findings: list[Finding] = []
    for name in rng.permutation(FINDINGS)[:number]:
        for _ in range(20):
            new = MAKERS[str(name)](rng, anatomy["level"])
            if new is not None and all(apart(new, old) for old in findings):
                findings.append(new)
                break
    return Case(MODALITY, seed, tuple(findings), anatomy, noise_seed=int(rng.integers(2**31)))


def render(case: Case, size: int = 128) -> Study:
    """Render a case at size x size pixels.

    Masks: ``brain`` (with its CSF), ``white matter``, ``ventricles`` where the slice shows any, and one per
    finding: the mass without its oedema, the clot without its rim, the wedge, all spots.

    Raises:
        ValueError: size is not in 64..512.
    """
    if not 64 <= size <= 512:
        raise ValueError(f"size is {size}; it must be 64 to 512")
    finer = -(-NATIVE // size)
    x, y = coordinates(case, size * finer)
    tissue = tissues(case, x, y)
    lesions = [(f.name, PAINTERS[f.name](f, x, y, tissue)) for f in case.findings]
    brain = tissue["brain"]
    images = {view: _image(case, view, tissue, lesions, finer) for view in VIEWS}
    masks = {"brain": block_mean(brain, finer) > 0.5, "white matter": block_mean(tissue["white"], finer) > 0.5}
    ventricles = block_mean(tissue["ventricles"], finer) > 0.5
    if ventricles.mean() > 0.001:
        masks["ventricles"] = ventricles
    for name, layers in lesions:
        masks[name] = block_mean(layers[-1][1], finer) > 0.5
    return Study(case, images, masks, {"organ": "brain", "plane": "axial"})


def _image(
    case: Case, view: str, tissue: dict[str, np.ndarray], lesions: list[tuple[str, Layers]], finer: int
) -> np.ndarray:
    """One view [H, W, 3] uint8: mix signals, paint lesions, apply the receive field and Rician noise."""
    s = sum(tissue[name] * signal(name, view) for name in ("csf", "white", "grey", "bone", "fat", "skin"))
    for _, layers in lesions:
        for name, opacity in layers[:-1]:
            s = s + opacity * (signal(name, view) - s)
    s = block_mean(s, finer)
    rng = np.random.default_rng((2, case.noise_seed, VIEWS.index(view), s.shape[0]))
    shape = np.random.default_rng((3, case.noise_seed)).uniform(-1, 1, 4)
    ramp = np.linspace(-1, 1, s.shape[0])
    field = shape[0] * ramp[None, :] + shape[1] * ramp[:, None] + shape[2] * ramp[None, :] * ramp[:, None]
    grey = s * (255 / SEQUENCES[view][2]) * case.anatomy["gain"] * (1 + case.anatomy["bias"] * field)
    real, imaginary = rng.normal(0, 1.0, (2, *s.shape))
    grey = np.round(np.clip(np.hypot(grey + real, imaginary), 0, 255)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
