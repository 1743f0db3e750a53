"""Any data set that Hugging Face's `datasets` has saved to disk: Arrow streams and what describes them.

The files are mapped, not read: an image's bytes are taken out of the file when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.files import Rows, read_json
from unimedvl.data.record import Record
from unimedvl.data.reports import split_named
from unimedvl.data.source import (
    UNSTATED,
    Item,
    Load,
    Sample,
    Source,
    answer,
    described,
    need,
    pictures,
    question,
    required,
    samples,
    words,
)

_WHOLE, _INFO, _STATE = "dataset_dict.json", "dataset_info.json", "state.json"
_IMAGES = ("image", "images")
_CAPTIONS = ("caption", "text")
# Columns of text that this reader knows; the others become attributes.
_KNOWN = ("question", "answer", *_CAPTIONS)


def read(root: Path) -> Iterator[Item]:
    """Every row of a data set, or of each split of a dictionary of them.

    Columns: `image` or `images`, as bytes and path, or a list of them; `question` and `answer`, or `caption` or
    `text`. Other columns of text or numbers become attributes.
    """
    if need(root, _WHOLE, _STATE).name == _STATE:
        yield from _dataset(root)
        return
    splits = _object(root / _WHOLE).get("splits")
    if not isinstance(splits, list) or not all(isinstance(name, str) for name in splits):
        raise DataError(f"{root / _WHOLE}: splits: expected a list of names, found {splits!r}")
    for split in splits:
        yield from _dataset(need(root, split), split)


def _dataset(folder: Path, split: str = "") -> Iterator[Item]:
    """The rows of one data set. split: what the dictionary calls it; by default what the data set's state says."""
    state = _object(need(folder, _STATE))
    info = _object(folder / _INFO) if (folder / _INFO).exists() else {}
    if any(state.get(name) for name in ("_indices_files", "_indices_data_files")):
        raise DataError(f"{folder / _STATE}: the rows are chosen by an indices file; save it with flatten_indices()")
    files = state.get("_data_files")
    if not isinstance(files, list) or not all(isinstance(f, dict) and "filename" in f for f in files):
        raise DataError(f"{folder / _STATE}: _data_files: expected a list of file names")
    split = split or str(state.get("_split") or "")
    licence, features, number = str(info.get("license") or "") or UNSTATED, info.get("features") or {}, 0
    for file in files:
        for row in _rows(need(folder, file["filename"])):
            make = partial(_record, features=features, key=f"{split or 'row'}-{number}", split=split, licence=licence)
            yield from samples([row], make)
            number += 1


def _object(file: Path) -> dict:
    found = read_json(file)
    if not isinstance(found, dict):
        raise DataError(f"{file}: expected an object, found {type(found).__name__}")
    return found


def _rows(file: Path) -> Rows:
    """The rows of an Arrow stream: by column its value, but of images the cell, which is still in the file.

    Raises:
        DataError: it can't be read, or is no Arrow stream.
    """
    import pyarrow

    try:
        with pyarrow.ipc.open_stream(pyarrow.memory_map(str(file))) as stream:
            number = 0
            for batch in stream:
                columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                for index in range(batch.num_rows):
                    row = {n: c[index] if n in _IMAGES else c[index].as_py() for n, c in columns.items()}
                    yield f"{file}: row {number}", row
                    number += 1
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or str(error).splitlines()[0]}") from error
    except pyarrow.ArrowException as error:
        raise DataError(f"{file}: no Arrow stream: {str(error).splitlines()[0]}") from error


def _record(row: dict, features: dict, key: str, split: str, licence: str) -> Sample:
    loads = _images(row)
    if "question" in row:
        said = {"answer": _named(row, features)} if "answer" in row else row
        turns = (question(required(row, "question"), len(loads)), answer(required(said, "answer")))
    else:
        turns = described(required(row, *_CAPTIONS))
    if "question" not in row and len(loads) != 1:
        raise DataError(f"expected one image for a caption, found {len(loads)}")
    told = {name: words(row, name) for name, found in row.items() if _plain(found) and name not in _KNOWN}
    record = Record(
        main_task_type="understanding",
        sub_task_type=("vqa" if loads else "text_qa") if "question" in row else "caption",
        modality="mixed" if loads else "text",
        dataset="hf-disk",
        input_img=pictures([f"{key}-{number}" for number in range(len(loads))]),
        message=turns,
        id=key,
        licence=licence,
        split=_split(split),
        attributes={name: text for name, text in (told | {"split": split}).items() if text},
    )
    return Sample(record, loads)


def _plain(found: object) -> bool:
    return isinstance(found, str | int | float) and not isinstance(found, bool)


def _named(row: dict, features: dict) -> object:
    """The answer; in words where it is the number of a class."""
    feature, found = features.get("answer"), row["answer"]
    names = feature.get("names") if isinstance(feature, dict) else None
    if names is None or not isinstance(found, int):
        return found
    if not 0 <= found < len(names):
        raise DataError(f"answer: expected one of 0 to {len(names) - 1}, found {found}")
    return names[found]


def _images(row: dict) -> tuple[Load, ...]:
    """Loads of the row's images, none where it has no column of them.

    Raises:
        DataError: an image has no bytes in the file.
    """
    import pyarrow

    cell = next((row[name] for name in _IMAGES if name in row), None)
    if cell is None:
        return ()
    several = isinstance(cell, pyarrow.ListScalar | pyarrow.LargeListScalar)
    cells = list(cell.values or ()) if several else [cell]
    return tuple(partial(_bytes, _inside(c)) for c in cells)


def _inside(cell):
    """The Arrow cell of an image's bytes."""
    import pyarrow

    if isinstance(cell, pyarrow.StructScalar) and cell.is_valid and "bytes" in cell:
        cell = cell["bytes"]
    if not isinstance(cell, pyarrow.BinaryScalar | pyarrow.LargeBinaryScalar) or not cell.is_valid:
        raise DataError("image: expected its bytes, found none; save the data set with its images inside")
    return cell


def _bytes(cell) -> bytes:
    return cell.as_py()


def _split(word: str) -> str | None:
    """The split of that name; None for a name of the data set's own, which an attribute keeps."""
    try:
        return split_named(word)
    except DataError:
        return None


SOURCE = Source(
    name="hf-disk",
    title="A Hugging Face data set saved to disk",
    home="https://huggingface.co/docs/datasets",
    licence="as dataset_info.json says",
    access="open",
    modalities=("mixed", "text"),
    expected={"train": None},
    read=read,
    notes="For what `save_to_disk` of the library `datasets` has written, which isn't needed here.",
    tasks=("vqa", "caption", "text_qa"),
)
