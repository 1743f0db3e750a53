"""Real files that the dependencies ship inside their wheels. Nothing is downloaded.

What each shows was told by looking at it and from its package's documentation. Files whose pixels
carry names or numbers of patients or hospitals are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class RealFile:
    """One file, and what is to be done with it.

    package, inside: the distribution's module and the path in it. distribution: its name.
    kind: what it is, in words. modality: as `phantoms.vocabulary.MODALITIES` codes it, or "" where no
        simulated modality comes near. answers: right answers to which modality it is.
    about: more on it. expect: what to expect of a model trained on simulated images only.
    edits: (task, wishes or words) of the drawings to try.
    asks: further questions and their right answers, "" where that isn't known.
    """

    package: str
    inside: str
    distribution: str
    kind: str
    modality: str
    answers: tuple[str, ...]
    about: str
    expect: str
    edits: tuple[tuple[str, dict[str, str] | str], ...]
    asks: tuple[tuple[str, str], ...] = (("Is this image normal or abnormal?", ""),)

    @property
    def name(self) -> str:
        return Path(self.inside).name

    @property
    def path(self) -> Path | None:
        """Where it lies, or None where the package isn't installed or doesn't ship it."""
        spec = find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return None
        path = Path(spec.submodule_search_locations[0]) / self.inside
        return path if path.is_file() else None

    @property
    def origin(self) -> str:
        """The distribution and its version."""
        try:
            return f"{self.distribution} {version(self.distribution)}"
        except PackageNotFoundError:
            return f"{self.distribution}, not installed"


_PYDICOM = ("pydicom", "data/test_files/")
_SKIMAGE = ("skimage", "data/")
_NIBABEL = ("nibabel", "tests/data/")


def _file(home: tuple[str, str], name: str, *rest) -> RealFile:
    package, folder = home
    return RealFile(package, folder + name, {"skimage": "scikit-image"}.get(package, package), *rest)


REAL_FILES: tuple[RealFile, ...] = (
    _file(
        _PYDICOM, "CT_small.dcm", "CT of the spine", "ct", ("CT",),
        "Around one vertebra, made smaller by those who shared it.",
        "The body part is one that nano was never shown, so the answers have nothing to go by.",
        (("reconstruct", {}),),
    ),
    _file(
        _PYDICOM, "J2K_pixelrep_mismatch.dcm", "CT of the head", "ct", ("CT",),
        "A whole slice at the level of the skull base, stored as JPEG 2000.",
        "It is likely to be taken for a brain MRI: it is round, grey and has a skull.",
        (("reconstruct", {}), ("segment", {"target": "brain"})),
    ),
    _file(
        _PYDICOM, "MR_small.dcm", "MRI, small crop", "mri", ("MRI",),
        "64 x 64 pixels of a slice that is not of the brain.",
        "nano knows MRI as whole brain slices; this looks like none of them.",
        (("upscale", {"factor": "4"}), ("reconstruct", {})),
    ),
    _file(
        _PYDICOM, "examples_overlay.dcm", "MRI of the abdomen", "mri", ("MRI", "abdominal MRI"),
        "An axial slice with contrast: liver, kidneys, spine.",
        "Findings of the brain, the chest or the eye may be reported here, and all would be made up.",
        (("reconstruct", {}),),
    ),
    _file(
        _PYDICOM, "examples_ybr_color.dcm", "ultrasound of the heart", "us", ("ultrasound",),
        "The middle one of 30 frames of an echocardiogram.",
        "The fan on black resembles nothing that nano was shown, unless it knows simulated ultrasound.",
        (("reconstruct", {}),),
    ),
    _file(
        _SKIMAGE, "retina.jpg", "colour fundus photograph", "cfp", ("colour fundus photograph",),
        "A healthy left eye at 1411 pixels a side, of which nano sees 128.",
        "The simulated fundus is modelled on such photographs, so kind and coarse anatomy may come out "
        "right; thin vessels and small lesions are lost at this size.",
        (("segment", {"target": "vessels"}), ("segment", {"target": "optic disc"}), ("reconstruct", {})),
        (("Is this image normal or abnormal?", "normal"), ("Which eye is this?", "left")),
    ),
    _file(
        _SKIMAGE, "microaneurysms.png", "fundus photograph, green channel, crop", "cfp",
        ("colour fundus photograph", "fundus photograph"),
        "102 x 102 grey pixels with vessels and microaneurysms, without disc or macula.",
        "Without colour and field of view little tells that this is a retina.",
        (("segment", {"target": "microaneurysms"}),),
        (("Is this image normal or abnormal?", "abnormal"),),
    ),
    _file(
        _SKIMAGE, "ihc.png", "immunohistochemistry", "his", ("immunohistochemistry",),
        "Colon glands stained for FHL2: brown stain, blue nuclei, but neither breast nor HER2.",
        "nano can only call it HER2, the one such stain it knows. Staining expects H&E, of which none is "
        "shipped; what it draws from an image that is stained already means nothing.",
        (("segment", {"target": "nuclei"}), ("stain", {"her2": "3+"})),
    ),
    _file(
        _NIBABEL, "example4d.nii.gz", "MRI of the brain, EPI", "mri", ("brain MRI", "MRI"),
        "The middle axial slice of an echo-planar volume, dark and bright much as in T2.",
        "The closest of these files to the simulated brains. Distortion and contrast differ, and a lesion "
        "that is reported here is more likely made up than seen. "
        "Counterfactuals were taught on chest X-rays.",
        (
            ("translate", {"source": "T2", "target": "FLAIR"}),
            ("segment", {"target": "ventricles"}),
            ("counterfactual", "Show this image with a new tumour."),
        ),
    ),
    _file(
        _NIBABEL, "anatomical.nii", "MRI of the brain, cropped", "mri", ("brain MRI", "MRI"),
        "The middle of a brain at 33 x 41 pixels, without skull.",
        "Smaller than what upscaling was trained on; edges that appear are invented.",
        (("upscale", {"factor": "4"}), ("edit", "Show this image as FLAIR.")),
    ),
)  # fmt: skip
