"""Open-i in miniature: the XML files, with empty sections, removed words and the three patterns of image names."""

from __future__ import annotations

from pathlib import Path

from unimedvl.data.miniatures.paint import picture, save

# Number, comparison, indication, findings, impression, headings, images.
_STUDIES = (
    (9002, "None.", "Cough", "Heart size is normal.\n  Lungs are clear.", "No acute disease.", ("normal",),
     ("CXR9002_IM-0901-1001", "CXR9002_IM-0901-2001")),
    (9010, "XXXX", "XXXX-year-old with fever", "", "Right lower lobe opacity & small effusion.",
     ("Opacity/lung/base/right", "Pleural Effusion/right/small"), ("CXR9010_IM-0902-1001-0001-0002",)),
    (9011, "", "", "The XXXX is clear.", "XXXX", ("No Indexing",), ("CXR9011_1_IM-0903-1001",)),
)  # fmt: skip


def write(root: Path) -> None:
    (root / "ecgen-radiology").mkdir()
    for seed, (number, *told, images) in enumerate(_STUDIES):
        (root / f"ecgen-radiology/{number}.xml").write_text(_xml(number, *told, images))
        for view, name in enumerate(images):
            save(root / f"NLMCXR_png/{name}.png", picture("cxr", 10 * seed + view))


def _xml(number: int, comparison: str, indication: str, findings: str, impression: str, headings, images) -> str:
    said = {"COMPARISON": comparison, "INDICATION": indication, "FINDINGS": findings, "IMPRESSION": impression}
    # An empty section is an empty element.
    texts = "".join(
        f'<AbstractText Label="{label}">{text.replace("&", "&amp;")}</AbstractText>' if text
        else f'<AbstractText Label="{label}"/>' for label, text in said.items()
    )  # fmt: skip
    mesh = "".join(f"<major>{heading}</major>" for heading in headings)
    parents = "".join(
        f'<parentImage id="{name}"><figureId>F{number}</figureId><caption>Invented</caption>'
        f'<panel type="single"><url>/hadoop/storage/{name}.jpg</url></panel></parentImage>'
        for number, name in enumerate(images, 1)
    )
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<eCitation><uId id="CXR{number}"/><pmcId id="{number}"/>'
        f"<MedlineCitation><Article><Abstract>{texts}</Abstract></Article></MedlineCitation>"
        f"<MeSH>{mesh}<automatic>lung</automatic></MeSH>{parents}</eCitation>\n"
    )
