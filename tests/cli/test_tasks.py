"""Every task from the shell: what comes on standard output, on standard error, and into files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from unimedvl import UniMedVL
from unimedvl.imaging import read_provenance

SHORT = ("--max-tokens", "4")
FAST = (*SHORT, "--steps", "3")

DRAWING = {
    "generate": ["a chest"],
    "edit": ["SCAN", "make it darker"],
    "stain": ["SCAN", "--her2", "2+"],
    "upscale": ["SCAN"],
    "translate": ["SCAN", "--to", "flair"],
    "counterfactual": ["SCAN", "resolution of the effusion"],
    "segment": ["SCAN", "vessels"],
    "reconstruct": ["SCAN"],
}


def filled(arguments, picture):
    return [str(picture) if a == "SCAN" else a for a in arguments]


@pytest.mark.parametrize("arguments", [["ask", "SCAN", "what is it?"], ["ask", "hello"], ["report", "SCAN", "SCAN"]])
def test_an_answer_is_the_only_thing_on_standard_output(run, picture, arguments):
    ended = run(*filled(arguments, picture), *SHORT)
    same = run(*filled(arguments, picture), *SHORT, "--json")
    assert (ended.status, same.status) == (0, 0)
    assert ended.out == same.json["text"] + "\n"
    assert ended.err.count("trained on nothing at all") == 1
    assert "ot for clinical use" in ended.err


def test_json_holds_the_result_and_where_it_came_from(run, picture, model_folder):
    answer = run("ask", picture, "what is it?", "--seed", "5", "--temperature", "1", *SHORT, "--json").json
    assert answer["provenance"]["seed"] == 5
    assert answer["provenance"]["settings"]["sampling"]["temperature"] == 1
    assert answer["provenance"]["model"]["weights_sha256"] == UniMedVL.load(model_folder).weights
    assert len(answer["logprobs"]) <= 4


def test_an_answer_alone_does_not_wait_for_the_weights_to_be_hashed(run, picture, monkeypatch):
    def hashed(*_):
        raise AssertionError("the weights were hashed")

    monkeypatch.setattr("unimedvl.checkpoint.hashing.Fingerprint.__call__", hashed)
    assert run("ask", picture, "what?", *SHORT).status == 0
    assert run("ask", picture, "what?", *SHORT, "--json").status == 1


def test_the_shell_gives_what_python_gives(run, picture, model_folder):
    ended = run("stain", picture, "--her2", "1+", "--seed", "3", *FAST, "--json")
    from unimedvl.inference.text import Sampling

    model = UniMedVL.load(model_folder)
    result = model.stain(picture, "1+", seed=3, steps=3, sampling=Sampling(seed=3, max_tokens=4))
    assert ended.json["sha256"] == result.to_dict()["sha256"]


@pytest.mark.parametrize("task", DRAWING)
def test_every_drawing_is_saved_under_its_name_and_told(run, picture, task, tmp_path):
    ended = run(task, *filled(DRAWING[task], picture), *FAST)
    assert ended.status == 0, ended.err
    lines = ended.out.splitlines()
    assert f"{task}.png" in lines
    made = tmp_path / "here" / f"{task}.png"
    assert read_provenance(made)["task"] == task
    names = {f"{task}.png"} | ({"segment-mask.png"} if task == "segment" else set())
    assert {f.name for f in made.parent.iterdir()} == names


def test_segment_writes_a_mask_of_black_and_white(run, picture):
    told = run("segment", picture, "vessels", *FAST, "-o", "v.png", "--json").json
    mask = np.asarray(Image.open(told["mask"]["file"]))
    assert told["mask"]["file"] == "v-mask.png"
    assert set(np.unique(mask)) <= {0, 255}
    assert (mask[..., 0] == 255).sum() == told["mask"]["pixels"]


def test_size_steps_and_guidance_reach_the_drawing(run):
    told = run("generate", "a chest", "--size", "24x16", "--guidance", "1.5", *FAST, "--json").json
    drawing = told["provenance"]["settings"]["drawing"]
    assert (told["width"], told["height"]) == (24, 16)
    assert (drawing["steps"], drawing["guidance"]["text_scale"]) == (3, 1.5)


def test_quiet_leaves_standard_error_empty(run, picture):
    ended = run("ask", picture, "what?", *SHORT, "--quiet")
    assert (ended.status, ended.err) == (0, "")


def test_a_file_that_is_there_is_replaced_only_with_force(run, picture, tmp_path):
    made = tmp_path / "here" / "reconstruct.png"
    made.write_bytes(b"mine")
    refused = run("reconstruct", picture, *FAST)
    assert refused.status == 2
    assert "--force" in refused.err
    assert made.read_bytes() == b"mine"
    assert run("reconstruct", picture, *FAST, "--force").status == 0
    assert read_provenance(made)["task"] == "reconstruct"
