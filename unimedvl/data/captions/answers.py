"""What a model has said, kept by what it was asked: a second run gives the same bytes and asks nothing."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.quality.alignment import Captioner
from unimedvl.data.quality.endpoint import Halted, Watch
from unimedvl.data.record import Record, sha256
from unimedvl.data.whole import written_whole


@dataclass(frozen=True)
class Answers:
    """A folder with a file for each answer, each there whole or not at all; several processes may share it.

    Where two ask the same at once, the answer that is first kept stands for both. watch: of the server that is asked,
    where it is one.
    """

    folder: Path
    watch: Watch | None = None

    def of(self, model: str, asked: str, image: str, ask: Callable[[], str]) -> str:
        """The kept answer, or else a new one, which is kept.

        model: its name with its settings. asked: the whole of what it is asked. image: a hash, "" for none.

        Raises:
            Halted: a kept answer is damaged, the folder can't be written, or the server is taken for gone.
            DataError: `ask` raises it.
        """
        key = hashlib.sha256(json.dumps([model, asked, image]).encode()).hexdigest()
        file = self.folder / key[:2] / f"{key}.json"
        if file.is_file():
            return _read(file)
        answer = self.watch.asked(ask) if self.watch else ask()
        return self._kept(file, {"model": model, "asked": asked, "image": image, "answer": answer})

    def settle(self) -> None:
        """See that the server is there still, where its last answer failed. Raises Halted where it is not."""
        if self.watch:
            self.watch.settle()

    def _kept(self, file: Path, told: dict[str, str]) -> str:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with _alone_in(self.folder):
                if not file.is_file():
                    with written_whole(file) as part:
                        part.write_text(json.dumps(told, indent=1))
        except OSError as error:
            raise Halted(f"{file}: {error.strerror or error}") from error
        except DataError as error:
            raise Halted(str(error)) from error
        return _read(file)


@dataclass(frozen=True)
class KeptCaptioner:
    """A captioner whose captions are kept."""

    captioner: Captioner
    answers: Answers

    @property
    def name(self) -> str:
        return self.captioner.name

    def captions(self, image: bytes, record: Record, n: int) -> list[str]:
        """The captioner's, which follow from image and prompt alone. Raises DataError as `Answers.of` does."""
        asked = f"{n} answers to: {getattr(self.captioner, 'prompt', '')}"

        def ask() -> str:
            return json.dumps(self.captioner.captions(image, record, n))

        return json.loads(self.answers.of(self.name, asked, sha256(image), ask))


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder, without a file for it, while nobody else does."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _read(file: Path) -> str:
    try:
        answer = json.loads(file.read_text())["answer"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Halted(f"{file}: no answer of a model: {error}; remove it to ask again") from error
    if not isinstance(answer, str):
        raise Halted(f"{file}: answer: expected text; remove it to ask again")
    return answer
