"""`unimedvl doctor`: what is installed, what it runs on, and what is missing for what."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer
from typer import Option

from unimedvl.cli.command import command
from unimedvl.cli.options import OutputOptions
from unimedvl.cli.terminal import Terminal

# Package -> (what it is for, how to get it).
NEEDED = {
    "torch": "everything",
    "numpy": "everything",
    "pillow": "PNG, JPEG, TIFF, BMP and WebP",
    "pydicom": "DICOM",
    "nibabel": "NIfTI",
    "tokenizers": "text",
    "huggingface-hub": "checkpoints from the hub",
    "typer": "the command line",
    "rich": "the command line",
}
OPTIONAL = {
    "pylibjpeg": ("JPEG 2000 and JPEG lossless inside DICOM", "pip install pylibjpeg pylibjpeg-openjpeg"),
    "pylibjpeg-openjpeg": ("JPEG 2000 over 8 bits inside DICOM", "pip install pylibjpeg pylibjpeg-openjpeg"),
    "pyjpegls": ("JPEG-LS inside DICOM", "pip install pyjpegls"),
    "pylibjpeg-libjpeg": ("JPEG lossless and 12-bit JPEG inside DICOM", "pip install 'unimedvl[jpeg-lossless]'"),
    "scipy": ("simulated studies, training", "pip install 'unimedvl[phantoms]'"),
    "pydantic": ("training recipes", "pip install 'unimedvl[train]'"),
    "pyyaml": ("training recipes", "pip install 'unimedvl[train]'"),
    "tensorboard": ("curves of trainings", "pip install 'unimedvl[train]'"),
    "wandb": ("curves of trainings at Weights & Biases", "pip install 'unimedvl[wandb]'"),
    "torchmetrics": ("evaluation", "pip install 'unimedvl[eval]'"),
    "nltk": ("evaluation of texts", "pip install 'unimedvl[eval]'"),
    "pyarrow": ("the data engine, training", "pip install 'unimedvl[data]'"),
    "datasketch": ("finding duplicates of texts", "pip install 'unimedvl[data]'"),
    "imagehash": ("finding duplicates of images", "pip install 'unimedvl[data]'"),
    "scikit-image": ("the demo, benchmarks", "pip install 'unimedvl[demo]'"),
    "c2pa-python": ("signed manifests in made images", "pip install 'unimedvl[serve]'"),
    "safetensors": ("the demo, benchmarks", "pip install 'unimedvl[demo]'"),
}


def register(app: typer.Typer) -> None:
    command(app)(doctor)


def doctor(
    output: OutputOptions,
    model: Annotated[
        str | None, Option(help="Folder or cached hub id of a checkpoint; the embedded nano where left out.")
    ] = None,
) -> None:
    """Show what is installed, the device, the model and its hash, and what is missing for what.

    Nothing is downloaded. Ends with status 1 where something is missing that every command needs.
    """
    terminal = Terminal(output)
    installed = {name: _version(name) for name in ("unimedvl", *NEEDED, *OPTIONAL)}
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "installed": installed,
        "device": _device() if installed["torch"] else None,
        "model": _model(model),
        "missing": [_missing(name) for name, have in installed.items() if have is None and name != "unimedvl"],
    }
    if output.json:
        terminal.document(found)
    else:
        _show(terminal, found)
    if "error" in found["model"] or any(m["package"] in NEEDED for m in found["missing"]):
        raise typer.Exit(1)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _missing(name: str) -> dict:
    purpose, remedy = OPTIONAL.get(name) or (NEEDED[name], f"pip install {name}")
    return {"package": name, "for": purpose, "remedy": remedy}


def _device() -> dict:
    import torch

    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "default": "cuda" if gpus else "cpu",
        "cpu_threads": torch.get_num_threads(),
        "cpu_cores": os.cpu_count(),
        "gpus": [{"name": g.name, "memory_gib": round(g.total_memory / 2**30, 1)} for g in gpus],
    }


def _model(source: str | None) -> dict:
    """The checkpoint as `unimedvl models` describes it, or why there is none."""
    try:
        from unimedvl.checkpoint import open_checkpoint
        from unimedvl.cli.models import describe

        return describe(open_checkpoint(source, download=False), source or "nano")
    except (ValueError, ImportError) as error:
        return {"error": str(error)}


def _show(terminal: Terminal, found: dict) -> None:
    line = terminal.line
    line(f"python {found['python']} on {found['platform']}")
    for name, have in found["installed"].items():
        line(f"  {name:20} {have or '-'}")
    device = found["device"]
    if device:
        gpus = ", ".join(f"{g['name']} ({g['memory_gib']} GiB)" for g in device["gpus"]) or "no CUDA GPU"
        line(f"device {device['default']}: {device['cpu_cores']} CPU cores, {device['cpu_threads']} threads; {gpus}")
    model = found["model"]
    if "error" in model:
        line(f"model missing: {model['error']}")
    else:
        line(f"model {model['name']}: {model['parameters'] / 1e6:,.1f} million parameters in {model['folder']}")
        line(f"  weights {model['weights_sha256'] or 'not hashed (unimedvl models --hash)'}")
        line(f"  trained on {model['card'].get('trained_on', 'data that its checkpoint does not state')}")
    for missing in found["missing"]:
        line(f"missing {missing['package']}, for {missing['for']}: {missing['remedy']}")
    if not found["missing"]:
        line("nothing is missing")
