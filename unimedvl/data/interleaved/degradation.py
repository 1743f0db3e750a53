"""How a sharp image is made coarse, declared so that it can be done again from the record alone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.interleaved.wording import generator
from unimedvl.data.sources.ixi import degraded
from unimedvl.tasks import UPSCALE_FACTOR

Method = Literal["mean", "bicubic", "kspace"]
# Attribute of the record that holds the parameters as JSON.
DECLARED = "degradation_parameters"
_WORDS: dict[str, str] = {
    "mean": "mean over blocks of {f} x {f} pixels, then bicubic to the size before",
    "bicubic": "bicubic to 1/{f} of the size with antialiasing, then bicubic to the size before",
    "kspace": "only the centre 1/{f} x 1/{f} of k-space kept, zero-filled to the size before",
}


@dataclass(frozen=True)
class Degradation:
    """Parameters of a degradation.

    method: `mean` averages blocks, as `sources.ixi` does; `bicubic` is the published one of super-resolution sets;
    `kspace` cuts off the high frequencies, as an MRI scan of that resolution would (with its ringing).
    factor: how many times coarser. noise: standard deviation of added noise in grey levels of 255; for `kspace` it
    is added to both channels of the complex image, so that its magnitude is Rician (Gudbjartsson and Patz, Magnetic
    Resonance in Medicine 1995). seed: of the noise, with the record's key.

    Raises:
        DataError: a parameter is out of range.
    """

    method: Method = "mean"
    factor: int = UPSCALE_FACTOR
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise DataError(f"method is {self.method!r}; expected {', '.join(get_args(Method))}")
        if not isinstance(self.factor, int) or not 2 <= self.factor <= 16:
            raise DataError(f"factor is {self.factor!r}; expected a whole number from 2 to 16")
        if not 0 <= self.noise <= 128:
            raise DataError(f"noise is {self.noise!r}; expected 0 to 128 grey levels")

    @property
    def words(self) -> str:
        """The degradation in words, which for no noise are those of `sources.ixi`."""
        noise = f"; noise of {self.noise:g} grey levels, seed {self.seed}" if self.noise else ""
        return _WORDS[self.method].format(f=self.factor) + noise

    def attributes(self) -> dict[str, str]:
        """What the record says: `degradation` in words, the parameters as JSON, and `factor`."""
        return {
            "degradation": self.words,
            DECLARED: json.dumps(asdict(self), sort_keys=True),
            "factor": str(self.factor),
        }

    def applied(self, image: np.ndarray, key: str) -> np.ndarray:
        """The image as coarse as that, at the same size. key: of the record; it decides the noise.

        image: [H, W] or [H, W, 3] uint8, whose sides the factor divides (`whole_blocks`).

        Raises:
            DataError: a side is no multiple of the factor.
        """
        if any(side % self.factor or side < self.factor for side in image.shape[:2]):
            raise DataError(f"{image.shape[1]} x {image.shape[0]} pixels; expected multiples of {self.factor}")
        if image.ndim == 3:
            same = np.array_equal(image[..., 0], image[..., 1]) and np.array_equal(image[..., 0], image[..., 2])
            planes = [self._plane(image[..., c], f"{key} {0 if same else c}") for c in range(1 if same else 3)]
            return np.stack(planes * 3 if same else planes, axis=-1)
        return self._plane(image, f"{key} 0")

    def _plane(self, grey: np.ndarray, key: str) -> np.ndarray:
        rng = generator(f"noise {key}", self.seed)
        if self.method == "kspace":
            return _kspace(grey, self.factor, self.noise, rng)
        coarse = degraded(grey, self.factor) if self.method == "mean" else _bicubic(grey, self.factor)
        if not self.noise:
            return coarse
        return (coarse + rng.normal(0, self.noise, coarse.shape)).clip(0, 255).round().astype(np.uint8)


def declared(attributes: dict[str, str]) -> Degradation | None:
    """The degradation that a record declares, in parameters or in the words of `sources.ixi`; None for neither.

    Raises:
        DataError: the parameters are damaged or out of range.
    """
    text = attributes.get(DECLARED)
    if text is None:
        said = attributes.get("degradation")
        return next((d for d in (Degradation(m) for m in get_args(Method)) if d.words == said), None)
    try:
        return Degradation(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise DataError(f"{DECLARED}: {error}") from error


def whole_blocks(image: np.ndarray, factor: int) -> np.ndarray:
    """The image without the last rows and columns that fill no block. Raises DataError where nothing is left."""
    height, width = (side - side % factor for side in image.shape[:2])
    if not height or not width:
        raise DataError(f"{image.shape[1]} x {image.shape[0]} pixels; too small to be {factor} times coarser")
    return image[:height, :width]


def _bicubic(grey: np.ndarray, factor: int) -> np.ndarray:
    height, width = grey.shape
    # Pillow's filters reach over the coarser pixel where they shrink, which is their antialiasing.
    small = Image.fromarray(grey).resize((width // factor, height // factor), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def _kspace(grey: np.ndarray, factor: int, noise: float, rng: np.random.Generator) -> np.ndarray:
    """The magnitude of what the centre of the discrete Fourier transform says of an image."""
    spectrum = np.fft.fftshift(np.fft.fft2(grey.astype(np.float64)))
    kept = np.zeros(grey.shape)
    high, wide = (side // factor for side in grey.shape)
    top, left = grey.shape[0] // 2 - high // 2, grey.shape[1] // 2 - wide // 2
    kept[top : top + high, left : left + wide] = 1
    image = np.fft.ifft2(np.fft.ifftshift(spectrum * kept))
    if noise:
        image = image + rng.normal(0, noise, grey.shape) + 1j * rng.normal(0, noise, grey.shape)
    return np.abs(image).clip(0, 255).round().astype(np.uint8)
