"""Which instruments a recipe names, and what makes them.

An instrument is `embedded`, `{transformers: NAME_OR_FOLDER}` or `{endpoint: URL, model: NAME}`. What makes which of
them for which role is the table `MAKERS`; a kind that a role does not have in it is refused by it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from unimedvl.data.captions.answers import Answers, KeptCaptioner
from unimedvl.data.captions.chat import EndpointChat
from unimedvl.data.captions.embedded import EmbeddedWriter
from unimedvl.data.captions.writer import CaptionerWriter
from unimedvl.data.error import DataError
from unimedvl.data.interleaved.rewording import Rewriter
from unimedvl.data.quality.alignment import Instruments
from unimedvl.data.quality.embedded import StandInCaptioner, StandInEncoder, StandInMatcher
from unimedvl.data.quality.endpoint import EndpointCaptioner, Watch
from unimedvl.data.quality.transformers_models import (
    E5Encoder,
    MedGemmaCaptioner,
    MedSiglipMatcher,
    Pretrained,
)

Role = Literal["captioner", "encoder", "matcher", "writer", "rewriter"]
Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """What has these fields and no others, and does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ThroughTransformers(Strict):
    """A model through the package transformers: of the MedGemma family as captioner or writer, of E5 as encoder, of
    SigLIP as matcher.

    transformers: its name on the Hugging Face hub, or the folder that has it. revision: on the hub a commit, tag or
    branch, else the main one; of a folder, the hash that it must have. device: as PyTorch calls it; None takes a GPU
    where there is one.
    """

    transformers: str = Field(min_length=1)
    revision: str | None = Field(default=None, min_length=1)
    device: str | None = Field(default=None, min_length=1)


class AtEndpoint(Strict):
    """A model on a server with the OpenAI chat form. The defaults of what is asked suit a caption of one paragraph.

    endpoint: its address, up to and with the version. model: as the server calls it. key: the name of the environment
    variable that holds the key. timeout_s, tries, pause_s: as for `EndpointCaptioner`. failures: requests in a row
    that fail before the build stops. What changes no byte of what is built is not noted of a build.
    """

    endpoint: str
    model: str = Field(min_length=1)
    key: str | None = Field(default=None, exclude=True)
    temperature: float = Field(default=0.7, ge=0, allow_inf_nan=False)
    seed: int = 0
    most_tokens: int = Field(default=400, gt=0)
    timeout_s: float = Field(default=120.0, gt=0, exclude=True)
    tries: int = Field(default=6, gt=0, exclude=True)  # half a minute in all: a server may be started again
    pause_s: float = Field(default=1.0, ge=0, exclude=True)
    failures: int = Field(default=5, gt=0, exclude=True)

    @model_validator(mode="after")
    def _can_be_asked(self) -> AtEndpoint:
        EndpointCaptioner(self.endpoint, self.model)
        # A key pasted in its variable's place is not told on.
        if self.key is not None and not all(c.isupper() or c.isdigit() or c == "_" for c in self.key):
            raise ValueError("key: the name of an environment variable is wanted, such as OPENAI_API_KEY, not the key")
        return self

    def secret(self) -> str:
        """The key; empty where none is named. Raises DataError where its variable is not set."""
        if self.key is None:
            return ""
        if not os.environ.get(self.key):
            raise DataError(f"the environment variable {self.key}, which is to hold the key, is not set")
        return os.environ[self.key]

    def asked(self, kind: type[EndpointCaptioner] = EndpointCaptioner) -> EndpointCaptioner:
        """What asks it. Raises DataError as `secret`, and where the key can be no key."""
        names = ("temperature", "seed", "most_tokens", "timeout_s", "tries", "pause_s")
        return kind(self.endpoint, self.model, self.secret(), **{name: getattr(self, name) for name in names})


Choice = Literal["embedded"] | ThroughTransformers | AtEndpoint
_KINDS: dict[str, type[Strict]] = {"transformers": ThroughTransformers, "endpoint": AtEndpoint}
_FORMS = {
    "embedded": "embedded",
    "transformers": "{transformers: NAME_OR_FOLDER}",
    "endpoint": "{endpoint: URL, model: NAME}",
}


def kind_of(choice: Choice) -> str:
    """`embedded`, or the key that names the kind."""
    return next((kind for kind, model in _KINDS.items() if isinstance(choice, model)), "embedded")


# What makes them ----------------------------------------------------------------------------------


def _kept(choice: Choice, folder: Path) -> Answers:
    """Where a model's answers are kept; a server is watched."""
    watch = Watch(choice.asked(), choice.failures) if isinstance(choice, AtEndpoint) else None
    return Answers(folder / "answers", watch)


