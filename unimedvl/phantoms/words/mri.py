"""The words for brain MRI."""

from __future__ import annotations

from unimedvl.phantoms.terms import AMOUNT, EXTENT, Modality, Term, View

LOBES = ("frontal lobe", "parietal lobe", "temporal lobe", "occipital lobe")
DEEP = ("basal ganglia", "thalamus", "cerebellum")

WORDS = Modality(
    code="mri",
    module="mri",
    said="brain MRI",
    aliases=("magnetic resonance image", "MR scan", "MRI"),
    an="an MRI",
    organ="brain",
    scene="the brain with its ventricles",
    views=(
        View("t2", "brain MRI", "{plane} T2-weighted brain MRI", sequence="T2-weighted"),
        View("flair", "brain MRI", "{plane} FLAIR brain MRI", sequence="FLAIR"),
        View("t1", "brain MRI", "{plane} T1-weighted brain MRI", sequence="T1-weighted"),
    ),
    terms=(
        Term("tumour", said=("brain tumour",), grades=EXTENT, sided=True, places=LOBES,
             heard=("neoplasm", "glioma", "brain mass", "space-occupying lesion")),
        Term("white matter lesions", short="lesions", number="many", grades=AMOUNT, counted=True,
             heard=("white matter lesion", "white matter hyperintensities", "white matter hyperintensity")),
        Term("infarct", heard=("infarction", "ischaemic stroke"), grades=EXTENT, sided=True,
             places=LOBES + DEEP),
        Term("haemorrhage", said=("bleed",), heard=("haematoma", "bleeding"), grades=EXTENT, sided=True,
             places=LOBES + DEEP),
    ),
    structures=("brain", "ventricles"),
    attributes=(("plane", ("axial",)),),
)
