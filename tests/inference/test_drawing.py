"""Drawing: a seed is an image, neighbours have no say, and it can be watched and stopped."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unimedvl.inference.image import Cancelled, Easel, Picture, Step, decoded, draw, grid_for
from unimedvl.model.flow import Guidance, guided, time_grid
from unimedvl.tasks import Drawing

DRAWINGS = {
    "plain": Drawing(4, 3.0, Guidance(1.0)),
    "text": Drawing(4, 3.0, Guidance(4.0, 1.0, (0.4, 1.0), "global")),
    "text-and-image": Drawing(4, 3.0, Guidance(4.0, 2.0, (0.0, 1.0), "text_channel")),
}
drawings = pytest.mark.parametrize("drawing", DRAWINGS.values(), ids=DRAWINGS.keys())


def assert_same_image(a: Tensor, b: Tensor) -> None:
    """Equal but for values that sit on a step between two levels."""
    off = (a.int() - b.int()).abs()
    assert a.shape == b.shape and off.max() <= 1 and (off > 0).float().mean() <= 0.01


@pytest.fixture
def context(prompts, context_of):
    """An edit's context: a latent, its view, a text."""
    return lambda: context_of(prompts[3])


@drawings
def test_drawing_is_the_written_out_loop_over_the_seeds_noise(tiny, context, drawing):
    model, guidance, shape = tiny.model, drawing.guidance, (3, 4)
    branches = context().branches(guidance)
    canvases = [model.canvas([[cache]], [shape]) for cache in branches]  # one branch at a time
    x = torch.randn(12, model.config.latent_token_dim, generator=torch.Generator().manual_seed(7))
    times = time_grid(drawing.steps, drawing.shift)
    for t, following in zip(times, times[1:], strict=False):
        v = [model.velocity(canvas, x, t)[None] for canvas in canvases]
        if guidance.active(t):
            v = guided(v[0], v[1], v[2] if guidance.uses_image else None, guidance)
        else:
            v = v[0]
        x = x - (t - following) * v[0]
    expected = ((model.pixels(x, shape) * 0.5 + 0.5) * 255).clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    (out,) = draw([context()], [shape], drawing, [7])
    assert out.shape == (12, 16, 3) and out.dtype == torch.uint8
    assert_same_image(out, expected)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_image(context):
    images = [draw([context()], [(4, 4)], DRAWINGS["text-and-image"], [seed])[0] for seed in (1, 1, 2)]
    assert torch.equal(images[0], images[1])
    assert (images[0].int() - images[2].int()).abs().float().mean() > 5


@drawings
def test_several_images_at_once_equal_one_by_one(prompts, context_of, drawing):
    """Different contexts, sizes and seeds in one batch."""
    contexts, shapes, seeds = [prompts[3], prompts[0], prompts[2]], [(2, 3), (4, 4), (1, 5)], [3, 3, 5]
    together = draw([context_of(p) for p in contexts], shapes, drawing, seeds)
    for out, prompt, shape, seed in zip(together, contexts, shapes, seeds, strict=True):
        (alone,) = draw([context_of(prompt)], [shape], drawing, [seed])
        assert_same_image(out, alone)


def test_pictures_at_different_times_of_different_drawings_share_steps(tiny, prompts, context_of):
    """Each begins when it comes, ends when it is done, and is what it would have been alone."""
    kinds = [*DRAWINGS.values(), replace(DRAWINGS["text"], steps=7, shift=1.0)]
    made = [(prompts[n], shape, kinds[n], n) for n, shape in enumerate([(2, 3), (4, 4), (1, 5), (3, 3)])]
    easel, waiting, pictures = Easel(tiny.model), list(made), []
    while waiting or not all(picture.done for picture in pictures):
        if waiting:
            prompt, shape, drawing, seed = waiting.pop(0)
            pictures.append(Picture(context_of(prompt), shape, drawing, seed))
        easel.step([picture for picture in pictures if not picture.done])
    for picture, (prompt, shape, drawing, seed) in zip(pictures, made, strict=True):
        (alone,) = draw([context_of(prompt)], [shape], drawing, [seed])
        assert_same_image(decoded(tiny.model, picture.x, shape), alone)


def test_guidance_changes_the_image(context):
    images = [draw([context()], [(4, 4)], drawing, [1])[0].int() for drawing in DRAWINGS.values()]
    assert all((a - b).abs().float().mean() > 1 for a, b in zip(images, images[1:], strict=False))


def test_drawing_leaves_the_context_as_it_was(context):
    drawn = context()
    before = drawn.length
    draw([drawn], [(2, 2)], DRAWINGS["text-and-image"], [0])
    assert drawn.length == before


def test_every_step_is_told_with_a_preview_and_the_last_preview_is_the_image(context):
    steps: list[tuple[int, int]] = []
    previews: list[list[Tensor]] = []

    def watch(step: Step) -> None:
        steps.append((step.number, step.total))
        previews.append(step.preview())

    drawing = DRAWINGS["text-and-image"]
    images = draw([context(), context()], [(4, 4), (2, 3)], drawing, [1, 2], watch)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    for seen in previews:
        assert [p.shape for p in seen] == [i.shape for i in images] and seen[0].dtype == torch.uint8
    assert all(torch.equal(p, i) for p, i in zip(previews[-1], images, strict=True))
    assert not torch.equal(previews[0][0], images[0])


def test_a_preview_asked_for_later_still_shows_its_own_step(context):
    kept: list[Step] = []
    draw([context()], [(4, 4)], DRAWINGS["plain"], [1], kept.append)
    previews = [step.preview()[0] for step in kept]
    now: list[Tensor] = []
    draw([context()], [(4, 4)], DRAWINGS["plain"], [1], lambda step: now.append(step.preview()[0]))
    assert all(torch.equal(a, b) for a, b in zip(previews, now, strict=True))


def test_a_cancelled_drawing_stops_between_two_steps(context):
    seen: list[int] = []
    with pytest.raises(Cancelled, match="stopped at step 2 of 3"):
        draw(
            [context()], [(2, 2)], DRAWINGS["plain"], [0], lambda s: seen.append(s.number), lambda: bool(seen)
        )
    assert seen == [1]


@pytest.mark.parametrize("size", [(10, 16), (16, 10), (0, 16), (36, 16), (16, 36), (-4, 4)])
def test_a_size_that_cannot_be_drawn_is_refused_with_the_stride_and_the_limit(tiny, size):
    with pytest.raises(ValueError, match=f"{size[0]} x {size[1]} .* multiples of 4, at most 32"):
        grid_for(tiny.model, *size)


def test_a_size_is_rows_and_columns_of_tokens(tiny):
    assert grid_for(tiny.model, 32, 16) == (4, 8)
