"""The published instruments of stage 2, through `transformers`: MedGemma, E5 and MedSigLIP.

All are fetched from the Hugging Face hub when they are first used; MedGemma and MedSigLIP are given out there
after their terms are accepted.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from unimedvl.data.error import DataError
from unimedvl.data.quality.alignment import Instruments
from unimedvl.data.record import Record

_INSTALL = "pip install 'unimedvl[instruments]'"
DESCRIBE = (
    "Describe this medical image in one paragraph: its type and view, the anatomy that it shows, and what is"
    " notable in it. State only what is visible."
)


def published_instruments(seed: int = 0) -> Instruments:
    """The three that the paper names. Some 60 GB, of which MedGemma is 54."""
    return Instruments(MedGemmaCaptioner(seed=seed), E5Encoder(), MedSiglipMatcher())


class Pretrained:
    """A model of the hub with what prepares its inputs, both loaded when first used.

    model: its name on the hub, or a folder that has it. revision: on the hub a commit, tag or branch; of a folder
    what stands for its files (`revisions.revision_of`), which is not looked at here. device: None takes a GPU where
    there is one.
    """

    kinds: tuple[str, str]  # the classes of transformers that load what prepares its inputs, and the model
    published: str  # the one that is meant

    def __init__(self, model: str, revision: str = "main", device: str | None = None) -> None:
        self.model, self.revision, self._device = model, revision, device

    @property
    def name(self) -> str:
        return self._called

    @property
    def _called(self) -> str:
        return f"{Path(self.model).name if self._folder else self.model}@{self.revision}"

    @property
    def device(self) -> str:
        import torch

        return self._device or ("cuda" if torch.cuda.is_available() else "cpu")

    def check(self) -> None:
        """See that the device, the package and what prepares the inputs are there; the weights are not read.

        Raises:
            DataError: one of them is not.
        """
        import torch

        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:  # no such device, or a PyTorch built without it
            first = str(error).splitlines()[0]
            raise DataError(f"device {self.device!r} is not to be had here: {first}") from error
        self._class(self.kinds[1])
        looks, takes = self.kinds[0] == "AutoProcessor", hasattr(self._load("AutoConfig"), "vision_config")
        if looks != takes:
            found = "takes images" if takes else "takes no images"
            raise DataError(f"{self._called}: {found}; expected one such as {self.published}")
        words = getattr(self._inputs, "tokenizer", self._inputs)
        # Without its files some kinds of tokenizer are made all the same, and know nothing.
        if set(words("chest lung heart", add_special_tokens=False)["input_ids"]) <= {words.unk_token_id}:
            raise DataError(f"{self._called}: its tokenizer knows no words; is tokenizer.json or vocab.txt missing?")

    def loaded(self) -> Self:
        """This, with the model in memory. Raises DataError where it can't be loaded."""
        self._inputs, self._model  # noqa: B018 - loads them
        return self

    @cached_property
    def _inputs(self) -> Any:
        return self._load(self.kinds[0])

    @cached_property
    def _model(self) -> Any:
        return self._load(self.kinds[1]).to(self.device)

    @property
    def _folder(self) -> bool:
        return Path(self.model).expanduser().is_dir()

    def _class(self, kind: str) -> Any:
        try:
            return getattr(_transformers(), kind)
        except AttributeError as error:
            raise DataError(f"this transformers has no {kind}; {_INSTALL}") from error

    def _load(self, kind: str, **options) -> Any:
        """`transformers.KIND.from_pretrained`; a model is ready for inference."""
        loader = self._class(kind)
        place = str(Path(self.model).expanduser()) if self._folder else self.model
        if not self._folder:
            options["revision"] = self.revision
        try:
            loaded = loader.from_pretrained(place, **options)
        except Exception as error:  # gated, offline, damaged, a package missing, no memory
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DataError(f"{self._called}: can't be loaded: {first}") from error
        return loaded.eval() if hasattr(loaded, "eval") else loaded


def _transformers():
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise DataError(f"this needs the package transformers; {_INSTALL}") from error


