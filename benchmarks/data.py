"""How fast the data engine is, against plain decoding of the same images on one core, and how much memory it takes.

    python -m benchmarks.data --json data.json

In one run, in one process of one thread: decoding and resizing images and nothing else; the first stage of a build,
with hashing, and the search for duplicates; the loader, whose samples are decoded, resized, laid out and packed;
phantoms of each modality. Then the most memory that a build held, for two numbers of records, each build in a process
of its own. Images are simulated, of 384 px: what is measured is the machine's and the code's, not that of a real set.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from unimedvl import UniMedVL
from unimedvl.data.build.chunks import chunks_of
from unimedvl.data.build.read import folder_of, read_lane
from unimedvl.data.build.recipe import AlignmentStage, BuildRecipe, Input
from unimedvl.data.build.repeated import find_repeated
from unimedvl.data.build.rows import Rows
from unimedvl.data.examples import example_of
from unimedvl.data.loader import Mixture, Part
from unimedvl.inference.results import versions
from unimedvl.phantoms import SIMULATORS, simulate
from unimedvl.phantoms.pixels import to_pixels
from unimedvl.sequence import Segment, pack, token_count
from unimedvl.tasks import TASKS
from unimedvl.transforms import Prepare

SIDE = 384
PACKED = 3800  # tokens of a training step
STAGE_AT_LEAST, LOADER_AT_LEAST, STUDIES_AT_LEAST, MEMORY_AT_MOST = 0.8, 0.9, 20.0, 1.1
PUBLISHED = 5_600_000  # records of UniMed-5M
CLUSTER_CORES = 256
STUDIES = 24
# Of itself by the kernel's own mark (Linux): getrusage counts in what the program held that started it.
MEMORY_SCRIPT = """
import re, resource, sys
from pathlib import Path
from unimedvl.data.build.recipe import load_recipe
from unimedvl.data.build.run import run_build
run_build(load_recipe(Path(sys.argv[1])))
own = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024)
"""


@dataclass(frozen=True)
class Line:
    """One rate. per_second: images, or studies, a second on one core. share: of plain decoding."""

    name: str
    per_second: float
    share: float | None = None
    aim: float | None = None

    @property
    def met(self) -> bool | None:
        if self.aim is None:
            return None
        return (self.per_second if self.share is None else self.share) >= self.aim


def write_images(
    folder: Path, count: int, side: int = SIDE, records: int | None = None, patients: bool = True
) -> list[bytes]:
    """A `folder` source of simulated images, JPEG and PNG by turns, each with a caption; returns the images' bytes.

    records: how many rows the table has, by default one for each image; more take the images in turn.
    patients: whether the table names the patient of each image; every image is another's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoded = []
    for number in range(count):
        modality = ("cxr", "mri", "his", "cfp")[number % 4]
        simulator = SIMULATORS[modality]
        image = next(iter(simulator.render(simulator.sample(number), side).images.values()))
        out = io.BytesIO()
        kind = "JPEG" if number % 2 else "PNG"
        Image.fromarray(image).save(out, kind, quality=90)
        encoded.append(out.getvalue())
        (folder / f"{number}.{kind.lower()}").write_bytes(out.getvalue())
    rng = np.random.default_rng(0)
    with (folder / "captions.jsonl").open("w") as lines:
        for row in range(records or count):
            number = row % count
            name = f"{number}.{'jpeg' if number % 2 else 'png'}"
            words = " ".join(f"w{w}" for w in rng.integers(5000, size=12))
            told = {"image": name, "caption": f"Record {row}: {words}.", "id": str(row)}
            lines.write(json.dumps(told | ({"patient": f"p{number}"} if patients else {})) + "\n")
    return encoded


def plain(images: Sequence[bytes], prepare: Prepare) -> None:
    """Decode each image and bring it to the ViT's size, in Pillow's bytes."""
    for data in images:
        with Image.open(io.BytesIO(data)) as opened:
            opened.convert("RGB").resize(prepare.vit(*opened.size), Image.Resampling.BICUBIC)


def exact(images: Sequence[bytes], prepare: Prepare) -> None:
    """The same in floats, by the filter that inference has."""
    for data in images:
        with Image.open(io.BytesIO(data)) as opened:
            prepare.seen(to_pixels(np.array(opened.convert("RGB"))))


def build_recipe(folder: Path, source: Path, **changes) -> BuildRecipe:
    return BuildRecipe(folder=folder, inputs=(Input(name="folder", folder=source),), processes=1, **changes)


def first_stage(recipe: BuildRecipe) -> None:
    """Read, hash and judge every image, and write the shards."""
    for _ in read_lane(recipe, 0, 1):
        pass


def duplicates(recipe: BuildRecipe) -> None:
    """Compare all images and texts with all. Simulated images of one modality look alike: where the table doesn't say
    that they are different patients', many pairs are looked at.
    """
    find_repeated(recipe, Rows(recipe), lambda what, done, total: None)


