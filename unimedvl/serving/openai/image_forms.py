"""What OpenAI's clients send to the image routes, and what may be added to it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from unimedvl.serving.openai.forms import MOST_ANSWERS, DrawingFields, PartialImages, Seed, honoured

# Fields that change nothing in an image: taken, and not used.
_HARMLESS = frozenset({"user", "safety_identifier", "moderation", "metadata"})
# Fields that would change the image and are not honoured, and the values that ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "quality": ("auto", "standard"), "background": ("auto", "opaque"), "response_format": ("b64_json",),
    "style": (), "input_fidelity": ("low",), "mask": (), "markup": (),
}  # fmt: skip


class ImageRequest(DrawingFields):
    """What all image routes take."""

    prompt: str = Field(min_length=1)
    model: str | None = Field(None, description="The model's id; the one that is served where left out.")
    n: int | None = Field(None, ge=1, le=MOST_ANSWERS)
    seed: Seed | None = Field(None, description="The same gives the same; drawn by chance, and told, where left out.")
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: int | None = Field(None, ge=0, le=100, description="Quality of jpeg and webp.")
    stream: bool | None = None
    partial_images: PartialImages | None = Field(None, description="In a stream: so many images on the way.")
    think: bool = Field(False, description="Plan in words before drawing.")

    @model_validator(mode="before")
    @classmethod
    def _honoured(cls, given: Any) -> Any:
        return honoured(given, _HARMLESS, _NEUTRAL)

    @model_validator(mode="after")
    def _together(self) -> ImageRequest:
        if self.partial_images and not self.stream:
            raise ValueError("partial_images: only where stream is true")
        if self.output_compression is not None and self.format == "png":
            raise ValueError("output_compression: only for jpeg and webp")
        return self

    @property
    def format(self) -> str:
        return self.output_format or "png"


class GenerationRequest(ImageRequest):
    """`POST /v1/images/generations`. What OpenAI has and this model has not is refused by name."""

    modality: str | None = Field(None, description="Such as cxr; put before the prompt where that doesn't name it.")


class EditRequest(ImageRequest):
    """`POST /v1/images/edits`. As a form, images are files in `image` or `image[]`; in JSON, data URLs."""

    image: str | list[str] = Field(default_factory=list, description="Data URLs of what is edited, in JSON.")

    @property
    def images(self) -> list[str]:
        return [self.image] if isinstance(self.image, str) else self.image
