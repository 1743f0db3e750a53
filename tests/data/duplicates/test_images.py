"""The same image is found again, and those of different patients stay apart."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from unimedvl.data.duplicates.groups import Apart, connected
from unimedvl.data.duplicates.images import ImageSettings, group_images
from unimedvl.data.duplicates.likeness import LikenessSettings, compare, thumbnail
from unimedvl.data.duplicates.prints import loaders, take_prints
from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture
from unimedvl.data.source import Sample
from unimedvl.phantoms import SIMULATORS


def jpeg(image: Image.Image, quality: int = 75) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def inner(image: Image.Image, part: float) -> Image.Image:
    """The image without a margin of `part` of each side."""
    width, height = image.size
    left, top = round(width * part), round(height * part)
    return image.crop((left, top, width - left, height - top))


CHANGES = {
    "encoded as JPEG": lambda i: jpeg(i),
    "encoded as poor JPEG": lambda i: jpeg(i, 30),
    "half its size": lambda i: jpeg(i.resize((i.width // 2, i.height // 2)), 90),
    "twice its size": lambda i: jpeg(i.resize((i.width * 2, i.height * 2)), 90),
    "cropped by 1% a side": lambda i: jpeg(inner(i, 0.01), 90),
    "cropped by 2% a side and brighter": lambda i: jpeg(
        ImageEnhance.Brightness(inner(i, 0.02)).enhance(1.1), 90
    ),
    "with less contrast": lambda i: jpeg(ImageEnhance.Contrast(i).enhance(0.8), 90),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("modality", ["cxr", "mri", "his", "cfp"])
def test_a_changed_copy_is_the_same_picture(modality, change):
    for seed in range(5):
        image = Image.fromarray(picture(modality, seed, 256))
        copy = Image.open(io.BytesIO(CHANGES[change](image)))
        one, other = thumbnail(image), thumbnail(copy)
        assert compare(one, other, LikenessSettings()).same
        assert compare(other, one, LikenessSettings()).same


@pytest.mark.parametrize("modality", ["cxr", "mri", "his", "cfp"])
def test_the_same_anatomy_with_and_without_its_finding_is_not_one_picture(modality):
    simulator, compared = SIMULATORS[modality], 0
    for seed in range(30):
        case = simulator.sample(seed)
        if len(case.findings) == 1:
            without = type(case)(**{**vars(case), "findings": ()})
            one, other = (simulator.render(c, 128).images[simulator.VIEWS[0]] for c in (case, without))
            likeness = compare(
                thumbnail(Image.fromarray(one)), thumbnail(Image.fromarray(other)), LikenessSettings()
            )
            assert not likeness.same
            compared += 1
    assert compared >= 10


def test_flat_images_have_nothing_to_be_told_by():
    grey = np.full((64, 64), 90, dtype=np.uint8)
    assert not compare(grey, grey + 1, LikenessSettings()).same
    assert not compare(grey, thumbnail(Image.fromarray(picture("cxr", 1))), LikenessSettings()).same


def test_copies_are_found_among_others(sample, search):
    samples = [
        sample(f"{m}{n}", encoded(picture(m, n, 256), "PNG"))
        for m in ("cxr", "his", "mri")
        for n in range(12)
    ]
    copies = [
        sample(f"copy {name}", change(Image.fromarray(picture("cxr", n, 256))))
        for n, (name, change) in enumerate(CHANGES.items())
    ]
    found = search([*samples, *copies]).images
    assert list(found.group[36:]) == list(range(len(CHANGES)))
    assert list(found.group[:36]) == list(range(36))
    assert len(found.links) == len(CHANGES) and list(found.same) == list(range(len(found.same)))
    assert {link.one for link in found.links} == set(range(len(CHANGES)))
    assert all(link.correlation >= 0.99 for link in found.links)


@pytest.mark.timeout(300)  # some 1,500 pairs are compared, also where the processor is busy with other things
def test_x_rays_of_200_patients_that_nobody_named_stay_200(sample, search):
    found = search(sample(str(n), encoded(picture("cxr", n, 64))) for n in range(200)).images
    assert len(set(found.group)) == 200 and not found.links
    # They are alike: hashes alone would have taken many for one.
    assert found.compared > 500


def test_pairs_beyond_the_looks_of_an_image_are_counted(sample, search):
    samples = [sample(str(n), encoded(picture("cxr", n, 64))) for n in range(60)]
    every, few = (search(samples, settings=ImageSettings(looks=n)).images for n in (1000, 2))
    assert every.unlooked == 0 and few.compared <= 60
    assert few.compared + few.unlooked == every.compared


def test_images_of_two_patients_are_never_one_even_with_equal_pixels(sample, search):
    image = encoded(picture("cxr", 1), "PNG")
    again = jpeg(Image.fromarray(picture("cxr", 1)))
    found = search(
        [
            sample("0", image, patient="a"),
            sample("1", image, patient="b"),
            sample("2", again, patient="b"),
            sample("3", again, patient="a"),
            sample("4", image, patient="a"),
        ]
    ).images
    assert list(found.group) == [0, 1, 1, 0, 0]
    assert list(found.same) == [0, 0, 2, 2, 0]
    assert found.apart > 0


def test_patients_of_two_sources_can_not_be_compared_by_name_but_of_one_cohort_they_can(sample, search):
    image = encoded(picture("cxr", 1), "PNG")
    pair = [sample("0", image, dataset="one", patient="a"), sample("1", image, dataset="two", patient="b")]
    assert list(search(pair).images.group) == [0, 0]
    assert list(search(pair, cohorts={"two": "one"}).images.group) == [0, 1]


def test_the_order_of_records_changes_nothing(sample, search):
    samples = [
        sample(f"{n} {k}", change(Image.fromarray(picture("cxr", n))), patient="ab "[k % 3].strip())
        for n in range(4)
        for k, change in enumerate(CHANGES.values())
    ]
    order = np.random.default_rng(0).permutation(len(samples))
    straight, mixed = search(samples).images.group, search(samples[n] for n in order).images.group
    together = straight[:, None] == straight[None, :]
    assert (together[np.ix_(order, order)] == (mixed[:, None] == mixed[None, :])).all()


def test_an_image_that_is_gone_when_it_is_looked_at_is_a_fault_and_joins_nothing(sample):
    one = sample("0", encoded(picture("cxr", 1), "PNG"))
    samples = [one, sample("1", jpeg(Image.fromarray(picture("cxr", 1))))]
    prints, _ = take_prints(samples)

    def load(number: int) -> np.ndarray:
        if number == 1:
            raise DataError("1.png: No such file or directory")
        return loaders(samples.__getitem__, prints)[0](number)

    found = group_images(prints, load)
    assert list(found.group) == [0, 1] and [f.where for f in found.faults] == ["demo 1: image 0"]


def test_what_can_not_be_hashed_is_a_fault(sample):
    prints, faults = take_prints([sample("0", b"no image"), sample("1", encoded(picture("cxr", 1)))])
    assert len(prints) == 1 and prints.name(0) == "demo 1"
    assert faults[0].where == "demo 0" and "0-0.png: no image" in faults[0].reason


def test_no_images_at_all_make_no_groups(sample, search):
    assert len(search([sample("0"), sample("1")]).images.group) == 0
    assert len(search([]).images.group) == 0


def test_images_are_known_by_record_and_place(sample):
    image = encoded(picture("cxr", 1))
    prints, _ = take_prints([sample("0", image, image), sample("1"), sample("2", image, image, outputs=1)])
    assert [prints.place(n) for n in range(4)] == [(0, 0), (0, 1), (2, 0), (2, 1)]
    assert list(prints.owner) == [0, 0, 2, 2] and list(prints.inputs) == [2, 0, 1]


def test_a_smaller_distance_is_a_narrower_search(sample, search):
    image = Image.fromarray(picture("his", 3, 256))
    pair = [
        sample("0", encoded(np.asarray(image), "PNG")),
        sample("1", CHANGES["cropped by 1% a side"](image)),
    ]
    assert search(pair).images.links
    assert not search(pair, settings=ImageSettings(distance=0)).images.links


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_groups_apart_never_have_two_persons_of_a_cohort(data):
    count = data.draw(st.integers(1, 25))
    column = st.lists(st.integers(0, 3), min_size=count, max_size=count)
    persons, cohorts = (np.array(data.draw(column)) for _ in range(2))
    groups = Apart(cohorts, persons)
    numbers = st.integers(0, count - 1)
    for one, other in data.draw(st.lists(st.tuples(numbers, numbers), max_size=60)):
        joined = groups.join(one, other)
        assert joined == (groups.first(one) == groups.first(other))
    first = groups.all()
    for group in set(first.tolist()):
        members = np.flatnonzero(first == group)
        assert group == members.min()
        for cohort in set(cohorts[members].tolist()):
            known = {int(p) for p in persons[members[cohorts[members] == cohort]] if p}
            assert len(known) <= 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=20))
def test_connected_things_share_a_label_over_any_steps(links):
    first = connected(10, np.array(links, dtype=np.int64).reshape(-1, 2))
    for one, label in links:
        assert all(first[one] == first[other] for other, same in links if same == label)
    alone = set(range(10)) - {one for one, _ in links}
    assert all(first[n] == n for n in alone)


def test_a_sample_with_too_few_images_is_a_fault(sample):
    whole = sample("0", encoded(picture("cxr", 1)))
    prints, faults = take_prints([Sample(whole.record, ())])
    assert len(prints) == 0 and "0 images for 1 pictures" in faults[0].reason
