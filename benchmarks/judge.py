"""A small classifier of simulated images, which judges what was drawn.

It is a ViT with linear heads as the embedded model's training makes one (`unimedvl.training.vit`), of another
run than that model's. It was trained on simulated images alone, never on drawn ones.

    python -m benchmarks.judge runs/nano-parts/vit.pt    writes benchmarks/judge.safetensors
    python -m benchmarks.judge                           measures the judge on held-out studies
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.held_out import HeldOut, Look
from unimedvl.imaging import resize
from unimedvl.model.config import PRESETS, VitConfig
from unimedvl.model.vit import Vit
from unimedvl.phantoms import SIMULATORS
from unimedvl.phantoms.terms import View
from unimedvl.phantoms.vocabulary import MODALITIES
from unimedvl.sequence import grid_position_ids, patchify
from unimedvl.training.parts import load_parts_recipe
from unimedvl.training.vit import SeeingHeads, names_of_masks, names_of_views

FILE = Path(__file__).with_name("judge.safetensors")
LARGEST_FILE = 6 * 10**6
SIDE = 126  # pixels, as in recipes/nano/parts.yaml
RULE = (
    "The judge names one kind of image, and one finding: the likeliest of the asked modality's four or five. "
    "The stricter reading, where that finding must also be more likely present than not, is told beside it."
)


@dataclass(frozen=True)
class Verdict:
    """What the judge sees. findings: probability of each finding of the modality it was asked about; areas: the part of
    the image that each covers.
    """

    modality: str
    view: View
    findings: dict[str, float]
    areas: dict[str, float]

    @property
    def finding(self) -> str:
        """The finding that the judge names, see `RULE`."""
        return max(self.findings, key=self.findings.get)

    @property
    def sure(self) -> bool:
        """Whether that finding is more likely present than not."""
        return self.findings[self.finding] > 0.5


class Judge:
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
    def load(cls, file: Path = FILE) -> Judge:
        """Raises FileNotFoundError that says how the file is made."""
        if not Path(file).is_file():
            made = "python -m benchmarks.judge runs/nano-parts/vit.pt"
            raise FileNotFoundError(f"{file}: no such file; write it with {made}")
        with safe_open(file, "pt") as stored:
            about = json.loads(stored.metadata()["judge"])
        judge = cls(VitConfig(**about["vit"]), about["masks"], about["views"], about["side"])
        judge.parts.load_state_dict(load_file(file))  # bf16 in the file, float32 here
        return judge

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
        pooled = hidden.mean(1)
        shown, views = heads.presence(pooled).sigmoid(), heads.view(pooled).argmax(-1)
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
    """Of each look, whether the judge is right. finding, sure: of those where the finding counts."""

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


def own_accuracy(judge: Judge, looks: Sequence[Look]) -> Accuracy:
    """The judge on the simulated images themselves, under the rule that drawn ones are judged by."""
    return compare(judge([look.image for look in looks], [look.modality for look in looks]), looks)


def export(
    source: Path,
    target: Path = FILE,
    config: VitConfig = PRESETS["nano"].vit,
    side: int = SIDE,
    modalities: Sequence[str] = tuple(SIMULATORS),
) -> None:
    """Write the judge as bf16 safetensors from the state that `train_vit` leaves for these modalities.

    Raises:
        ValueError: the heads have other outputs than the simulators have names, or the file is too large.
    """
    masks, views = names_of_masks(modalities), names_of_views(modalities)
    state = torch.load(source, weights_only=True, map_location="cpu")["model"]
    heads = len(state["heads.presence.bias"]), len(state["heads.view.bias"])
    if heads != (len(masks), len(views)):
        raise ValueError(f"{source}: heads of {heads} outputs, but there are {len(masks)} masks and {len(views)} views")
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in state.items()}
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    if size > LARGEST_FILE:
        raise ValueError(f"the judge would have {size} bytes; it must have at most {LARGEST_FILE}")
    about = {"vit": asdict(config), "side": side, "masks": masks, "views": views}
    notice = "Classifier of simulated images, trained on simulated images only. Not for clinical use."
    save_file(tensors, target, {"format": "pt", "judge": json.dumps(about), "notice": notice})
    target.chmod(0o644)  # the safetensors package makes it the writer's alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", type=Path, nargs="?", help="vit.pt of a training of the embedded model's parts")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/nano/parts.yaml"), help="of that training")
    parser.add_argument("--count", type=int, default=280, help="held-out studies with one finding")
    args = parser.parse_args()
    if args.state:
        export(args.state, modalities=load_parts_recipe(args.recipe).modalities)
    judge, console = Judge.load(), Console()
    held_out = HeldOut(modalities=judge.modalities)
    console.print(RULE)
    for modality in (None, *judge.modalities):
        accuracy = own_accuracy(judge, held_out.looks(args.count, modality, findings=1))
        told = (f"{name} {100 * np.mean(right):.1f} % of {len(right)}" for name, right in vars(accuracy).items())
        console.print(f"{modality or 'all'}: {', '.join(told)}")


if __name__ == "__main__":
    main()
