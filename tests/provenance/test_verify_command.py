"""`unimedvl verify`: one closing line a file, and the exit status."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from unimedvl.cli.main import main
from unimedvl.provenance import find_credentials


@pytest.fixture
def plain(tmp_path, picture_of):
    file = tmp_path / "plain.png"
    Image.fromarray(picture_of("mri", 128)).save(file)
    return file


def test_a_made_file_ends_with_0_and_says_so(made, capsys):
    assert main(["verify", str(made / "made.png")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out[1:]] == ["metadata", "manifest", "watermark", "so"]
    assert "task generate, seed 7, model tiny, weights abababababababab" in out[1]
    assert "valid" in out[2] and "c2pa.created (trainedAlgorithmicMedia)" in out[2]
    assert "fits the provenance" in out[3] and "made by UniMedVL" in out[4]


def test_one_without_signs_ends_with_1_and_says_that_this_proves_nothing(made, plain, capsys):
    assert main(["verify", str(made / "made.webp"), str(plain)]) == 1
    assert "which proves nothing" in capsys.readouterr().out.splitlines()[-1]


def test_one_that_cannot_be_read_ends_with_2_and_the_others_are_told(made, plain, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("nothing")
    assert main(["verify", str(tmp_path / "notes.txt"), str(tmp_path / "none.png"), str(plain)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("error:") == 2 and "no such file" in captured.err and "plain.png: png" in captured.out


def test_json_holds_every_file(made, plain, tmp_path, capsys):
    assert main(["verify", str(made / "made.png"), str(plain), str(tmp_path / "none.png"), "--json"]) == 2
    one, other, none = json.loads(capsys.readouterr().out)
    assert (one["verdict"], other["verdict"]) == ("made", "nothing") and "no such file" in none["error"]
    assert one["provenance"]["seed"] == 7 and one["manifest"]["state"] == "valid" and one["watermark"]["found"]


def test_trust_names_who_is_trusted(made, plain, tmp_path, capsys):
    (tmp_path / "trusted.pem").write_bytes(find_credentials().certificates)
    assert main(["verify", str(made / "made.png"), "--trust", str(tmp_path / "trusted.pem")]) == 0
    assert "a signer that is trusted here" in capsys.readouterr().out
    for file, why in ((plain, "no certificate"), (tmp_path / "none.pem", "cannot be read")):
        assert main(["verify", str(made / "made.png"), "--trust", str(file)]) == 2
        assert why in capsys.readouterr().err


def test_control_characters_in_a_file_do_not_reach_the_terminal(tmp_path, capsys):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Software", "UniMedVL \x1b[31m\n  so  made by an angel")
    info.add_text("Comment", "x")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "odd.png", pnginfo=info)
    main(["verify", str(tmp_path / "odd.png")])
    out = capsys.readouterr().out
    assert "\x1b" not in out and len(out.splitlines()) == 5


def test_without_c2pa_the_manifest_is_said_to_be_unchecked(made, capsys, monkeypatch):
    monkeypatch.setattr("unimedvl.provenance.manifest.find_spec", lambda name: None)
    assert main(["verify", str(made / "made.png")]) == 0
    assert "unimedvl[serve]" in capsys.readouterr().out
