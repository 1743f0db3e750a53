"""A record becomes the example that its task lays out, with its own words and images."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.examples import TASK_OF, example_of
from unimedvl.data.record import Record
from unimedvl.data.source import Sample, answer, pictures, question
from unimedvl.phantoms import simulate
from unimedvl.sequence import Latent, Seen
from unimedvl.tasks import TASKS


def test_every_task_of_the_phantoms_is_laid_out(miniature, read, tiny):
    done = set()
    for sample in read("phantoms", miniature("phantoms")).samples:
        example = example_of(sample)
        segments = TASKS[example.task].sequence(example, tiny.prepare)
        assert len(example.images) == len(sample.record.input_img)
        assert len(example.targets) == len(sample.record.output_img)
        assert any(getattr(s, "predict", False) for s in segments)
        assert any(isinstance(s, Latent) and s.predict for s in segments) == TASKS[example.task].draws
        assert any(isinstance(s, Seen) for s in segments) or not example.images
        done.add(sample.record.sub_task_type)
    assert done <= set(TASK_OF)


def test_images_are_the_records_own_and_marks_are_no_words(miniature, read):
    for sample in read("phantoms", miniature("phantoms")).samples:
        if sample.record.sub_task_type == "report" and sample.record.modality == "cxr":
            example = example_of(sample)
            study = simulate("cxr", int(sample.record.study.split("-")[-1]))
            (shown,) = example.images
            assert shown.dtype == torch.uint8
            assert np.array_equal(shown.permute(1, 2, 0), study.images["frontal"])
            assert example.turns[0][0] == "Write a report of this image."
            return
    raise AssertionError("the miniature has no report of a chest X-ray")


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "grey as RGB"])
def test_an_image_of_any_mode_is_three_planes_of_its_colours(mode):
    colours = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    image = Image.fromarray(colours)
    image = image.convert("L").convert("RGB") if mode == "grey as RGB" else image.convert(mode)
    out = io.BytesIO()
    image.save(out, "PNG")
    (shown,) = example_of(sample_of(out.getvalue())).images
    assert shown.shape == (3, 24, 40)
    assert np.array_equal(shown.permute(1, 2, 0), image.convert("RGB"))


def sample_of(image: bytes) -> Sample:
    record = Record(
        main_task_type="understanding", sub_task_type="vqa", modality="cxr", dataset="demo", id="0",
        input_img=pictures(["0.png"]), message=(question("What is it?"), answer("A chest X-ray.")),
    )  # fmt: skip
    return Sample(record, (lambda: image,))


def test_what_can_be_no_example_is_told_in_one_line(miniature, read):
    sample = read("phantoms", miniature("phantoms")).samples[0]
    unknown = sample.record.model_copy(update={"sub_task_type": "dance"})
    with pytest.raises(DataError, match="no task for 'dance'; there are vqa"):
        example_of(Sample(unknown, sample.images))
    torn = sample.record.model_copy(update={"message": sample.record.message[:1]})
    with pytest.raises(DataError, match="by turns, an answer last"):
        example_of(Sample(torn, sample.images))
    with pytest.raises(DataError, match="can't be decoded"):
        example_of(Sample(sample.record, (lambda: b"no image",)))
