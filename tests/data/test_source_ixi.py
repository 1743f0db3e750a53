"""IXI: slices out of the tar, each to be drawn sharper from its own averages."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.volumes import brain
from unimedvl.data.sources.ixi import degraded


def _opened(load) -> np.ndarray:
    with Image.open(io.BytesIO(load())) as picture:
        return np.asarray(picture)


def test_the_middle_slices_of_each_t2_volume_and_nothing_of_the_other_archives(miniature, read):
    got = read("ixi", miniature("ixi"))
    assert not got.faults
    assert [r.id for r in got.records] == [
        "IXI012-HH-1211-T2-001", "IXI012-HH-1211-T2-002", "IXI901-Guys-0701-T2-001", "IXI901-Guys-0701-T2-002",
    ]  # fmt: skip
    first = got.records[0]
    assert (first.patient, first.study, first.split) == ("IXI012", "IXI012-HH-1211", None)
    assert (first.attributes["site"], first.attributes["weighting"]) == ("HH", "T2")
    assert first.attributes["degradation"].startswith("mean over blocks of 4 x 4 pixels")
    assert "4x" in first.message[0].value and first.message[1].value == "Here is the image at 4x resolution."


def test_the_output_is_the_slice_and_the_input_its_averages_enlarged(miniature, read):
    low, high = map(_opened, read("ixi", miniature("ixi")).samples[2].images)
    voxels = brain(501)["t2"]
    bottom, top = np.percentile(voxels, (0.5, 99.5))
    expected = ((voxels[..., 1].T[::-1, ::-1] - bottom) / (top - bottom)).clip(0, 1) * 255
    assert np.abs(high - expected).max() <= 0.51
    assert low.shape == high.shape == (128, 128) and np.array_equal(low, degraded(high))
    # Nothing finer than a block is left: its averages are kept, its detail is not.
    blocks = [x.reshape(32, 4, 32, 4).mean((1, 3)) for x in (low.astype(float), high.astype(float))]
    assert np.corrcoef(blocks[0].ravel(), blocks[1].ravel())[0, 1] > 0.98
    assert np.abs(np.diff(low.astype(float))).mean() < 0.6 * np.abs(np.diff(high.astype(float))).mean()
    checks = np.indices((128, 128)).sum(0) % 2 * 200
    assert (degraded(checks.astype(np.uint8)) == 100).all()


def test_an_unpacked_archive_gives_the_same(miniature, read, tmp_path):
    packed = read("ixi", miniature("ixi"))
    with tarfile.open(tmp_path / "ixi/IXI-T2.tar") as archive:
        for place in ("a/IXI-T2", "b"):
            archive.extractall(tmp_path / place, filter="data")
    for place in ("a", "b"):
        unpacked = read("ixi", tmp_path / place)
        assert unpacked.records == packed.records
        assert [s.images[0]() for s in unpacked.samples] == [s.images[0]() for s in packed.samples]


def test_t1_is_read_where_there_is_no_t2_and_made_square(miniature, read):
    root = miniature("ixi")
    (root / "IXI-T2.tar").unlink()
    got = read("ixi", root)
    assert [r.id for r in got.records] == ["IXI901-Guys-0701-T1-001", "IXI901-Guys-0701-T1-002"]
    # 128 columns of 1.2 mm are 164 of 0.9375; the last rows and columns that fill no block are left out.
    assert _opened(got.samples[0].images[1]).shape == (128, 164)


def test_odd_names_and_damaged_volumes_are_faults(miniature, read, tmp_path):
    miniature("ixi")
    folder = tmp_path / "c/IXI-T2"
    with tarfile.open(tmp_path / "ixi/IXI-T2.tar") as archive:
        archive.extractall(folder, filter="data")
    whole = (folder / "IXI012-HH-1211-T2.nii.gz").read_bytes()
    (folder / "IXI12-HH-1211-T2.nii.gz").write_bytes(whole)
    (folder / "IXI012-HH-1211-T2.nii.gz").write_bytes(whole[:100])
    got = read("ixi", tmp_path / "c")
    assert {r.patient for r in got.records} == {"IXI901"}
    assert [f.where for f in got.faults] == [str(folder / n) for n in ("IXI012-HH-1211-T2.nii.gz",
                                                                       "IXI12-HH-1211-T2.nii.gz")]  # fmt: skip
    assert "damaged, truncated or no NIfTI" in got.faults[0].reason
    assert got.faults[1].reason == "expected a name like IXI901-Guys-1234-T2.nii.gz"
    (folder / "IXI901-Guys-0701-T2.nii.gz").unlink()
    with pytest.raises(DataError, match="No such file"):
        got.samples[0].images[0]()


def test_an_archive_that_is_cut_short_is_an_error(miniature, read):
    root = miniature("ixi")
    archive = root / "IXI-T2.tar"
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(DataError, match="IXI-T2.tar: no whole tar archive"):
        read("ixi", root)