def load_packed(files: tuple[Path, ...], count: int, model: UniMedVL) -> None:
    """Take `count` samples out of shards as training does: examples, sequences, packed batches."""
    mixture = Mixture([Part("benchmark", files)], seed=0)
    batch: list[list[Segment]] = []
    tokens = 0
    for position in range(count):
        example = example_of(mixture[position])
        segments = TASKS[example.task].sequence(example, model.prepare)
        tokens += sum(token_count(s, model.model.config) for s in segments)
        batch.append(segments)
        if tokens >= PACKED or position == count - 1:
            pack(batch, model.model.config, torch.Generator().manual_seed(position))
            batch, tokens = [], 0


def rates(count: int, repeats: int) -> Iterator[Line]:
    """All rates. Each is the best of some repeats, for what else the machine does only takes away; the kinds of work
    take turns, so that what it does for a while takes from all of them.
    """
    model = UniMedVL.load(pack=False)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        images = write_images(place / "images", count)
        write_images(place / "nobody", count, patients=False)
        taken: dict[str, list[float]] = {}
        for n in range(repeats):
            named, unnamed = (build_recipe(place / f"{name}-{n}", place / name) for name in ("images", "nobody"))
            works = {
                "bytes": lambda: plain(images, model.prepare),
                "floats": lambda: exact(images, model.prepare),
                "read": lambda named=named: first_stage(named),
                "duplicates": lambda named=named: duplicates(named),
                "read unnamed": lambda unnamed=unnamed: first_stage(unnamed),
                "duplicates unnamed": lambda unnamed=unnamed: duplicates(unnamed),
                "loader": lambda named=named: load_packed(_shards(named), count, model),
            }
            for name, work in works.items():
                taken.setdefault(name, []).append(_seconds(work))
    yield from _lines(count, {name: min(times) for name, times in taken.items()})
    for modality in SIMULATORS:
        fastest = min(_seconds(lambda m=modality: render(m)) for _ in range(repeats))
        yield Line(f"phantoms at 128 px, {modality}", STUDIES / fastest, aim=STUDIES_AT_LEAST)


def _shards(recipe: BuildRecipe) -> tuple[Path, ...]:
    return tuple(chunk.shard for chunk in chunks_of(folder_of(recipe, recipe.inputs[0])))


def _lines(count: int, seconds: dict[str, float]) -> Iterator[Line]:
    """seconds: that each kind of work takes for `count` images."""

    def line(name: str, *works: str, aim: float | None = None) -> Line:
        total = sum(seconds[work] for work in works)
        return Line(name, count / total, seconds["bytes"] / total, aim)

    yield Line("decode and resize, in bytes", count / seconds["bytes"])
    yield line("decode and resize, in floats", "floats")
    yield line("first stage and hashing", "read")
    yield line("the same with the search for duplicates", "read", "duplicates", aim=STAGE_AT_LEAST)
    yield line("the same, patients not named", "read unnamed", "duplicates unnamed", aim=STAGE_AT_LEAST)
    yield line("loader with packing", "loader", aim=LOADER_AT_LEAST)


def render(modality: str) -> None:
    """Some studies of a modality, drawn and rendered."""
    for seed in range(STUDIES):
        simulate(modality, seed)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_memory(records: int, images: int = 64, side: int = 128) -> float:
    """MiB that a build of so many records held at most, in its largest process."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        write_images(place / "images", images, side, records)
        recipe = build_recipe(place / "build", place / "images", alignment=AlignmentStage(instruments="none"))
        file = place / "recipe.yaml"
        file.write_text(recipe.model_dump_json())  # JSON is YAML
        command = [sys.executable, "-c", MEMORY_SCRIPT, str(file)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def table(lines: Sequence[Line]) -> Table:
    out = Table(title="On one core, of simulated images", title_justify="left")
    out.add_column("what")
    for name in ("a second", "of plain decoding", "at least", "met"):
        out.add_column(name, justify="right")
    for line in lines:
        share = "" if line.share is None else f"{line.share:.2f}"
        aim = "" if line.aim is None else f"{line.aim:g}"
        met = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[line.met]
        out.add_row(line.name, f"{line.per_second:.0f}", share, aim, met)
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    args = _arguments(arguments)
    torch.set_num_threads(1)
    out, progress = Console(width=None if sys.stdout.isatty() else 140), Console(stderr=True)
    with progress.status("rates"):
        lines = list(rates(args.images, args.repeats))
    out.print(table(lines))
    hours = PUBLISHED / lines[3].per_second / 3600
    out.print(
        f"Projected from that rate for {PUBLISHED / 1e6:.1f} M records of one such image: {hours:.0f} "
        f"core-hours, {60 * hours / CLUSTER_CORES:.0f} minutes on {CLUSTER_CORES} cores."
    )
    peaks = {}
    for records in args.records:
        with progress.status(f"memory at {records:,} records"):
            peaks[records] = peak_memory(records)
        out.print(f"Most memory of a build of {records:,} records: {peaks[records]:.0f} MiB")
    if len(peaks) > 1:
        grown = max(peaks.values()) / min(peaks.values())
        out.print(f"The largest over the smallest: {grown:.2f} (aim: at most {MEMORY_AT_MOST})")
    if args.json:
        content = {
            "versions": versions(), "lines": [asdict(x) | {"met": x.met} for x in lines],
            "core_hours": hours, "peak_mib": peaks,
        }  # fmt: skip
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    return 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--records", type=int, nargs="*", default=[10_000, 100_000], help="for the memory")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
