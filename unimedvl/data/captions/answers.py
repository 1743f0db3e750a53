"""What a model has said, kept by what it was asked: a second run gives the same bytes and asks nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.whole import written_whole


@dataclass(frozen=True)
class Answers:
    """A folder with a file for each answer, each there whole or not at all; several processes may share it.

    Where two ask the same at once, both answers are alike but for a model that draws at random, and the later stands.
    """

    folder: Path

    def of(self, model: str, asked: str, image: str, ask: Callable[[], str]) -> str:
        """The kept answer, or else a new one, which is kept.

        model: its name with its settings. asked: the whole of what it is asked. image: a hash, "" for none.

        Raises:
            DataError: a kept answer is damaged, the folder can't be written, or `ask` raises it.
        """
        key = hashlib.sha256(json.dumps([model, asked, image]).encode()).hexdigest()
        file = self.folder / key[:2] / f"{key}.json"
        if file.is_file():
            return _read(file)
        answer = ask()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{file.parent}: {error.strerror or error}") from error
        with written_whole(file) as part:
            part.write_text(json.dumps({"model": model, "asked": asked, "image": image, "answer": answer}, indent=1))
        return answer


def _read(file: Path) -> str:
    try:
        answer = json.loads(file.read_text())["answer"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{file}: no answer of a model: {error}; remove it to ask again") from error
    if not isinstance(answer, str):
        raise DataError(f"{file}: answer: expected text; remove it to ask again")
    return answer
