"""Drawing gives the recorded latents and pixels under every form of guidance."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unimedvl.inference import image as drawing_module
from unimedvl.inference.context import Context
from unimedvl.inference.image import draw
from unimedvl.model.flow import Guidance, guided, time_grid
from unimedvl.tasks import Drawing

# A value that is a hair from a whole level falls to one side or the other by the last bit of float32,
# because levels are cut off and not rounded. So one level, in one value of a thousand.
LEVELS, SHARE = 1, 1e-3


def guidance_of(spec: dict) -> Guidance:
    return Guidance(
        spec["cfg_text_scale"],
        spec["cfg_img_scale"],
        tuple(spec["cfg_interval"]),
        spec["cfg_renorm_type"],
        spec["cfg_renorm_min"],
    )


def shape_of(case) -> tuple[int, int]:
    stride = case.model.config.latent_stride
    return case.spec["height"] // stride, case.spec["width"] // stride


def context_of(case) -> Context:
    context = Context(case.model)
    context.extend(case.segments(case.spec["context"]))
    return context


def assert_same_pixels(out: Tensor, recorded: Tensor) -> None:
    assert out.shape == recorded.shape and out.dtype == torch.uint8
    off = (out.int() - recorded.int()).abs()
    assert off.max() <= LEVELS
    assert (off > 0).float().mean() <= SHARE


@torch.no_grad()
def test_latents_and_pixels_step_by_step(generation, assert_close):
    model, spec, shape = generation.model, generation.spec, shape_of(generation)
    guidance = guidance_of(spec)
    branches = context_of(generation).branches(guidance)
    all_branches, full = model.canvas([branches], [shape]), model.canvas([branches[:1]], [shape])
    x = generation.recorded("noise").clone()
    times = time_grid(spec["num_timesteps"], spec["timestep_shift"])
    for t, following in zip(times, times[1:], strict=False):
        if guidance.active(t):
            v = model.velocity(all_branches, x, t).view(len(branches), 1, *x.shape)
            v = guided(v[0], v[1], v[2] if len(branches) == 3 else None, guidance)[0]
        else:
            v = model.velocity(full, x, t)
        x = x - (t - following) * v
    assert_close(x, generation.recorded("latent"), "latent")
    pixels = (model.pixels(x, shape) * 0.5 + 0.5).clamp(0, 1) * 255
    assert_same_pixels(pixels.to(torch.uint8).permute(1, 2, 0), generation.recorded("pixels"))


def test_drawing_from_the_recorded_noise(generation, monkeypatch: pytest.MonkeyPatch):
    spec, noise = generation.spec, generation.recorded("noise")
    monkeypatch.setattr(drawing_module, "_noise", lambda model, tokens, seed: noise.clone())
    drawing = Drawing(spec["num_timesteps"], spec["timestep_shift"], guidance_of(spec))
    (out,) = draw([context_of(generation)], [shape_of(generation)], drawing, [0])
    assert_same_pixels(out, generation.recorded("pixels"))
