"""What OpenAI's clients send to chat, and what may be added to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

MOST_ANSWERS = 16
LARGEST_SEED = 2**63 - 1
MOST_TOP_LOGPROBS = 20
MOST_STOPS = 4

# Fields that change nothing in an answer: taken, and not used.
_HARMLESS = frozenset({
    "metadata", "store", "service_tier", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "prompt_cache_options", "prediction", "moderation", "parallel_tool_calls",
})  # fmt: skip
# Fields that would change the answer and are not honoured, and the values that ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},), "tools": ([],), "functions": ([],),
    "tool_choice": ("none", "auto"), "function_call": ("none", "auto"), "verbosity": ("medium",),
    "audio": (), "web_search_options": (),
}  # fmt: skip


class Form(BaseModel):
    """A form of which an unknown field is refused by name."""

    model_config = ConfigDict(extra="forbid")


class Lenient(BaseModel):
    """A part of a reply that clients hand back, with more than is needed here."""

    model_config = ConfigDict(extra="ignore")


def _bare(url: Any) -> Any:
    return {"url": url} if isinstance(url, str) else url


class ImageUrl(Form):
    """url: a data URL, ``attachment://NAME`` of a file sent beside, or http(s) of a host that is allowed.

    detail: taken, and not used: images are resized as the model was trained.
    """

    url: str = Field(min_length=1)
    detail: str | None = None


def _as_parts(content: Any) -> Any:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [] if content is None else content


class TextPart(Form):
    type: Literal["text"]
    text: str


class ImagePart(Form):
    type: Literal["image_url"]
    image_url: Annotated[ImageUrl, BeforeValidator(_bare)]


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(Lenient):
    """One turn. images: as replies have them, so that a reply can be handed back as it came."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[Part], BeforeValidator(_as_parts)] = Field(
        default_factory=list, description="A text, or a list of parts."
    )
    images: list[ImagePart] | None = None

    @property
    def parts(self) -> list[TextPart | ImagePart]:
        return [*self.content, *(self.images or [])]

    @model_validator(mode="after")
    def _said(self) -> Message:
        if not self.parts:
            raise ValueError("content: a message needs text or an image")
        return self


class StreamOptions(Lenient):
    include_usage: bool = False


class JsonSchema(Lenient):
    name: str = "answer"
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Form):
    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema goes with the type json_schema, and that with it")
        return self


def _few(stop: str | list[str] | None) -> str | list[str] | None:
    if isinstance(stop, list) and len(stop) > MOST_STOPS:
        raise ValueError(f"at most {MOST_STOPS} texts")
    return stop


Stop = Annotated[str | list[str] | None, AfterValidator(_few)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Size = Annotated[str, StringConstraints(pattern=r"^(auto|\d{1,5}x\d{1,5})$")]
PartialImages = Annotated[int, Field(ge=0, le=3)]


class DrawingFields(Form):
    """How images are drawn, in all routes that draw."""

    size: Size | None = Field(None, description="WIDTHxHEIGHT in pixels, or auto: the first image's, or the model's.")
    num_inference_steps: int | None = Field(None, ge=2, le=1000, description="Points of the time grid.")
    guidance_scale: float | None = Field(None, ge=1, le=20, description="How far an image follows the words; 1: off.")
    image_guidance_scale: float | None = Field(None, ge=1, le=20, description="How far it follows the input image.")

    @property
    def width_and_height(self) -> tuple[int, int] | None:
        if self.size in (None, "auto"):
            return None
        width, height = self.size.split("x")
        return int(width), int(height)


class ChatRequest(DrawingFields):
    """`POST /v1/chat/completions`. What OpenAI has and this model has not is refused by name."""

    model: str | None = Field(None, description="The model's id; the one that is served where left out.")
    messages: list[Message] = Field(min_length=1)
    modalities: list[Literal["text", "image"]] | None = Field(None, min_length=1, description="What is answered.")
    temperature: float | None = Field(None, ge=0, le=2, description="0, the default, takes the likeliest token.")
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: Stop = None
    seed: Seed | None = Field(None, description="The same gives the same; drawn by chance, and told, where left out.")
    n: int | None = Field(None, ge=1, le=MOST_ANSWERS)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_TOP_LOGPROBS)
    response_format: ResponseFormat | None = None
    partial_images: PartialImages | None = Field(None, description="In a stream: so many images on the way.")
    image_carrier: Literal["images", "content"] = Field(
        "images", description="Where images of a reply stand: in message.images, or as parts of message.content."
    )
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = Field(
        None, description="low or more lets the model reason first; it then stands in reasoning_content."
    )

    @model_validator(mode="before")
    @classmethod
    def _honoured(cls, given: Any) -> Any:
        return honoured(given, _HARMLESS, _NEUTRAL)

    @model_validator(mode="after")
    def _together(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: needs logprobs to be true")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: only where stream is true")
        if self.draws and self.response_format is not None and self.response_format.type != "text":
            raise ValueError("response_format: must be text where an image is asked for")
        if self.partial_images and not self.stream:
            raise ValueError("partial_images: only where stream is true")
        if self.messages[-1].role != "user":
            raise ValueError("messages: the last one must be the user's")
        return self

    @property
    def draws(self) -> bool:
        return "image" in (self.modalities or ())

    @property
    def thinks(self) -> bool:
        return self.reasoning_effort not in (None, "none", "minimal")


def honoured(given: Any, harmless: frozenset[str], neutral: dict[str, tuple[Any, ...]]) -> Any:
    """A form without what is not used: harmless fields, and others where they ask for nothing.

    Raises:
        ValueError: a field that would change the answer and is not honoured, by name.
    """
    if not isinstance(given, dict):
        return given
    kept = {}
    for key, value in given.items():
        if key in harmless:
            continue
        if key in neutral:
            if value is not None and value not in neutral[key]:
                raise ValueError(f"{key}: not supported here; leave it out")
            continue
        kept[key] = value
    return kept