def _published_captioner(choice: ThroughTransformers, folder: Path, **more: Any) -> MedGemmaCaptioner:
    return MedGemmaCaptioner(**_where(choice), **more)


def _where(choice: ThroughTransformers) -> dict[str, str | None]:
    return {"model": choice.transformers, "revision": choice.revision or "main", "device": choice.device}


def _writer(captioner: Callable[..., Any], choice: Choice, folder: Path) -> CaptionerWriter:
    return CaptionerWriter(captioner(choice, folder), _kept(choice, folder))


# By role and kind. Each is given what the recipe says and the build's folder, and loads no model.
MAKERS: Mapping[str, Mapping[str, Callable[[Any, Path], Any]]] = {
    "captioner": {
        "embedded": lambda choice, folder: StandInCaptioner(),
        "transformers": _published_captioner,
        "endpoint": lambda choice, folder: choice.asked(),
    },
    "encoder": {
        "embedded": lambda choice, folder: StandInEncoder(),
        "transformers": lambda choice, folder: E5Encoder(**_where(choice)),
    },
    "matcher": {
        "embedded": lambda choice, folder: StandInMatcher(StandInCaptioner(), StandInEncoder()),
        "transformers": lambda choice, folder: MedSiglipMatcher(**_where(choice)),
    },
    "writer": {
        "embedded": lambda choice, folder: EmbeddedWriter(),
        "transformers": partial(_writer, partial(_published_captioner, most_tokens=400)),
        "endpoint": partial(_writer, lambda choice, folder: choice.asked()),
    },
    "rewriter": {
        "endpoint": lambda choice, folder: Rewriter(choice.asked(EndpointChat), _kept(choice, folder)),
    },
}


def made_of(role: Role, choice: Choice, folder: Path) -> Any:
    """The instrument of a role. folder: the build's. No model is loaded. Raises DataError where a key is missing."""
    return MAKERS[role][kind_of(choice)](choice, folder)


def load(instrument: Any) -> None:
    """Load its model, where it holds one. Raises DataError where that can't be had."""
    model = pretrained_in(instrument)
    if model is not None:
        model.loaded()


def pretrained_in(instrument: Any) -> Pretrained | None:
    """The model that an instrument is, or asks."""
    asked = getattr(instrument, "captioner", instrument)
    return asked if isinstance(asked, Pretrained) else None


# What a recipe may say ----------------------------------------------------------------------------


def validated(model: type[Model], values: object) -> Model:
    """The model of some values. Raises ValueError with one line on the first thing wrong with them."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise ValueError(f"{where}: no such field; there are {', '.join(model.model_fields)}") from None
        raise ValueError(f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}") from None


def _chosen(role: Role, value: object) -> object:
    named = [kind for kind in _KINDS if isinstance(value, dict) and kind in value]
    if isinstance(value, Strict):
        named = [kind_of(value)]
    if value == "embedded":
        named = ["embedded"]
    expected = " or ".join(_FORMS[kind] for kind in MAKERS[role])
    if len(named) != 1:
        raise ValueError(f"expected {expected}")
    if named[0] not in MAKERS[role]:
        raise ValueError(f"{named[0]} can't be the {role}; expected {expected}")
    return validated(_KINDS[named[0]], value) if isinstance(value, dict) else value


CaptionerChoice = Annotated[Choice, BeforeValidator(partial(_chosen, "captioner"))]
EncoderChoice = Annotated[Choice, BeforeValidator(partial(_chosen, "encoder"))]
MatcherChoice = Annotated[Choice, BeforeValidator(partial(_chosen, "matcher"))]
WriterChoice = Annotated[Choice, BeforeValidator(partial(_chosen, "writer"))]
RewriterChoice = Annotated[AtEndpoint, BeforeValidator(partial(_chosen, "rewriter"))]


class Chosen(Strict):
    """The three instruments of the alignment stage; `embedded` are the stand-ins."""

    captioner: CaptionerChoice = "embedded"
    encoder: EncoderChoice = "embedded"
    matcher: MatcherChoice = "embedded"

    def made(self, folder: Path) -> Instruments:
        """The three of them, with what a model or server says kept in the build's folder; no model is loaded.

        Raises:
            DataError: a key is missing.
        """
        captioner, encoder, matcher = (made_of(role, getattr(self, role), folder) for role in type(self).model_fields)
        if isinstance(captioner, StandInCaptioner):
            if isinstance(matcher, StandInMatcher):
                matcher = StandInMatcher(captioner, matcher.encoder)  # one nano model is enough
        else:
            captioner = KeptCaptioner(captioner, _kept(self.captioner, folder))
        return Instruments(captioner, encoder, matcher)
