"""A folder: what is written, logged, passed over, left out and refused."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pydicom
import pytest

from unimedvl.cli.main import main
from unimedvl.data.error import DataError
from unimedvl.data.privacy import folder as folders
from unimedvl.data.privacy.audit import NAME
from unimedvl.data.privacy.file import Options
from unimedvl.data.privacy.folder import deidentify_folder


@pytest.fixture
def source(tmp_path: Path, made) -> Path:
    """Two images of a patient, a secondary capture with a name on it, and what can't be used."""
    place = tmp_path / "Mustermann Erika"
    (place / "deep").mkdir(parents=True)
    (place / "Mustermann_19570321.dcm").write_bytes(made.file_bytes(made.planted(3)))
    (place / "deep" / "PID-4711").write_bytes(made.file_bytes(made.planted(4)))
    image, _ = made.with_words(made.chest(), "MUSTERMANN ERIKA")
    capture = made.captured(image)
    capture.SOPInstanceUID = "1.2.3.4711.5"
    (place / "capture.dcm").write_bytes(made.file_bytes(capture))
    (place / "note Mustermann.txt").write_text("clinical note")
    (place / "cut Mustermann.dcm").write_bytes(made.file_bytes(made.planted(6))[:700])
    return place


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / NAME).read_text().splitlines()]


def everything(place: Path) -> dict[str, bytes]:
    return {str(p.relative_to(place)): p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()}


def test_no_original_value_is_in_any_file_name_image_or_log(source, tmp_path, made, key) -> None:
    done = deidentify_folder(source, tmp_path / "out", key)
    assert (done.written, len(done.quarantined)) == (3, 2)
    for name, data in everything(tmp_path / "out").items():
        assert made.secrets_in(data) == [] == made.secrets_in(name.encode())
        assert b"32 bytes long" not in data


def test_the_log_says_what_was_changed_with_hashes(source, tmp_path, key) -> None:
    out = tmp_path / "out"
    deidentify_folder(source, out, key)
    first, *files = lines(out)
    assert first["kind"] == "settings" and first["dates"] == "remove" and "2026c" in first["profile"]
    inputs = {hashlib.sha256(d).hexdigest(): n for n, d in everything(source).items()}
    assert sorted(inputs[f["input_sha256"]] for f in files) == sorted(inputs.values())
    for line in (f for f in files if f["status"] == "written"):
        new = out / line["output"]
        assert hashlib.sha256(new.read_bytes()).hexdigest() == line["output_sha256"]
        assert line["output"].endswith(f"{pydicom.dcmread(new).SOPInstanceUID}.dcm")
        changed = line["attributes"]
        # PatientAge goes, PatientName is emptied before its pseudonym; SOPInstanceUID; a name in a listed sequence.
        assert changed["removed"]["(0010,1010)"] == 1 and changed["emptied"]["(0010,0010)"] == 1
        assert changed["UID replaced"]["(0008,0018)"] == 1 and changed["identifying text replaced"]["(0018,1210)"] == 1
        assert changed["removed"]["(0011,1001)"] == 1
        assert bool(line["pixels"]["text_boxes"]) is (inputs[line["input_sha256"]] == "capture.dcm")
    reasons = {inputs[f["input_sha256"]]: f["reason"] for f in files if f["status"] == "quarantined"}
    assert reasons["note Mustermann.txt"] == "no DICOM file" and "cut Mustermann.dcm" in reasons


def test_the_same_key_gives_the_same_bytes_and_a_second_run_does_nothing(source, tmp_path, key, monkeypatch) -> None:
    deidentify_folder(source, tmp_path / "a", key)
    deidentify_folder(source, tmp_path / "b", key)
    before = everything(tmp_path / "a")
    assert before == everything(tmp_path / "b")

    written = []
    monkeypatch.setattr(folders, "_write", lambda file, data: written.append(file))
    again = deidentify_folder(source, tmp_path / "a", key)
    assert (again.written, again.done_before, len(again.quarantined), written) == (0, 3, 2, [])
    assert everything(tmp_path / "a") == before


