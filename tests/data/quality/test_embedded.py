"""The stand-ins: deterministic, and better for what belongs together than for what doesn't."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture
from unimedvl.data.quality.alignment import AlignmentSettings, measure
from unimedvl.data.quality.embedded import (
    StandInCaptioner,
    StandInEncoder,
    embedded_instruments,
    facts_borne_out,
)
from unimedvl.data.record import Message, Record
from unimedvl.data.source import pictures


def record(text: str) -> Record:
    return Record(
        main_task_type="understanding", sub_task_type="report", modality="cxr", dataset="invented", id="1",
        input_img=pictures(["1.jpg"]), message=(Message(speaker="gpt", value=text),),
    )  # fmt: skip


@pytest.fixture(scope="module")
def instruments():
    return embedded_instruments()


def test_captions_are_the_same_each_time_and_name_the_kind_of_image(instruments):
    image = encoded(picture("mri", 3))
    said = instruments.captioner.captions(image, record("x"), 3)
    assert len(said) == 3 and all("MRI" in caption for caption in said)
    assert StandInCaptioner().captions(image, record("x"), 3) == said
    assert instruments.captioner.describe(image) == said[0]
    assert "stand-in" in instruments.captioner.name


def test_images_looked_at_together_are_captioned_as_each_alone():
    images = [encoded(picture(kind, 3)) for kind in ("mri", "cxr", "his", "cxr")]
    together = StandInCaptioner()
    together.look_at([*images, b"no image"], 3)
    alone = StandInCaptioner()
    for image in images:
        assert together.captions(image, record("x"), 3) == alone.captions(image, record("x"), 3)
    with pytest.raises(DataError):
        together.describe(b"no image")


def test_a_text_of_its_own_modality_scores_higher_than_another(instruments):
    image, settings = encoded(picture("cxr", 3)), AlignmentSettings(captions=2)
    right = measure(record("A chest X-ray. No abnormality is seen."), [image], instruments, settings)
    wrong = measure(record("A fundus photograph with many drusen."), [image], instruments, settings)
    assert right[0].score > wrong[0].score and right[1].score > wrong[1].score
    assert all("stand-in" in d.by for d in right)


def test_what_is_no_image_is_an_error(instruments):
    with pytest.raises(DataError):
        instruments.captioner.captions(b"no image", record("x"), 2)


def test_a_captioner_travels_to_another_process_without_its_model(instruments):
    instruments.captioner.describe(encoded(picture("mri", 3)))
    sent = pickle.dumps(instruments)
    assert len(sent) < 2000 and pickle.loads(sent).captioner.seed == 0


def test_the_encoder_gives_unit_vectors_that_words_in_common_bring_together():
    one, same, near, far, empty, blank = StandInEncoder().encode(
        ["Large left pleural effusion.", "large LEFT pleural effusion", "pleural effusions on the left",
         "drusen of the retina", "", "?!"]
    )  # fmt: skip
    assert np.allclose([np.linalg.norm(v) for v in (one, near, far, empty, blank)], 1)
    assert one @ same == pytest.approx(1)
    assert 1 > one @ near > 0.4 > 0.2 > one @ far >= 0


def test_the_encoder_hashes_alike_in_every_run():
    (vector,) = StandInEncoder(64).encode(["nodule"])
    assert int(vector.argmax()) == 6  # CRC-32 of the word, modulo 64


@pytest.mark.parametrize(
    ("text", "caption", "share"),
    [
        ("A left pleural effusion.", "There is a small left pleural effusion.", 1.0),
        ("A left pleural effusion.", "There is a right pleural effusion.", 0.0),
        ("No pneumothorax.", "A nodule is seen.", 1.0),
        ("No pneumothorax.", "A pneumothorax is seen.", 0.0),
        ("Normal study.", "No abnormality is seen.", 1.0),
        ("Normal study.", "There is a nodule.", 0.0),
        ("A chest radiograph with cardiomegaly.", "chest X-ray. There is cardiomegaly.", 1.0),
        ("A chest radiograph with cardiomegaly.", "brain MRI. There is a tumour.", 0.0),
        ("Brain MRI with a tumour.", "brain MRI. No abnormality is seen.", 0.5),
        ("OCT of the macula.", "CT. Normal.", 0.0),
        ("Is there a nodule? Yes", "There is a nodule.", None),
        ("The catheter ends in the stomach.", "There is a nodule.", None),
    ],
)
def test_facts_of_the_text_are_looked_up_in_the_caption(text, caption, share):
    assert facts_borne_out(text, caption) == share
