"""MediCaT: the archive as it comes and unpacked, captions from either parser, and what is broken."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.medicat import TABLE
from unimedvl.data.miniatures.paint import encoded, picture, tarred

_PACKED = "medicat_release.tar.gz"


def _unpacked(root):
    with tarfile.open(root / _PACKED) as archive:
        archive.extractall(root, filter="data")
    (root / _PACKED).unlink()
    return root


def _with_lines(root, *lines: str) -> None:
    """The archive with lines of captions added."""
    with tarfile.open(root / _PACKED) as archive:
        members = [(m.name, archive.extractfile(m).read()) for m in archive]
    members[-1] = (TABLE, members[-1][1] + "".join(line + "\n" for line in lines).encode())
    (root / _PACKED).write_bytes(gzip.compress(tarred(members)))


def test_figures_of_the_archive_follow_its_order_and_have_their_captions(miniature, read):
    got = read("medicat", miniature("medicat"))
    assert not got.faults
    assert [(r.id, r.study, r.licence) for r in got.records] == [
        ("0a" * 20 + "_3-Figure2-1", "0a" * 20, "cc-by-nc"),
        ("0a" * 20 + "_2-Figure1-1", "0a" * 20, "research only, non-commercial; each paper has its own"),
        ("0b" * 20 + "_5-Figure2-1", "0b" * 20, "cc-by"),
    ]
    # The second has none by the layout.
    assert [r.message[1].value for r in got.records] == [
        "Figure 2. Stained section.", "Simulated section.", "Figure 2. A nodule.",
    ]  # fmt: skip
    assert got.records[2].attributes["mentions"] == "As Figure 2 shows.\nSee Figure 2."
    assert [r.attributes.get("radiology", "no") for r in got.records] == ["no", "yes", "yes"]
    expected = [encoded(picture(kind, seed), "PNG") for kind, seed in (("his", 452), ("mri", 451), ("cxr", 450))]
    assert [s.images[0]() for s in got.samples] == expected
    # Going back works too, if slowly.
    assert [s.images[0]() for s in reversed(got.samples)] == expected[::-1]


def test_the_unpacked_release_gives_the_same_records(miniature, read):
    root = miniature("medicat")
    packed = {s.record.id: (s.record, s.images[0]()) for s in read("medicat", root).samples}
    got = read("medicat", _unpacked(root))
    assert {s.record.id: (s.record, s.images[0]()) for s in got.samples} == packed


def test_lines_that_are_no_use_are_faults_in_both_forms(miniature, read):
    root = miniature("medicat")
    row = {"pdf_hash": "0c" * 20, "fig_uri": "1-Figure1-1.png", "s2_caption": "", "s2orc_caption": None}
    good = row | {"s2_caption": "Said."}
    rows = [row, good | {"fig_uri": None}, good | {"fig_uri": "../x.png"}, good | {"s2orc_references": "text"},
            good | {"oa_info": []}, good | {"oa_info": 5}]  # fmt: skip
    _with_lines(root, *map(json.dumps, rows), "{")
    expected = [
        ("line 4", "s2_caption, s2orc_caption: both empty"),
        ("line 5", "fig_uri: empty"),
        ("line 6", "fig_uri: expected a file's name, found '../x.png'"),
        ("line 7", "s2orc_references: expected a list, found str"),
        ("line 9", "oa_info: expected an object, found int"),
        ("line 10", "not JSON: Expecting property name enclosed in double quotes"),
    ]
    for form in (root, _unpacked):
        got = read("medicat", form if form is root else _unpacked(root))
        assert len(got.records) == 4
        assert [f.where.rpartition(": ")[2] for f in got.faults] == [line for line, _ in expected]
        assert all(f.reason.startswith(reason) for f, (_, reason) in zip(got.faults, expected, strict=True))


def test_a_figure_that_is_not_there_is_an_error_when_it_is_loaded(miniature, read):
    root = miniature("medicat")
    _with_lines(root, json.dumps({"pdf_hash": "0c" * 20, "fig_uri": "1-Figure1-1.png", "s2_caption": "Said."}))
    first = read("medicat", root).samples[0]
    assert first.record.study == "0c" * 20
    with pytest.raises(DataError, match="medicat_release.tar.gz: no figures/0c0c.*_1-Figure1-1.png in it"):
        first.images[0]()
    last = read("medicat", _unpacked(root)).samples[3]
    with pytest.raises(DataError, match="release/figures/0c0c.*_1-Figure1-1.png: No such file"):
        last.images[0]()


def test_an_archive_cut_short_or_without_captions_is_an_error(miniature, read):
    root = miniature("medicat")
    whole = (root / _PACKED).read_bytes()
    (root / _PACKED).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="medicat_release.tar.gz: no whole tar.gz archive"):
        read("medicat", root)
    out = io.BytesIO(gzip.compress(tarred([("release/figures/x.png", b"x")])))
    (root / _PACKED).write_bytes(out.getvalue())
    with pytest.raises(DataError, match="medicat_release.tar.gz: expected release/s2_full.*jsonl in it, found none"):
        read("medicat", root)
