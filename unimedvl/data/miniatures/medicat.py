"""MediCaT in miniature: the archive as it comes, captions after the figures, null references and licences."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from unimedvl.data.miniatures.paint import encoded, picture, tarred

TABLE = "release/s2_full_figures_oa_nonroco_combined_medical_top4_public.jsonl"
_PAPER, _OTHER = "0a" * 20, "0b" * 20
# Paper, figure, caption of the layout and of the text, mentions, radiology, type, licence.
_FIGURES = (
    (_OTHER, "5-Figure2-1.png", "Figure 2. A nodule.", "A nodule.", ["As Figure 2 shows.", "See Figure 2."], True,
     "Medical images", "cc-by"),
    (_PAPER, "2-Figure1-1.png", "", "Simulated section.", None, True, "Medical images", None),
    (_PAPER, "3-Figure2-1.png", "Figure 2. Stained section.", None, [], False, "Medical images", "cc-by-nc"),
)  # fmt: skip
_KINDS = ("cxr", "mri", "his")


def write(root: Path) -> None:
    # The figures lie in another order than the captions.
    members = [(f"release/figures/{paper}_{figure}", encoded(picture(kind, 450 + n), "PNG"))
               for n, ((paper, figure, *_), kind) in enumerate(zip(_FIGURES, _KINDS, strict=True))]  # fmt: skip
    lines = "".join(json.dumps(_row(*figure)) + "\n" for figure in _FIGURES)
    members = [*reversed(members), (TABLE, lines.encode())]
    (root / "medicat_release.tar.gz").write_bytes(gzip.compress(tarred(members), mtime=0))


def _row(paper: str, figure: str, layout: str, text: str | None, mentions: list | None, radiology: bool, kind: str,
         licence: str | None) -> dict:  # fmt: skip
    access = {"is_oa": True, "oa_status": "gold", "journal_is_oa": True, "journal_is_in_doaj": True,
              "license": licence, "provenance": None}  # fmt: skip
    return {
        "pdf_hash": paper,
        "fig_key": figure.split("-")[1].replace("Figure", "Figure "),
        "fig_uri": figure,
        "s2_caption": layout,
        "s2orc_caption": text,
        "s2orc_references": mentions,
        "radiology": radiology,
        "scope": not radiology,
        "predicted_type": kind,
        "oa_info": {"doi": "10.9999/invented", "doi_url": "https://doi.org/10.9999/invented", "oa": access},
    }