def test_a_run_that_was_cut_off_goes_on(source, tmp_path, key) -> None:
    out = tmp_path / "out"

    class Stop(Exception):
        pass

    def stop(progress) -> None:
        if progress.number == 2:
            raise Stop

    with pytest.raises(Stop):
        deidentify_folder(source, out, key, progress=stop)
    with (out / NAME).open("a") as log:
        log.write('{"kind": "file", "sta')  # as a crash would leave it
    seen = []
    done = deidentify_folder(source, out, key, progress=seen.append)
    assert done.written + done.done_before == 3 and done.done_before >= 1
    assert [p.number for p in seen] == [1, 2, 3, 4, 5] and seen[0].total == 5
    assert len(lines(out)) == 6


def test_an_output_that_was_changed_or_lost_is_written_again(source, tmp_path, key) -> None:
    out = tmp_path / "out"
    deidentify_folder(source, out, key)
    before = everything(out)
    first, second, _ = sorted(out.rglob("*.dcm"))
    first.unlink()
    second.write_bytes(b"changed")
    done = deidentify_folder(source, out, key)
    assert (done.written, done.done_before) == (2, 1)
    assert {n: d for n, d in everything(out).items() if n != NAME} == {n: d for n, d in before.items() if n != NAME}


def test_nothing_half_written_is_left_when_the_disk_is_full(source, tmp_path, key, monkeypatch) -> None:
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="No space left on device"):
        deidentify_folder(source, tmp_path / "out", key)
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == [NAME]


def test_links_and_pipes_are_left_out_and_not_opened(source, tmp_path, made, key) -> None:
    outside = tmp_path / "outside.dcm"
    outside.write_bytes(made.file_bytes(made.planted(9)))
    (source / "link").symlink_to(outside)
    (source / "loop").symlink_to(source, target_is_directory=True)
    os.mkfifo(source / "pipe")
    done = deidentify_folder(source, tmp_path / "out", key)
    reasons = {q.file.name: q.reason for q in done.quarantined}
    assert done.written == 3 and reasons["link"] == reasons["loop"] == "a link; links are not followed"
    assert reasons["pipe"] == "no regular file"


def test_a_uid_that_is_a_path_can_not_leave_the_folder(tmp_path, made, key) -> None:
    (tmp_path / "in").mkdir()
    d = made.planted()
    d.SOPInstanceUID = "1.2.840.10008./../../../x"
    d.PatientID = "../../x"
    (tmp_path / "in" / "a").write_bytes(made.file_bytes(d))
    assert deidentify_folder(tmp_path / "in", tmp_path / "out", key).written == 1
    (new,) = (tmp_path / "out").glob("P-*/2.25.*.dcm")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"] and new.is_file()


def test_an_output_folder_that_is_a_link_to_elsewhere_is_refused(source, tmp_path, key) -> None:
    deidentify_folder(source, tmp_path / "out", key)
    (patient,) = (tmp_path / "out").glob("P-*")
    patient.rename(tmp_path / "elsewhere")
    patient.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / NAME).unlink()
    (tmp_path / "out" / NAME).write_text("")
    with pytest.raises(DataError, match="a link stands where the output goes"):
        deidentify_folder(source, tmp_path / "out", key)


def test_equal_files_are_written_once_and_unequal_ones_of_one_uid_are_left_out(source, tmp_path, made, key) -> None:
    (source / "again.dcm").write_bytes((source / "capture.dcm").read_bytes())
    other = made.planted(3)
    other.BodyPartExamined = "SKULL"
    (source / "other.dcm").write_bytes(made.file_bytes(other))
    done = deidentify_folder(source, tmp_path / "out", key)
    assert (done.written, done.duplicates) == (3, 1)
    assert "another file has the same SOPInstanceUID and other contents" in {q.reason for q in done.quarantined}


