"""LLaVA-Med in miniature: the misspelt key, marks at either end, one figure in several files, and the evaluation."""

from __future__ import annotations

import json
from pathlib import Path

from unimedvl.data.miniatures.paint import picture, save

_DOMAINS = ("chest_xray", "mri", "histology", "gross", "ct_scan")
_IMAGES = (("9000021_F1", "mri"), ("9000022_F2", "cxr"), ("9000023_F3", "his"))


def write(root: Path) -> None:
    data = root / "data"
    for seed, (name, kind) in enumerate(_IMAGES):
        save(data / f"images/{name}.jpg", picture(kind, 430 + seed))
    asked = ("Describe this figure.\n<image>", "A simulated section of the brain.")
    alignment = [_row("9000021_F1", ("mri",), asked, key="conversatons"), _row("9000022_F2", ("chest_xray",), asked)]
    talk = ("<image>\nWhat is shown?", "A chest X-ray.", "Is there a nodule?", "Yes, in the left lung.")
    instruct = [_row("9000022_F2", ("chest_xray",), talk), _row("9000023_F3", ("histology", "gross"), talk[:2])]
    _save(data / "alignment/llava_med_alignment_500k.json", json.dumps(alignment))
    # The smaller file is part of the larger.
    _save(data / "instruct/llava_med_instruct_10k.json", json.dumps(instruct[:1]))
    _save(data / "instruct/llava_med_instruct_60k.json", json.dumps(instruct))
    question = {
        "question_id": 0, "image": "9000023_F3.jpg", "text": "What stain is it?\n<image>", "gpt4_answer": "H&E.",
        "fig_label": "Figure 3", "fig_caption": "Invented.", "in_text_mention": [], "domain": _domain(("histology",)),
        "type": "conversation",
    }  # fmt: skip
    _save(data / "eval/llava_med_eval_qa50_qa.jsonl", json.dumps(question) + "\n")
    urls = [{"pair_id": n, "pmc_tar_url": "https://example.org/x.tar.gz", "image_file_path": f"x/{n}.jpg"}
            for n, _ in _IMAGES]  # fmt: skip
    _save(data / "llava_med_image_urls.jsonl", "".join(json.dumps(u) + "\n" for u in urls))


def _row(name: str, domains: tuple[str, ...], texts: tuple[str, ...], key: str = "conversations") -> dict:
    turns = [{"from": "gpt" if n % 2 else "human", "value": text} for n, text in enumerate(texts)]
    return {"id": name, "image": f"{name}.jpg", "domain": _domain(domains), key: turns}


def _domain(named: tuple[str, ...]) -> dict[str, bool]:
    return {name: name in named for name in _DOMAINS}


def _save(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
