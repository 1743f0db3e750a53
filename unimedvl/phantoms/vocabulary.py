"""The words for what simulated studies show: one table, one entry per modality.

Reports, questions, captions and edit requests are written from it, and findings are read back from
texts by it, so what one writes the other understands. A new modality is one more `Modality` in
`MODALITIES`. British spelling is canonical; the parser takes American spelling too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from unimedvl.phantoms.study import Finding, Study

T = TypeVar("T")

# The words for mild, moderate and severe, by what is graded.
DEGREE = ("mild", "moderate", "severe")
EXTENT = ("small", "moderate", "large")
SPREAD = ("focal", "moderate", "extensive")
AMOUNT = ("few", "several", "many")

LOBES = ("frontal lobe", "parietal lobe", "temporal lobe", "occipital lobe")
DEEP = ("basal ganglia", "thalamus", "cerebellum")
ZONES = ("upper zone", "middle zone", "lower zone")


class VocabularyError(ValueError):
    """A modality, view or finding that the table does not have."""


class Rng(Protocol):
    """What the templates ask of a generator: `random.Random` and `numpy.random.Generator` both do."""

    def random(self) -> float: ...


def pick(rng: Rng, items: Sequence[T]) -> T:
    """One of the items, uniformly."""
    return items[int(rng.random() * len(items))]


def pick_many(rng: Rng, items: Sequence[T], n: int) -> list[T]:
    """At most n different items, in random order."""
    return sorted(items, key=lambda _: rng.random())[:n]


@dataclass(frozen=True)
class Term:
    """The words for one finding.

    name: the canonical name, as in `Finding.name`.
    said: other names that the templates use as well.
    heard: further names that only the parser knows.
    short: the name once its kind is clear ("the effusion"); empty for the name itself.
    number: "one" takes an article, "mass" none, "many" is plural.
    grades: the words for mild, moderate and severe.
    sided: whether it lies on the patient's left or right.
    measured: whether its size in millimetres is stated.
    counted: whether its count is asked for.
    """

    name: str
    said: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    short: str = ""
    number: Literal["one", "mass", "many"] = "one"
    grades: tuple[str, str, str] = DEGREE
    sided: bool = False
    measured: bool = False
    counted: bool = False
    places: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.said)

    @property
    def be(self) -> str:
        return "are" if self.number == "many" else "is"

    def called(self) -> str:
        return self.short or self.name


@dataclass(frozen=True)
class View:
    """One kind of image of a modality.

    name: the key in `Study.images`.
    kind: what to answer when asked what the image is.
    head: how a caption begins, with the study's attributes in braces.
    sequence, stain: the answer to which sequence or stain it is, empty where that is no question.
    """

    name: str
    kind: str
    head: str
    sequence: str = ""
    stain: str = ""


@dataclass(frozen=True)
class Modality:
    """Everything that is said of one modality.

    code: as in `Case.modality`; module: its simulator in `unimedvl.phantoms`.
    said: the name in words; aliases: further names; an: with its article, as in "Is this a ...?".
    organ: what it shows; scene: what any image of it has in it.
    attributes: the values that `Study.attributes` may take, for drawing studies without images.
    structures: what can be segmented, besides findings.
    """

    code: str
    module: str
    said: str
    aliases: tuple[str, ...]
    an: str
    organ: str
    scene: str
    views: tuple[View, ...]
    terms: tuple[Term, ...]
    structures: tuple[str, ...] = ()
    attributes: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def term(self, name: str) -> Term:
        for term in self.terms:
            if term.name == name:
                return term
        known = ", ".join(term.name for term in self.terms)
        raise VocabularyError(f"no finding {name!r} in {self.said}; known are {known}")

    def view(self, name: str) -> View:
        for view in self.views:
            if view.name == name:
                return view
        known = ", ".join(view.name for view in self.views)
        raise VocabularyError(f"no view {name!r} in {self.said}; known are {known}")


CXR = Modality(
    code="cxr",
    module="cxr",
    said="chest X-ray",
    aliases=("chest radiograph", "CXR"),
    an="a chest X-ray",
    organ="chest",
    scene="the heart and both lungs",
    views=(View("frontal", "chest X-ray", "chest X-ray"),),
    terms=(
        Term("cardiomegaly", number="mass",
             heard=("enlarged heart", "heart is enlarged", "enlargement of the heart", "cardiac enlargement",
                    "enlarged cardiac silhouette")),
        Term("pleural effusion", heard=("effusion", "pleural fluid", "hydrothorax"), short="effusion",
             grades=EXTENT, sided=True),
        Term("pneumothorax", heard=("pneumothoraces", "collapsed lung"), grades=EXTENT, sided=True),
        Term("consolidation", said=("airspace consolidation",), number="mass", sided=True, places=ZONES,
             heard=("airspace opacity", "airspace disease", "pneumonic infiltrate")),
        Term("nodule", said=("lung nodule",), heard=("pulmonary nodule", "coin lesion"), grades=EXTENT,
             sided=True, measured=True, places=ZONES),
    ),
    structures=("left lung", "right lung", "heart"),
    attributes=(("plane", ("frontal",)),),
)

MRI = Modality(
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

HIS = Modality(
    code="his",
    module="histology",
    said="histopathology",
    aliases=("histology", "microscopy", "biopsy slide"),
    an="a histopathology image",
    organ="breast",
    scene="glands in stroma",
    views=(
        View("he", "histopathology", "H&E histopathology of {organ}", stain="H&E"),
        View("ihc", "HER2 immunohistochemistry", "HER2 immunohistochemistry of {organ}", stain="HER2"),
    ),
    terms=(
        Term("invasive carcinoma", said=("invasive ductal carcinoma",), short="carcinoma", number="mass",
             grades=SPREAD, heard=("invasive breast cancer", "infiltrating carcinoma", "invasive cancer")),
        Term("ductal carcinoma in situ", said=("DCIS",), number="mass", grades=SPREAD),
        Term("inflammation", number="mass",
             heard=("inflammatory infiltrate", "lymphocytic infiltrate", "inflammatory cells")),
        Term("necrosis", heard=("necrotic tissue", "necrotic area"), number="mass", grades=SPREAD),
    ),
    structures=("nuclei", "epithelium"),
    attributes=(("stain", ("H&E",)), ("her2", ("0", "1+", "2+", "3+"))),
)

CFP = Modality(
    code="cfp",
    module="fundus",
    said="colour fundus photograph",
    aliases=("fundus photograph", "fundus image", "retinal photograph"),
    an="a fundus photograph",
    organ="retina",
    scene="the optic disc, macula and vessels",
    views=(View("fundus", "colour fundus photograph", "colour fundus photograph of the {eye} eye"),),
    terms=(
        Term("microaneurysms", heard=("microaneurysm",), number="many", grades=AMOUNT),
        Term("hard exudates", heard=("hard exudate", "exudates", "exudate"), short="exudates",
             number="many", grades=AMOUNT),
        Term("haemorrhages", said=("retinal haemorrhages",), number="many", grades=AMOUNT,
             heard=("haemorrhage", "retinal haemorrhage", "blot haemorrhages", "dot haemorrhages")),
        Term("glaucomatous cupping", said=("optic disc cupping",), short="cupping", number="mass",
             heard=("cupping", "glaucomatous optic disc", "enlarged cup")),
        Term("drusen", number="many", grades=AMOUNT),
    ),
    structures=("vessels", "optic disc", "optic cup"),
    attributes=(("eye", ("left", "right")),),
)

MODALITIES: dict[str, Modality] = {m.code: m for m in (CXR, MRI, HIS, CFP)}


def modality_of(study: Study) -> Modality:
    """The table's entry for a study. Raises VocabularyError."""
    if study.modality not in MODALITIES:
        raise VocabularyError(f"no modality {study.modality!r}; known are {', '.join(MODALITIES)}")
    return MODALITIES[study.modality]


