"""Predictions that were made once, kept in one SQLite file: by model, item and settings."""

from __future__ import annotations

import io
import sqlite3
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.item import Prediction

_TABLE = (
    "CREATE TABLE IF NOT EXISTS predictions "
    "(key TEXT PRIMARY KEY, text TEXT NOT NULL, image BLOB, confidence REAL, seconds REAL NOT NULL)"
)


class Store:
    """Predictions by key (`Item.key` with the model's own). What `keep` returned from is on the disk.

    Several processes may share a file. Raises EvaluationError where the file can't be opened or isn't one of these.
    """

    def __init__(self, file: Path) -> None:
        self.file = Path(file)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._data = sqlite3.connect(self.file, timeout=60)
            self._data.execute("PRAGMA journal_mode=WAL")
            self._data.execute(_TABLE)
            self._data.commit()
        except (sqlite3.Error, OSError) as error:
            raise EvaluationError(f"{self.file}: predictions can't be kept there: {error}") from error

    def get(self, key: str) -> Prediction | None:
        """A kept prediction; its image is read when it is asked for."""
        row = self._data.execute(
            "SELECT text, image IS NOT NULL, confidence, seconds FROM predictions WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        text, drawn, confidence, seconds = row
        return Prediction(text, partial(read_image, self.file, key) if drawn else None, confidence, seconds)

    def keep(self, made: dict[str, Prediction]) -> None:
        """Keep predictions by key, all of them or none. Those that failed are not kept: they are tried again.

        Raises:
            EvaluationError: the file can't be written, as on a full disk.
        """
        rows = [(key, p.text, _png(p.image), p.confidence, p.seconds) for key, p in made.items() if not p.error]
        try:
            with self._data:
                self._data.executemany("INSERT OR REPLACE INTO predictions VALUES (?, ?, ?, ?, ?)", rows)
        except sqlite3.Error as error:
            raise EvaluationError(f"{self.file}: predictions can't be kept: {error}") from error

    def close(self) -> None:
        self._data.close()


def read_image(file: Path, key: str) -> np.ndarray:
    """The image of a kept prediction, [H, W, 3] uint8. Raises EvaluationError where it is gone."""
    data = sqlite3.connect(file, timeout=60)
    try:
        row = data.execute("SELECT image FROM predictions WHERE key = ?", (key,)).fetchone()
    finally:
        data.close()
    if row is None or row[0] is None:
        raise EvaluationError(f"{file}: no image of prediction {key[:12]} any more; was the file replaced meanwhile?")
    return np.asarray(Image.open(io.BytesIO(row[0])).convert("RGB"))


def _png(image: np.ndarray | None) -> bytes | None:
    if image is None:
        return None
    out = io.BytesIO()
    Image.fromarray(image).save(out, format="PNG", compress_level=1)
    return out.getvalue()
