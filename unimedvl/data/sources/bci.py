"""BCI (Liu et al., CVPR Workshops 2022): H&E sections of breast cancer and the same ones stained for HER2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unimedvl.data.edits import edit_turns
from unimedvl.data.error import DataError
from unimedvl.data.files import Rows
from unimedvl.data.record import Record
from unimedvl.data.source import Item, Sample, Source, file_bytes, need, pictures, samples

_LICENCE = "non-commercial research and education, by the authors' licence"
_FOLDER, _SPLITS = "BCI_dataset", ("train", "test")
# Number, split and HER2 level; level 0 has no plus sign.
_NAME = re.compile(r"\d{5}_(train|test)_(0|[123]\+)\.png")


def read(root: Path) -> Iterator[Item]:
    """Every pair, which is a file of one name in the same split of HE and of IHC."""
    folder = root / _FOLDER if (root / _FOLDER).is_dir() else root
    for stain in ("HE", "IHC"):
        need(folder, stain)
    for split in _SPLITS:
        yield from samples(_pairs(folder, split), lambda row: _record(row["name"], row["split"], folder, root))


def _pairs(folder: Path, split: str) -> Rows:
    """The names of a split in order, each once, whichever of the two stains has it."""
    files = {stain: need(folder / stain, split) for stain in ("HE", "IHC")}
    there = {stain: {f.name for f in place.iterdir() if f.is_file()} for stain, place in files.items()}
    for name in sorted(there["HE"] | there["IHC"]):
        missing = next((stain for stain, names in there.items() if name not in names), None)
        where = str(files["IHC" if missing == "HE" else "HE"] / name)
        if missing:
            yield where, DataError(f"no file of this name in {missing}/{split}")
        else:
            yield where, {"name": name, "split": split}


def _record(name: str, split: str, folder: Path, root: Path) -> Sample:
    found = _NAME.fullmatch(name)
    if not found or found.group(1) != split:
        raise DataError(f"expected a name like 00000_{split}_1+.png, with level 0, 1+, 2+ or 3+")
    images = [folder / stain / split / name for stain in ("HE", "IHC")]
    before, after = (pictures([path.relative_to(root).as_posix()]) for path in images)
    key, level = Path(name).stem, found.group(2)
    record = Record(
        main_task_type="interleaved",
        sub_task_type="staining",
        modality="ihc",
        dataset="bci",
        input_img=before,
        output_img=after,
        message=edit_turns("stain", f"bci {key}", her2=level),
        id=key,
        licence=_LICENCE,
        split=split,
        attributes={"her2": level},
    )
    return Sample(record, tuple(map(file_bytes, images)))


SOURCE = Source(
    name="bci",
    title="BCI (breast cancer immunohistochemistry)",
    home="https://github.com/bupt-ai-cz/BCI",
    licence=_LICENCE,
    access="registration",
    modalities=("his", "ihc"),
    expected={"train": 3896, "test": 977},
    read=read,
    notes="Pairs of 1024 x 1024 pixels, cut out of slides of 51 patients; which patient's is not said. No validation "
    "split. Counts are those of the paper; others count 4,870 pairs.",
    tasks=("staining",),
)
