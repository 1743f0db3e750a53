"""What training shares with evaluation sets is found, with exact counts."""

from __future__ import annotations

import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from unimedvl.data.duplicates.contamination import ContaminationSettings, check, parts_by_split
from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture

LONG = "A round shadow of 12 mm lies in the left upper lobe and has a sharp border that was not seen a year before."


@pytest.fixture
def checked(search):
    def run(samples, parts=None, chosen=None):
        s = search(samples)
        return check(s.prints, parts or parts_by_split(s.prints), s.images, s.texts, chosen)

    return run


def poor_copy(modality: str, seed: int) -> bytes:
    """The picture as a publisher's page has it: smaller, and encoded anew."""
    out = io.BytesIO()
    Image.fromarray(picture(modality, seed, 256)).resize((200, 200)).save(out, "JPEG", quality=70)
    return out.getvalue()


def test_images_shared_between_a_sets_own_train_and_test_are_counted(sample, checked):
    # As in VQA-RAD: all test images but one are in train too, under other questions.
    images = [encoded(picture("cxr", n)) for n in range(25)]
    train = [sample(f"{n}-{q}", images[n], split="train") for n in range(24) for q in range(2)]
    test = [sample(f"test-{n}", images[n], split="test") for n in range(14, 25)]
    found = checked([*train, *test])
    assert [f.kind for f in found.findings] == ["image"] * 10
    assert {f.evaluation for f in found.findings} == {"demo test"}
    assert found.findings[0].train == (28, 29) and found.findings[0].records == (48,)
    assert found.report.tables["Evaluation sets"] == {
        "demo test": {
            "shared: image": 10, "shared: near image": 0, "shared: text": 0, "shared: near text": 0,
            "its records": 11, "of them shared": 10, "training records that share": 20,
        }
    }  # fmt: skip
    assert (found.report.read, found.report.kept, found.report.dropped) == (
        48,
        28,
        {"contaminated: image": 20},
    )
    assert found.leaking.sum() == 20 and not found.leaking[48:].any()


def test_the_miniature_of_vqa_rad_shares_one_image(miniature, read, checked):
    found = checked(read("vqa-rad", miniature("vqa-rad")).samples)
    (one,) = found.findings
    assert (one.kind, one.evaluation, one.train, one.records) == ("image", "vqa-rad test", (0,), (1,))


def test_the_same_image_under_two_languages_is_found(sample, checked):
    # As in SLAKE: splits are by image within a language, and not over both.
    images = [encoded(picture("mri", n)) for n in range(12)]
    english = [sample(f"en{n}", images[n], split="train" if n < 8 else "test", said="Yes") for n in range(12)]
    chinese = [sample(f"zh{n}", images[n], split="train" if n > 2 else "test", said="是") for n in range(12)]
    found = checked([*english, *chinese])
    counts = found.report.tables["Evaluation sets"]["demo test"]
    assert counts["shared: image"] == 7 and counts["its records"] == 7
    assert counts["of them shared"] == 7 and counts["training records that share"] == 7
    assert {f.train for f in found.findings} == {(n,) for n in range(3)} | {(12 + n,) for n in range(8, 12)}


def test_copies_over_sources_are_near_and_each_set_is_told_apart(sample, checked):
    samples = [sample(f"p{n}", encoded(picture("his", n, 256), "PNG"), dataset="papers") for n in range(6)]
    samples += [sample(f"a{n}", poor_copy("his", n), dataset="first", split="test") for n in (0, 1, 9)]
    samples += [sample("b1", encoded(picture("his", 1, 256), "PNG"), dataset="second", split="validation")]
    found = checked(samples)
    assert [(f.kind, f.evaluation, f.train, f.records) for f in found.findings] == [
        ("near image", "first test", (0,), (6,)),
        ("near image", "first test", (1,), (7,)),
        ("image", "second validation", (1,), (9,)),
    ]
    assert found.report.dropped == {"contaminated: image": 1, "contaminated: near image": 1}


def test_equal_pixels_are_a_finding_whoever_they_are_of_and_near_ones_only_of_one_patient(sample, checked):
    image = encoded(picture("his", 1, 256), "PNG")
    pair = [sample("0", image, patient="a"), sample("1", image, patient="b", split="test")]
    assert [f.kind for f in checked(pair).findings] == ["image"]
    near = [pair[0], sample("1", poor_copy("his", 1), patient="b", split="test")]
    assert not checked(near).findings


def test_shared_texts_are_found_and_short_ones_are_none(sample, checked):
    samples = [
        sample("0", asked="?", said=LONG),
        sample("1", asked="?", said=LONG.replace("round", "roundish")),
        sample("2", asked="Is there a nodule?"),
        sample("3", asked="?", said=LONG.upper(), split="test"),
        sample("4", asked="Is there a nodule?", split="test"),
    ]
    found = checked(samples)
    assert [(f.kind, f.train, f.records) for f in found.findings] == [("text", (0, 1), (3,))]
    near = checked(samples[1:])
    assert [(f.kind, f.train, f.records) for f in near.findings] == [("near text", (0,), (2,))]
    assert near.report.examples[0].reason == "the same text as demo 3, of demo test"
    assert not checked(samples, chosen=ContaminationSettings(texts=False)).findings
    assert len(checked(samples, chosen=ContaminationSettings(fewest_words=2)).findings) == 2


def test_parts_may_be_named_by_hand_and_must_be_as_many_as_records(sample, checked):
    image = encoded(picture("his", 1))
    samples = [sample("0", image), sample("1", image), sample("2", image)]
    found = checked(samples, parts=["", "mine", "yours"])
    assert [(f.evaluation, f.train, f.records) for f in found.findings] == [
        ("mine", (0,), (1,)),
        ("yours", (0,), (2,)),
    ]
    with pytest.raises(DataError, match="2 parts for 3 records"):
        checked(samples, parts=["", "mine"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["train", "validation", "test"])), max_size=14
    )
)
def test_counts_add_up_and_findings_are_what_is_shared(sample, checked, records):
    images = [encoded(picture("his", n, 64), "PNG") for n in range(4)]
    found = checked([sample(str(n), images[k], split=split) for n, (k, split) in enumerate(records)])
    trained = {k for k, split in records if split == "train"}
    for split in ("validation", "test"):
        shared = trained & {k for k, s in records if s == split}
        assert len([f for f in found.findings if f.evaluation == f"demo {split}"]) == len(shared)
    held = {k for k, split in records if split != "train"}
    leaking = [split == "train" and k in held for k, split in records]
    assert found.leaking.tolist() == leaking
    assert found.report.read == sum(s == "train" for _, s in records) == found.report.kept + sum(leaking)
