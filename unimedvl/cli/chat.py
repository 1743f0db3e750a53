"""`unimedvl chat`: a conversation in the terminal, or of the lines that come on standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument

from unimedvl.cli.command import command
from unimedvl.cli.options import ModelOptions, OutputOptions, ReadingOptions, SamplingOptions
from unimedvl.cli.terminal import Terminal

if TYPE_CHECKING:
    from unimedvl.inference.results import TextResult
    from unimedvl.inference.unimedvl import UniMedVL

HELP = "/image PATH  /seed N  /reset  /save [FILE.json]  /quit; all else is said to the model"


def register(app: typer.Typer) -> None:
    command(app)(chat)


def chat(
    model: ModelOptions,
    read: ReadingOptions,
    text: SamplingOptions,
    output: OutputOptions,
    images: Annotated[list[Path] | None, Argument(help="Images that the first question is on.")] = None,
) -> None:
    """Talk about images. Commands: /image PATH, /seed N, /reset, /save [FILE.json], /quit.

    An interrupt (Ctrl-C) stops an answer; two at the prompt end the conversation with status 130.
    """
    terminal = Terminal(output)
    pixels = read.read(images or [])
    sampling = text.sampling(model.seed)
    loaded = model.load(generation=False, progress=terminal.progress)
    terminal.introduce(loaded)
    conversation = Conversation(loaded, sampling, read, terminal)
    conversation.waiting = pixels
    interactive = sys.stdin.isatty()
    if interactive:
        terminal.note(HELP)
    for line in _lines(terminal, interactive):
        try:
            if not conversation.take(line.strip()):
                return
        except KeyboardInterrupt:
            if not interactive:
                raise
            terminal.errors.print("stopped; this turn is forgotten. /quit ends the conversation", style="yellow")
        except ValueError as error:
            if not interactive:  # what follows in a script may rest on it
                raise
            terminal.errors.print(f"error: {error}", style="red")


def _lines(terminal: Terminal, interactive: bool) -> Iterator[str]:
    """What is typed, line by line. An interrupt at the prompt clears the line, and a second one ends the program."""
    if not interactive:
        yield from sys.stdin
        return
    interrupted = False
    while True:
        try:
            line = terminal.errors.input("> ")
        except KeyboardInterrupt:
            terminal.errors.print()
            if interrupted:
                raise
            interrupted = True
            terminal.errors.print("/quit ends the conversation, and so does another interrupt", style="dim")
            continue
        except EOFError:
            terminal.errors.print()
            return
        interrupted = False
        yield line


@dataclass(frozen=True)
class Turn:
    """What was asked, on which images, and the answer."""

    question: str
    images: list[str]
    result: TextResult

    def to_dict(self) -> dict:
        return {"question": self.question, "images": self.images} | self.result.to_dict()


class Conversation:
    """The state of a chat: what was said, images that wait for the next question, and the sampling."""

    def __init__(self, model: UniMedVL, sampling, read: ReadingOptions, terminal: Terminal) -> None:
        self.model, self.sampling, self.read, self.terminal = model, sampling, read, terminal
        self.waiting: list = []
        self.reset()

    def reset(self) -> None:
        self.chat = self.model.chat(self.sampling)
        self.waiting, self.turns = [], []

    def take(self, line: str) -> bool:
        """A command or something to say; False at the end. Raises ValueError for what can't be done."""
        if not line.startswith("/"):
            if line:
                self.say(line)
            return True
        name, _, value = line[1:].partition(" ")
        commands = {"image": self.image, "seed": self.seed, "save": self.save}
        if name in commands:
            commands[name](value.strip())
        elif name == "reset":
            self.reset()
            self.terminal.note("a new conversation")
        elif name == "help":
            self.terminal.note(HELP)
        elif name != "quit":
            raise ValueError(f"/{name}: no such command; there are {HELP.partition(';')[0]}")
        return name != "quit"

    def say(self, text: str) -> None:
        images = self.waiting
        result = self.terminal.speak(self.chat.stream(text, images))
        self.waiting = []  # only now: after an error they wait for the next question
        self.turns.append(Turn(text, [i.source for i in images], result))
        if self.terminal.json:
            self.terminal.document(self.turns[-1].to_dict(), indent=None)

    def image(self, path: str) -> None:
        if not path:
            raise ValueError("/image needs a file, as in /image scan.dcm")
        if path[0] == path[-1] and path[0] in "'\"" and len(path) > 2:  # as a terminal writes a dropped file
            path = path[1:-1]
        [image] = self.read.read([Path(path).expanduser()])
        self.waiting.append(image)
        self.terminal.note(f"{path}: {image.width} x {image.height}, for the next question")

    def seed(self, value: str) -> None:
        if not value.isdecimal():
            raise ValueError(f"/seed {value}: a seed is a whole number from 0, as in /seed 7")
        self.sampling = replace(self.sampling, seed=int(value))
        self.chat.sampling = self.sampling

    def save(self, name: str) -> None:
        """The turns so far as JSON; never over a file that is there."""
        place = Path(name or "chat.json")
        if place.exists():
            raise ValueError(f"{place}: exists; give another name, as in /save talk.json")
        text = json.dumps([turn.to_dict() for turn in self.turns], ensure_ascii=False, indent=2) + "\n"
        try:
            with place.open("x", encoding="utf-8") as out:
                out.write(text)
        except FileExistsError:
            raise ValueError(f"{place}: exists; give another name, as in /save talk.json") from None
        except OSError as error:
            raise ValueError(f"{place}: cannot be written ({error.strerror})") from error
        self.terminal.note(f"saved {place}")
