"""A record becomes the example that its task lays out, with its own words and images."""

from __future__ import annotations

import numpy as np
import pytest

from unimedvl.data.error import DataError
from unimedvl.data.examples import TASK_OF, example_of
from unimedvl.data.source import Sample
from unimedvl.phantoms import simulate
from unimedvl.phantoms.examples import to_pixels
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
            assert np.array_equal(example.images[0], to_pixels(study.images["frontal"]))
            assert example.turns[0][0] == "Write a report of this image."
            return
    raise AssertionError("the miniature has no report of a chest X-ray")


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