class MedGemmaCaptioner(Pretrained):
    """MedGemma (arXiv 2507.05201), as it comes with eyes: google/medgemma-27b-it, or google/medgemma-4b-it."""

    kinds, published = ("AutoProcessor", "AutoModelForImageTextToText"), "google/medgemma-27b-it"

    def __init__(
        self, model: str = published, *, seed: int = 0, temperature: float = 0.7,
        most_tokens: int = 200, prompt: str = DESCRIBE, revision: str = "main", device: str | None = None,
    ) -> None:  # fmt: skip
        """seed: the same gives the same captions of an image on the same machine, whatever came before it."""
        super().__init__(model, revision, device)
        self.seed, self.temperature, self.most_tokens, self.prompt = seed, temperature, most_tokens, prompt

    @property
    def name(self) -> str:
        return f"{self._called}, temperature {self.temperature:g}, seed {self.seed}"

    @cached_property
    def _model(self) -> Any:
        import torch

        if self._device:
            return self._load(self.kinds[1], dtype=torch.bfloat16).to(self._device)
        return self._load(self.kinds[1], dtype=torch.bfloat16, device_map="auto")  # over all GPUs

    def captions(self, image: bytes, record: Record, n: int) -> list[str]:
        """n captions, drawn at random. Raises DataError."""
        import torch

        content = [{"type": "image", "image": picture(image)}, {"type": "text", "text": self.prompt}]
        inputs = self._inputs.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        ).to(self._model.device, dtype=torch.bfloat16)  # fmt: skip
        torch.manual_seed(self.seed)  # `generate` takes no generator of its own
        with torch.inference_mode():
            out = self._model.generate(
                **inputs, do_sample=True, temperature=self.temperature,
                num_return_sequences=n, max_new_tokens=self.most_tokens,
            )  # fmt: skip
        answers = out[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self._inputs.batch_decode(answers, skip_special_tokens=True)]


class E5Encoder(Pretrained):
    """E5 (arXiv 2212.03533): the average of the last layer over a text's tokens, at length 1."""

    kinds, published = ("AutoTokenizer", "AutoModel"), "intfloat/e5-large-v2"

    def __init__(
        self, model: str = published, *, prefix: Literal["query: ", "passage: "] = "query: ",
        batch: int = 64, revision: str = "main", device: str | None = None,
    ) -> None:  # fmt: skip
        """prefix: "query: " on both sides is its authors' advice for likeness of texts; "passage: " is for what
        is searched."""
        super().__init__(model, revision, device)
        if prefix not in ("query: ", "passage: "):
            raise ValueError(f"prefix is {prefix!r}; the model knows 'query: ' and 'passage: '")
        self.prefix, self.batch = prefix, batch

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """[n, d] float32 vectors of length 1; a text counts up to its 512th token."""
        import torch

        vectors = []
        for start in range(0, len(texts), self.batch):
            said = [self.prefix + text for text in texts[start : start + self.batch]]
            inputs = self._inputs(said, max_length=512, padding=True, truncation=True, return_tensors="pt")
            inputs = inputs.to(self.device)
            with torch.inference_mode():
                states = self._model(**inputs).last_hidden_state
            pooled = average_pool(states, inputs["attention_mask"])
            vectors.append(torch.nn.functional.normalize(pooled.float(), dim=1).cpu().numpy())
        return np.concatenate(vectors)


def average_pool(states, mask):
    """The mean over the tokens that are not padding: states [n, t, d] and mask [n, t] to [n, d]."""
    states = states.masked_fill(~mask[..., None].bool(), 0.0)
    return states.sum(dim=1) / mask.sum(dim=1)[..., None]


class MedSiglipMatcher(Pretrained):
    """MedSigLIP (arXiv 2507.05201): the cosine of image and text, -1 to 1.

    A text counts up to its 64th token, which is all that the model takes. The cosine rises with the model's
    match probability, and is spread more evenly than it.
    """

    kinds, published = ("AutoProcessor", "AutoModel"), "google/medsiglip-448"

    def __init__(self, model: str = published, *, revision: str = "main", device: str | None = None) -> None:
        super().__init__(model, revision, device)

    def match(self, images: Sequence[bytes], texts: Sequence[str]) -> np.ndarray:
        """[n] cosines. Raises DataError for an image that can't be read."""
        import torch

        # Trained with texts padded to the full length.
        inputs = self._inputs(
            text=list(texts), images=[picture(i) for i in images], padding="max_length", truncation=True,
            max_length=self._model.config.text_config.max_position_embeddings, return_tensors="pt",
        ).to(self.device)  # fmt: skip
        with torch.inference_mode():
            out = self._model(**inputs)
        # Both come at length 1.
        return (out.image_embeds * out.text_embeds).sum(dim=1).float().cpu().numpy()


def picture(data: bytes):
    """An encoded image as a Pillow image in RGB. Raises DataError."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as opened:
            return opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"<bytes>: no image that can be read: {error}") from error
