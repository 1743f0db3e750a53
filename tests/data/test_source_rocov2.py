"""ROCOv2: tables joined by id, images from folders and archives, and the Parquet form."""

from __future__ import annotations

from zipfile import ZipFile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture


def test_captions_concepts_and_articles_are_joined(miniature, read):
    got = read("rocov2", miniature("rocov2"))
    assert not got.faults
    assert [(r.id, r.split, r.modality, r.study) for r in got.records] == [
        ("ROCOv2_2023_train_000001", "train", "mri", "PMC9000001"),
        ("ROCOv2_2023_train_000002", "train", "cxr", "PMC9000001"),
        ("ROCOv2_2023_train_000003", "train", "mixed", "PMC9000002"),
        ("ROCOv2_2023_valid_000001", "validation", "mixed", "PMC9000003"),
        ("ROCOv2_2023_test_000001", "test", "ct", "PMC9000004"),
    ]
    first, _, third, zipped, _ = got.records
    assert [m.value for m in first.message] == ["<image>\nDescribe this image.", 'Axial MRI, T2: a "bright" lesion.']
    assert third.message[1].value == "Radiograph of a hand\nafter a fall."
    assert first.attributes == {
        "attribution": "CC BY [Nobody et al. (2020)]",
        "cuis": "C0024485; C0221198",
        "concepts": "Magnetic Resonance Imaging; Lesion, NOS",
    }
    assert "cuis" not in zipped.attributes


def test_an_archive_gives_the_images_that_the_folder_gives(miniature, read):
    root = miniature("rocov2")
    packed = read("rocov2", root).samples[3].images[0]()
    assert packed == encoded(picture("mri", 403))
    ZipFile(root / "valid_images.zip").extractall(root)
    (root / "valid_images.zip").unlink()
    assert read("rocov2", root).samples[3].images[0]() == packed


def test_rows_that_are_no_use_are_faults_that_name_them(miniature, read):
    root = miniature("rocov2")
    with (root / "test_captions.csv").open("a") as out:
        out.write("ROCOv2_2023_test_000002, \n,No id.\nROCOv2_2023_test_000003,a,b\n")
    with (root / "test_concepts.csv").open("a") as out:
        out.write(",C0000001\n")
    got = read("rocov2", root)
    assert len(got.records) == 5
    assert [(f.where, f.reason) for f in got.faults] == [
        (f"{root}/test_concepts.csv: row 3", "ID: empty"),
        (f"{root}/test_captions.csv: row 3", "Caption: empty"),
        (f"{root}/test_captions.csv: row 4", "ID: empty"),
        (f"{root}/test_captions.csv: row 5", "expected 2 cells, found 3"),
    ]


def test_a_missing_image_is_an_error_when_it_is_loaded(miniature, read):
    root = miniature("rocov2")
    samples = read("rocov2", root).samples
    (root / samples[0].record.input_img[0].path).unlink()
    with pytest.raises(DataError, match="train/ROCOv2_2023_train_000001.jpg: No such file"):
        samples[0].images[0]()
    with (root / "valid_captions.csv").open("a") as out:
        out.write("ROCOv2_2023_valid_000009,Not there.\n")
    with pytest.raises(DataError, match="valid_images.zip: no ROCOv2_2023_valid_000009.jpg in it"):
        read("rocov2", root).samples[4].images[0]()
    (root / "valid_images.zip").unlink()
    with pytest.raises(DataError, match="expected valid or valid_images.zip in it, found none"):
        read("rocov2", root)


def test_an_image_is_not_taken_where_two_have_its_name_or_it_is_broken(miniature, read):
    root = miniature("rocov2")
    file = root / "valid_images.zip"
    whole = file.read_bytes()
    with ZipFile(file, "a") as archive:
        archive.writestr("other/ROCOv2_2023_valid_000001.jpg", b"another image")
    with pytest.raises(DataError, match="valid_images.zip: two images called ROCOv2_2023_valid_000001.jpg"):
        read("rocov2", root).samples[3].images[0]()
    file.write_bytes(whole[:200] + bytes(20) + whole[220:])
    with pytest.raises(DataError, match="valid_000001.jpg is broken: Bad CRC-32"):
        read("rocov2", root).samples[3].images[0]()
    file.write_bytes(whole[:500])
    with pytest.raises(DataError, match="valid_images.zip: no zip archive"):
        read("rocov2", root)


def test_the_parquet_form_is_read_with_its_images(tmp_path, read):
    (tmp_path / "data").mkdir()
    for split in ("train", "validation"):
        rows = {
            "image": [{"bytes": encoded(picture("mri", 1)), "path": None}, {"bytes": None, "path": "x.jpg"}],
            "image_id": [f"{split}_1", f"{split}_2"],
            "caption": ["A section.", "No image."],
            "cui": [["C0024485", "C0221198"], []],
        }
        pq.write_table(pa.table(rows), tmp_path / f"data/{split}-00000-of-00001.parquet")
    got = read("rocov2", tmp_path)
    assert [(r.id, r.split, r.modality) for r in got.records] == [
        ("train_1", "train", "mri"), ("validation_1", "validation", "mri"),
    ]  # fmt: skip
    assert got.records[0].attributes == {"cuis": "C0024485; C0221198"}
    assert got.samples[1].images[0]() == encoded(picture("mri", 1))
    assert [f.reason for f in got.faults] == ["image: expected an image's bytes, found none"] * 2
    assert got.faults[0].where == f"{tmp_path}/data/train-00000-of-00001.parquet: row 1"
