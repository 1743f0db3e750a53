"""A form for every task, and what a filled one asks."""

from __future__ import annotations

import numpy as np
import pytest

from unimedvl.imaging import read_image
from unimedvl.serving.page.task_forms import TITLES, fields, in_words, request_of, takes_images
from unimedvl.tasks import TASKS

FILLED = {
    "ask": {"question": "Is there an effusion?"}, "generate": {"caption": "Chest X-ray with an effusion"},
    "edit": {"instruction": "Remove it."}, "translate": {"to": "FLAIR"}, "counterfactual": {"change": "no effusion"},
    "segment": {"target": "heart"},
}  # fmt: skip


@pytest.fixture(scope="module")
def image():
    return read_image(np.zeros((32, 32, 3), np.uint8))


def test_every_task_has_a_form_and_a_title():
    assert set(TASKS) <= set(TITLES)
    for task in TASKS.values():
        assert {f.name for f in fields(task) if f.required} == set(FILLED.get(task.name, {}))


@pytest.mark.parametrize("task", TASKS)
def test_a_filled_form_asks_for_its_task(task, image):
    own = {f.name: f.value for f in fields(TASKS[task])} | FILLED.get(task, {})
    request = request_of(TASKS[task], (image,), own, seed=7)
    assert request.task == task and request.seed == 7
    assert len(request.images) == takes_images(TASKS[task])
    for word in FILLED.get(task, {}).values():
        assert word in in_words(request)


@pytest.mark.parametrize("task", FILLED)
def test_an_empty_field_is_told_by_its_label(task, image):
    (needed,) = [f for f in fields(TASKS[task]) if f.required]
    with pytest.raises(ValueError, match=needed.label):
        request_of(TASKS[task], (image,), {needed.name: "  "})


def test_an_image_that_is_missing_is_told():
    with pytest.raises(ValueError, match="needs an image"):
        request_of(TASKS["report"], (), {})
    assert request_of(TASKS["ask"], (), FILLED["ask"]).images == ()


def test_choices_are_those_of_the_task():
    (her2,) = fields(TASKS["stain"])
    assert [value for _, value in her2.choices] == ["0", "1+", "2+", "3+"] and her2.value == "3+"
    modality = next(f for f in fields(TASKS["generate"]) if f.name == "modality")
    assert ("chest X-ray", "cxr") in modality.choices and modality.value == ""