def view_of(study: Study, view: str | None = None) -> View:
    """The view meant: the named one, else the study's first, else the modality's first.

    A modality with one view takes any name for it.
    """
    modality = modality_of(study)
    if len(modality.views) == 1:
        return modality.views[0]
    name = view or next(iter(study.images), modality.views[0].name)
    return modality.view(name)


def attribute(study: Study, name: str) -> str:
    """A fact of the study in words, from the study or else as the modality always has it; "" if none."""
    if name in study.attributes:
        return study.attributes[name]
    if name == "organ":
        return modality_of(study).organ
    values = dict(modality_of(study).attributes).get(name, ())
    return values[0] if len(values) == 1 else ""


def ordered(study: Study) -> list[Finding]:
    """The findings in the table's order, right before left: texts of equal studies are then alike."""
    modality = modality_of(study)
    rank = {term.name: k for k, term in enumerate(modality.terms)}
    for finding in study.findings:
        modality.term(finding.name)
    return sorted(study.findings, key=lambda f: (rank[f.name], f.side != "right", f.place))


def grade(term: Term, finding: Finding) -> str:
    """The severity in the finding's own words: a large effusion, severe cardiomegaly, many drusen."""
    return term.grades[DEGREE.index(finding.severity)]


def place(term: Term, finding: Finding) -> str:
    """Where it lies in the table's words ("frontal" is the frontal lobe); "" where that is not said."""
    for known in (finding.place, f"{finding.place} lobe"):
        if known in term.places:
            return known
    return ""


def phrase(
    term: Term, finding: Finding, rng: Rng | None = None, full: bool = True, article: bool = True
) -> str:
    """A noun phrase: "a large left frontal lobe tumour"; in short "left tumour".

    rng: chooses among the names; None takes the canonical one.
    full: with severity, place and size, not side and name alone.
    """
    words = [grade(term, finding)] if full else []
    if finding.side:
        words.append(finding.side)
    if full and place(term, finding):
        words.append(place(term, finding))
    name = pick(rng, term.names) if rng and full else term.name
    return with_article(term, " ".join([*words, name]) + _measure(term, finding, full), article)


def with_article(term: Term, words: str, article: bool = True) -> str:
    """The words with "a", "an" or nothing before them, as the term asks."""
    if not article or term.number == "mass":
        return words
    if term.number == "many":
        return f"a {words}" if words.startswith("few ") else words
    return indefinite(words)


def indefinite(words: str) -> str:
    """ "a tumour", "an infarct", "an H&E image", "a HER2 image"."""
    return f"{'an' if words[0].lower() in 'aeiou' or words.startswith('H&E') else 'a'} {words}"


def listed(items: Sequence[str], last: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def capitalised(text: str) -> str:
    """The first letter large, the rest as it is."""
    return text[:1].upper() + text[1:]


def _measure(term: Term, finding: Finding, full: bool) -> str:
    return f" of {round(finding.size)} mm" if full and term.measured and finding.size >= 1 else ""
