"""MedMNIST+: classes in words, several findings, and images one at a time out of the archive."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.medmnist import image
from unimedvl.data.sources.medmnist import SETS, Stack


def _opened(load) -> np.ndarray:
    with Image.open(io.BytesIO(load())) as picture:
        return np.asarray(picture)


def test_classes_are_in_words_and_breast_0_is_malignant(miniature, read):
    got = read("medmnist", miniature("medmnist"))
    assert not got.faults
    said = {r.id: r.message[1].value for r in got.records}
    assert said == {
        "breastmnist_128-train-0": "Malignant.",
        "breastmnist_128-train-1": "Normal or benign.",
        "breastmnist_128-val-0": "Normal or benign.",
        "breastmnist_128-test-0": "Malignant.",
        "chestmnist_128-train-0": "Cardiomegaly, hernia.",
        "chestmnist_128-train-1": "None of them.",
        "chestmnist_128-val-0": "Atelectasis, effusion, pleural thickening.",
        "chestmnist_128-test-0": "Pneumonia.",
        "pathmnist_128-train-0": "Colorectal adenocarcinoma epithelium.",
        "pathmnist_128-train-1": "Adipose.",
        "pathmnist_128-train-2": "Lymphocytes.",
        "pathmnist_128-val-0": "Normal colon mucosa.",
        "pathmnist_128-test-0": "Cancer-associated stroma.",
        "retinamnist-train-0": "Grade 4.",
        "retinamnist-val-0": "Grade 0.",
        "retinamnist-test-0": "Grade 2.",
    }
    assert [r.split for r in got.records[:4]] == ["train", "train", "validation", "test"]
    assert {r.attributes["set"]: r.modality for r in got.records} == {
        "breastmnist": "us", "chestmnist": "cxr", "pathmnist": "his", "retinamnist": "cfp",
    }  # fmt: skip
    assert [r.attributes["label"] for r in got.records if r.id.startswith("breast")] == ["0", "1", "1", "0"]


def test_each_set_has_as_many_classes_as_published():
    counts = {"path": 9, "chest": 14, "derma": 7, "oct": 4, "pneumonia": 2, "retina": 5, "breast": 2, "blood": 8,
              "tissue": 8, "organa": 11, "organc": 11, "organs": 11}  # fmt: skip
    assert {name: len(kind.classes) for name, kind in SETS.items()} == {f"{n}mnist": c for n, c in counts.items()}


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_images_are_the_arrays_own_in_any_order(tmp_path, write):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 28, 28, 3), np.uint8)
    write(tmp_path / "pathmnist.npz", train_images=pixels)
    stack = Stack(tmp_path / "pathmnist.npz", "train_images")
    for index in (0, 1, 8, 3, 3, 0):
        assert np.array_equal(_opened(lambda i=index: stack.png(i)), pixels[index])


def test_colour_and_grey_come_back_as_they_are(miniature, read):
    samples = {s.record.id: s for s in read("medmnist", miniature("medmnist")).samples}
    assert np.array_equal(_opened(samples["pathmnist_128-train-1"].images[0]), image("his", 1, True, 128))
    assert np.array_equal(_opened(samples["breastmnist_128-test-0"].images[0]), image("mri", 20, False, 128))
    assert _opened(samples["retinamnist-train-0"].images[0]).shape == (28, 28, 3)


def test_volumes_unknown_sets_other_labels_and_broken_archives_are_faults(miniature, read):
    root = miniature("medmnist")
    for name in ("chestmnist_128", "retinamnist"):
        (root / f"{name}.npz").unlink()
    one = dict.fromkeys(("train_images", "val_images", "test_images"), np.zeros((2, 28, 28), np.uint8))
    for split in ("train", "val", "test"):
        one[f"{split}_labels"] = np.array([[1], [2]], np.uint8)
    np.savez(root / "organmnist3d.npz", **one)
    np.savez(root / "fashionmnist.npz", **one)
    np.savez(root / "pneumoniamnist.npz", **one | {"val_labels": np.zeros((3, 1), np.uint8)})
    np.savez(root / "octmnist.npz", **one | {"train_images": np.zeros((2, 28, 28), np.float32)})
    (root / "pathmnist_128.npz").write_bytes((root / "pathmnist_128.npz").read_bytes()[:500])
    got = read("medmnist", root)
    told = [(f.where.removeprefix(f"{root}/"), f.reason) for f in got.faults]
    assert told[0][0] == "fashionmnist.npz" and told[0][1].startswith("no set of MedMNIST; expected one of pathmnist")
    assert told[1] == (
        "octmnist.npz",
        "train_images: expected uint8 of N x H x W or N x H x W x 3, found float32 (2, 28, 28)",
    )
    assert told[2][0] == "organmnist3d.npz" and told[2][1].startswith("a set of volumes, which is not read")
    assert [t[0] for t in told[3:6]] == ["pathmnist_128.npz"] * 3 and "can't be read" in told[3][1]
    assert told[6:] == [
        ("pneumoniamnist.npz: train 1", "label: expected one of 0 to 1, found [2]"),
        ("pneumoniamnist.npz", "val_labels: expected 2 rows of whole numbers, found uint8 (3, 1)"),
        ("pneumoniamnist.npz: test 1", "label: expected one of 0 to 1, found [2]"),
    ]


def test_an_archive_that_is_gone_is_an_error_when_an_image_is_loaded(miniature, read):
    root = miniature("medmnist")
    got = read("medmnist", root)
    (root / "breastmnist_128.npz").unlink()
    with pytest.raises(DataError, match="breastmnist_128.npz: train_images 0: No such file"):
        got.samples[0].images[0]()
