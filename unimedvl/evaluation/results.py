"""The results of a suite as one JSON file: everything that is needed to print it, to compare it and to repeat it.

    {
     "suite": name, "notice": what the images are and that nothing is for clinical use, "simulated": true or false,
     "model": {"name": ..., "weights_sha256": ..., "trained_on": ...},
     "settings": {...}, "versions": {...}, "command": ..., "seconds": ...,
     "benchmarks": [
      {"name": ..., "title": ..., "area": ..., "simulated": ..., "data": {"folder": ..., "items": ..., "broken": [...]},
       "protocol": {...}, "seconds": ..., "scores": [Score.to_dict(), ...]},
     ]
    }

Beside it, in `items/<benchmark>.jsonl`, is a line for every item: {"id", "task", "kind", "groups", "question",
"answers", "options", "prediction", "confidence", "values": {metric: number}, "error", "images": [files], "target",
"drawn": files, "nearest": file of the training image nearest to what was drawn}. Files are PNGs in
`images/<benchmark>/`, named by item; there are as many as the suite keeps.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from unimedvl.evaluation.error import EvaluationError

FILE = "results.json"


@dataclass(frozen=True)
class Results:
    """A finished suite: its folder and what results.json says."""

    folder: Path
    content: dict

    @property
    def name(self) -> str:
        """ "nano on phantoms"."""
        return f"{self.content['model']['name']} on {self.content['suite']}"

    def items(self, benchmark: str) -> list[dict]:
        """The lines of a benchmark's items, in order; none where the benchmark has none."""
        file = self.folder / "items" / f"{benchmark}.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def read_results(folder: Path) -> Results:
    """The results that a suite left in its folder.

    Raises:
        EvaluationError: none there, or not JSON.
    """
    file = Path(folder) / FILE
    try:
        return Results(Path(folder), json.loads(file.read_text()))
    except FileNotFoundError:
        raise EvaluationError(f"{file}: no such file; `unimedvl eval run` writes it when a suite is done") from None
    except json.JSONDecodeError as error:
        raise EvaluationError(f"{file}: not JSON: {error.msg}") from error
