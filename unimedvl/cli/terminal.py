"""What goes where: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console

from unimedvl.cli.options import OutputOptions

if TYPE_CHECKING:
    from unimedvl.inference.image import Step
    from unimedvl.inference.results import TextResult
    from unimedvl.inference.unimedvl import Event, UniMedVL


class Terminal:
    """Standard output and standard error, as the options want them."""

    def __init__(self, options: OutputOptions) -> None:
        self.json, self.quiet = options.json, options.quiet
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
        if not options.debug:
            _log_warnings(self)

    @property
    def progress(self) -> bool:
        """Whether bars are drawn: only where somebody looks."""
        return not self.quiet and self.errors.is_terminal

    def note(self, text: str, style: str = "dim", end: str = "\n") -> None:
        if not self.quiet:
            self.errors.print(text, style=style, end=end)

    def introduce(self, model: UniMedVL) -> None:
        """Say which model answers, what it was trained on, and what it is not for."""
        from unimedvl.inference.results import NOT_CLINICAL

        trained = model.card.get("trained_on", "data that its checkpoint does not state")
        self.note(f"{model.card['name']}, trained on {trained}. {NOT_CLINICAL}")

    def line(self, text: object) -> None:
        """A line of the result."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def document(self, value: Any, indent: int | None = 2) -> None:
        """A result as JSON; `indent` None puts it on one line."""
        self.line(json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False))

    def speak(self, events: Generator[Event]) -> TextResult:
        """Show text as it comes, reasoning on standard error; returns the result, shown or not."""
        result, thinking = None, False
        with closing(events):  # an interrupt while text is shown must not leave the turn half taken in
            for event in events:
                if thinking and event.kind != "thought":
                    self.note("")  # the reasoning's line ends
                thinking = event.kind == "thought" and not self.json
                if event.kind == "result":
                    result = event.result
                elif not self.json:
                    self._piece(event)
        if not self.json:
            self.line("")
            how = "" if result.finish == "stop" else ", cut short"
            self.note(f"confidence {result.confidence:.2f}{how}")
        return result

    def _piece(self, event: Event) -> None:
        if event.kind == "thought":
            self.note(event.text, end="")
        else:
            sys.stdout.write(event.text)
            sys.stdout.flush()

    @contextmanager
    def steps(self, what: str) -> Iterator[Callable[[Step], None]]:
        """A function that takes the steps of a drawing, and shows them as a bar."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.errors, transient=True, disable=not self.progress) as bar:
            task = bar.add_task(what, total=None)
            yield lambda step: bar.update(task, completed=step.number, total=step.total)


def _log_warnings(terminal: Terminal) -> None:
    """Warnings of the libraries become notes of one line."""
    logging.captureWarnings(True)
    handler = _Notes(terminal)
    for name in ("py.warnings", "unimedvl", "pydicom", "nibabel", "nibabel.global", "huggingface_hub"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False


class _Notes(logging.Handler):
    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self.terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        # The hub's library is imported later, and adds a handler of its own that would tell all again.
        for other in logging.getLogger("huggingface_hub").handlers:
            if type(other) is logging.StreamHandler:
                other.setLevel(logging.CRITICAL + 1)
        # Of a captured Python warning, what counts follows "file:line: Category: ".
        text = record.getMessage().strip().splitlines()[0] if record.getMessage().strip() else ""
        if record.name == "py.warnings":
            text = text.split("Warning: ", 1)[-1]
        self.terminal.note(f"warning: {text}", style="yellow")