def test_what_is_left_out_is_copied_aside_when_asked(source, tmp_path, key) -> None:
    deidentify_folder(source, tmp_path / "out", key, quarantine=tmp_path / "aside")
    copies = {p.name: p.read_bytes() for p in (tmp_path / "aside").iterdir()}
    assert len(copies) == 2 and all(n == f"{hashlib.sha256(d).hexdigest()}.dcm" for n, d in copies.items())


def test_folders_that_lie_in_each_other_are_refused(source, tmp_path, key) -> None:
    (tmp_path / "alias").symlink_to(source, target_is_directory=True)
    for out in (source, source / "out", tmp_path, tmp_path / "alias", tmp_path / "alias" / "out"):
        with pytest.raises(DataError, match="lie in each other; give folders that are apart"):
            deidentify_folder(source, out, key)
    with pytest.raises(DataError, match="lie in each other"):
        deidentify_folder(source, tmp_path / "out", key, quarantine=tmp_path / "out" / "aside")
    assert len(everything(source)) == 5


def test_a_folder_of_other_settings_or_other_things_is_refused(source, tmp_path, key) -> None:
    deidentify_folder(source, tmp_path / "out", key)
    with pytest.raises(DataError, match="written with another dates; give an empty folder"):
        deidentify_folder(source, tmp_path / "out", key, Options("shift"))
    with pytest.raises(DataError, match="written with another key"):
        deidentify_folder(source, tmp_path / "out", type(key)(b"another project's key"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="holds other files"):
        deidentify_folder(source, tmp_path / "mine", key)
    with pytest.raises(DataError, match="expected DICOM files below it, found no file"):
        (tmp_path / "empty").mkdir()
        deidentify_folder(tmp_path / "empty", tmp_path / "out2", key)


def test_a_damaged_log_is_refused(source, tmp_path, key) -> None:
    deidentify_folder(source, tmp_path / "out", key)
    log = tmp_path / "out" / NAME
    whole = log.read_text()
    for damaged in ("no json\n", "[]\n", whole + "{}\n"):
        log.write_text(damaged)
        with pytest.raises(DataError, match="no audit log; give an empty folder"):
            deidentify_folder(source, tmp_path / "out", key)


def test_the_command_tells_counts_and_what_was_left_out(source, tmp_path, capsys, monkeypatch, made) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", "privacy-key", "key"]) == 0
    assert main(["data", "deidentify", str(source), "--out", "out", "--key-file", "key", "--json"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out.split("\n", 1)[1])
    assert (told["written"], len(told["quarantined"])) == (3, 2) and made.secrets_in(json.dumps(told).encode()) == []
    assert "left out: note Mustermann.txt: no DICOM file" in captured.err
    assert main(["data", "deidentify", str(source), "--out", "out", "--key-file", "key"]) == 0
    assert "0 written, 3 done before, 0 duplicates, 2 left out: out" in capsys.readouterr().out
    for arguments, error in (
        (("--out", "out"), "no key: give a file with --key-file"),
        (("--out", ".", "--key-file", "key"), "key: the key lies in the output folder"),
        (("--out", "out3", "--key-file", "none"), "none: no key could be read"),
    ):
        monkeypatch.delenv("UNIMEDVL_PRIVACY_KEY", raising=False)
        assert main(["data", "deidentify", str(source), *arguments]) == 2
        assert error in capsys.readouterr().err


def test_a_run_that_finds_no_room_leaves_whole_files_and_goes_on_later(source, tmp_path, key, room) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    deidentify_folder(source, whole, key)
    sizes = sorted(len(data) for name, data in everything(whole).items() if name != NAME)
    for size in (100, 1500, sizes[-1] - 1):  # within the log's first line, within a later one, within an image
        with room(size), pytest.raises(DataError, match=rf"^{out}[^\n]*: File too large$"):
            deidentify_folder(source, out, key)
        found = everything(out)
        assert all(data == everything(whole)[name] for name, data in found.items() if name != NAME)
        assert everything(whole)[NAME].startswith(found[NAME]) and not found[NAME].rpartition(b"\n")[2]
    assert deidentify_folder(source, out, key).done_before > 0
    assert everything(out) == everything(whole)
