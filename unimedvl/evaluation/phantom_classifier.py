"""A small classifier of simulated images, which says what drawn ones show.

It is a ViT with linear heads as the embedded model's training makes one (`unimedvl.training.vit`), of another
run than that model's. It was trained on simulated images alone, never on drawn ones. `benchmarks/judge.py` writes it,
and measures it on held-out studies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.held_out import Look
from unimedvl.imaging import resize
from unimedvl.model.config import VitConfig
from unimedvl.model.vit import Vit
from unimedvl.phantoms.terms import View
from unimedvl.phantoms.vocabulary import MODALITIES
from unimedvl.sequence import grid_position_ids, patchify
from unimedvl.training.vit import SeeingHeads

FILE = Path(__file__).parent / "weights" / "phantom-classifier.safetensors"
RULE = (
    "The classifier names one kind of image, and one finding: the likeliest of the asked modality's. "
    "The stricter reading, where that finding must also be more likely present than not, is told beside it."
)


@dataclass(frozen=True)
class Verdict:
    """What the classifier sees. findings: probability of each finding of the modality it was asked about; areas: the
    part of the image that each covers.
    """

    modality: str
    view: View
    findings: dict[str, float]
    areas: dict[str, float]

    @property
    def finding(self) -> str:
        """The finding that the classifier names, see `RULE`."""
        return max(self.findings, key=self.findings.get)

    @property
    def sure(self) -> bool:
        """Whether that finding is more likely present than not."""
        return self.findings[self.finding] > 0.5


class PhantomClassifier:
    """masks, views: what the heads' outputs stand for, as "cxr: nodule" and "cxr: frontal"."""

    def __init__(self, config: VitConfig, masks: Sequence[str], views: Sequence[str], side: int) -> None:
        self.config, self.side = config, side
        self.parts = nn.ModuleDict(
            {"vit": Vit(config), "heads": SeeingHeads(config.hidden_size, len(masks), len(views))}
        ).eval()
        self.modalities = tuple(dict.fromkeys(name.split(": ")[0] for name in views))
        self.masks = {name: i for i, name in enumerate(masks)}
        self.views = [_view(name) for name in views]

    @classmethod
    def load(cls, file: Path = FILE) -> PhantomClassifier:
        """Raises EvaluationError where the file is missing."""
        if not Path(file).is_file():
            raise EvaluationError(f"{file}: no such file; the package has it, and benchmarks/judge.py writes it")
        with safe_open(file, "pt") as stored:
            about = json.loads(stored.metadata()["classifier"])
        made = cls(VitConfig(**about["vit"]), about["masks"], about["views"], about["side"])
        made.parts.load_state_dict(load_file(file))  # bf16 in the file, float32 here
        return made

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray], modalities: Sequence[str], batch: int = 32) -> list[Verdict]:
        """Judge [H, W, 3] uint8 images; the findings of the modality that each was asked for."""
        out: list[Verdict] = []
        for start in range(0, len(images), batch):
            out += self._batch(images[start : start + batch], modalities[start : start + batch])
        return out

    def _batch(self, images: Sequence[np.ndarray], modalities: Sequence[str]) -> list[Verdict]:
        patch, grid = self.config.patch_size, self.config.max_patches_per_side
        cells = self.side // patch
        patches = []
        for image in images:
            pixels = resize(image.astype(np.float32) / 255, (self.side, self.side)) * 2 - 1
            patches.append(patchify(torch.from_numpy(pixels).permute(2, 0, 1), patch))
        positions = grid_position_ids(cells, cells, grid).repeat(len(images))
        hidden = self.parts["vit"](torch.cat(patches), positions, [cells * cells] * len(images))
        hidden, heads = hidden.unflatten(0, (len(images), -1)), self.parts["heads"]
        shown, kinds = heads.image(hidden)
        shown, views = shown.sigmoid(), kinds.argmax(-1)
        covered = heads.coverage(hidden).sigmoid().mean(1)
        verdicts = []
        for row, area, index, asked in zip(
            shown.tolist(), covered.tolist(), views.tolist(), modalities, strict=True
        ):
            known = {t.name: self.masks.get(f"{asked}: {t.name}") for t in MODALITIES[asked].terms}
            places = {name: i for name, i in known.items() if i is not None}
            findings, areas = ({name: values[i] for name, i in places.items()} for values in (row, area))
            verdicts.append(Verdict(*self.views[index], findings, areas))
        return verdicts


def _view(name: str) -> tuple[str, View]:
    modality, view = name.split(": ")
    return modality, MODALITIES[modality].view(view)


@dataclass(frozen=True)
class Accuracy:
    """Of each look, whether the classifier is right. finding, sure: of those where the finding counts."""

    kind: list[bool]
    view: list[bool]
    finding: list[bool]
    sure: list[bool]


def compare(verdicts: Sequence[Verdict], looks: Sequence[Look]) -> Accuracy:
    """Hold verdicts against what was asked for. Each look's study has one finding.

    An immunostain counts for its kind alone. kind: what `View.kind` says, so that immunostains and H&E are
    two kinds and the sequences of MRI one; view: the very view.
    """
    pairs = list(zip(verdicts, looks, strict=True))
    with_finding = [(v, next(iter(look.findings))) for v, look in pairs if not look.stained]
    return Accuracy(
        kind=[v.view.kind == look.view.kind for v, look in pairs],
        view=[v.view == look.view and v.modality == look.modality for v, look in pairs],
        finding=[v.finding == asked for v, asked in with_finding],
        sure=[v.finding == asked and v.sure for v, asked in with_finding],
    )


def own_accuracy(classifier: PhantomClassifier, looks: Sequence[Look]) -> Accuracy:
    """The classifier on the simulated images themselves, under the rule that drawn ones are judged by."""
    return compare(classifier([look.image for look in looks], [look.modality for look in looks]), looks)


@cache
def phantom_classifier() -> PhantomClassifier:
    """The one that the package has."""
    return PhantomClassifier.load()
