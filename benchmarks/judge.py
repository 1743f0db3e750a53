"""The classifier that judges drawn images (`unimedvl/evaluation/phantom_classifier.py`): written, and measured.

    python -m benchmarks.judge runs/judge-parts/vit.pt runs/judge-parts/classifier.safetensors
    python -m benchmarks.judge
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import save_file

from unimedvl.evaluation.held_out import HeldOut
from unimedvl.evaluation.phantom_classifier import FILE, RULE, PhantomClassifier, own_accuracy
from unimedvl.model.config import PRESETS, VitConfig
from unimedvl.phantoms import SIMULATORS
from unimedvl.training.parts import load_parts_recipe
from unimedvl.training.vit import names_of_masks, names_of_views

LARGEST_FILE = 6 * 10**6
SIDE = 126  # pixels, as in recipes/nano/parts.yaml


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
    save_file(tensors, target, {"format": "pt", "classifier": json.dumps(about), "notice": notice})
    target.chmod(0o644)  # the safetensors package makes it the writer's alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", type=Path, nargs="?", help="vit.pt of a training of the embedded model's parts")
    parser.add_argument("file", type=Path, nargs="?", default=FILE, help="to write; the package's own where left out")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/nano/parts.yaml"), help="of that training")
    parser.add_argument("--count", type=int, default=280, help="held-out studies with one finding")
    args = parser.parse_args()
    if args.state:
        export(args.state, args.file, modalities=load_parts_recipe(args.recipe).modalities)
    judge, console = PhantomClassifier.load(args.file), Console()
    held_out = HeldOut(modalities=judge.modalities)
    console.print(RULE)
    for modality in (None, *judge.modalities):
        accuracy = own_accuracy(judge, held_out.looks(args.count, modality, findings=1))
        told = (f"{name} {100 * np.mean(right):.1f} % of {len(right)}" for name, right in vars(accuracy).items())
        console.print(f"{modality or 'all'}: {', '.join(told)}")


if __name__ == "__main__":
    main()
