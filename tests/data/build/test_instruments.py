"""What a recipe may name as instruments, and what is told of one that can't be had, before anything is read."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
import yaml

from unimedvl.data.build.ready import check, pinned
from unimedvl.data.build.recipe import BuildRecipe, Captions, Pairs, load_recipe
from unimedvl.data.build.run import run_build
from unimedvl.data.error import DataError
from unimedvl.data.quality.revisions import revision_of
from unimedvl.recipes import RecipeError

SERVER = {"endpoint": "http://127.0.0.1:8000/v1", "model": "medgemma"}


def recipe(folder: Path, **alignment) -> BuildRecipe:
    inputs = [{"name": "openi", "miniature": True}]
    return BuildRecipe.model_validate({"folder": folder, "inputs": inputs, "processes": 1, "alignment": alignment})


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return closed.getsockname()[1]


@pytest.fixture
def weights(tmp_path) -> Path:
    """A folder with a model's files, for what looks no further."""
    folder = tmp_path / "e5"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_short_forms_stay_what_they_are(tmp_path):
    assert recipe(tmp_path, instruments="none").alignment.chosen is None
    embedded = recipe(tmp_path, instruments={"captioner": "embedded", "matcher": "embedded"})
    assert embedded.alignment.instruments == recipe(tmp_path).alignment.instruments == "embedded"
    entry = {"name": "openi", "miniature": True, "captions": {"writer": "embedded"}, "pairs": {}}
    (entry,) = BuildRecipe.model_validate({"folder": tmp_path, "inputs": [entry]}).inputs
    assert entry.captions is True and entry.pairs is True


def test_each_instrument_is_chosen_by_itself(tmp_path):
    chosen = recipe(tmp_path, instruments={"captioner": SERVER, "encoder": {"transformers": "a/b"}}).alignment.chosen
    assert chosen.captioner.model == "medgemma" and chosen.encoder.transformers == "a/b"
    assert chosen.matcher == "embedded"
    entry = {"name": "openi", "miniature": True, "captions": {"writer": SERVER}, "pairs": {"rewriter": SERVER}}
    (entry,) = BuildRecipe.model_validate({"folder": tmp_path, "inputs": [entry]}).inputs
    assert isinstance(entry.captions, Captions) and isinstance(entry.pairs, Pairs)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("alignment.instruments=other", r"'other': expected embedded, none or {captioner: ..., encoder: "),
        ("alignment.instruments={captioner: nano}", "captioner: expected embedded or {transformers: NAME_OR_"),
        ("alignment.instruments={encoder: {endpoint: 'http://h/v1', model: m}}", "endpoint can't be the encoder"),
        ("alignment.instruments={encoder: {transformers: a, revsion: b}}", "revsion: no such field; there are trans"),
        ("alignment.instruments={captioner: {endpoint: h, model: m}}", "url is 'h'; expected one like http://"),
        ("alignment.instruments={captioner: {endpoint: 'http://h/v1', transformers: a}}", "captioner: expected embedd"),
        ("alignment.instruments={writer: embedded}", "writer: no such field; there are captioner, encoder, matcher"),
        ("inputs.0.captions=perhaps", "inputs.0.captions: expected true, false or {writer: ...}"),
        ("inputs.0.pairs={rewriter: embedded}", "embedded can't be the rewriter; expected {endpoint: URL"),
    ],
)
def test_a_wrong_choice_is_told_in_one_line_with_what_would_be_right(tmp_path, override, told):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"folder": "x", "inputs": [{"name": "openi", "miniature": True}]}))
    with pytest.raises(RecipeError) as raised:
        load_recipe(file, [override])
    assert told in str(raised.value) and "\n" not in str(raised.value)


def test_a_key_in_place_of_its_variable_is_refused_and_not_repeated(tmp_path):
    file = tmp_path / "recipe.yaml"
    named = {"captioner": SERVER | {"key": "sk-s3cret"}}
    entry = {"name": "openi", "miniature": True}
    file.write_text(yaml.safe_dump({"folder": "x", "inputs": [entry], "alignment": {"instruments": named}}))
    with pytest.raises(RecipeError, match="key: the name of an environment variable is wanted") as raised:
        load_recipe(file)
    assert "s3cret" not in str(raised.value)


def unreachable(**more) -> dict:
    return {"endpoint": f"http://127.0.0.1:{closed_port()}/v1", "model": "m", "tries": 1, **more}


@pytest.mark.parametrize(
    ("role", "choice", "told"),
    [
        ("captioner", unreachable(), "no answer in 1 tries: .*refused"),
        ("captioner", unreachable(key="KEY_THAT_IS_NOT_SET"), "variable KEY_THAT_IS_NOT_SET, .*, is not set"),
        ("encoder", {"transformers": "./nowhere"}, "./nowhere: no such folder; expected a name on the Hugging Face"),
        ("encoder", {"transformers": __file__}, "no such folder"),
        ("matcher", {"transformers": str(Path(__file__).parent)}, "no config.json in this folder"),
    ],
)
def test_what_is_not_there_is_told_before_anything_is_read(tmp_path, monkeypatch, role, choice, told):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DataError, match=rf"^alignment.instruments.{role}: .*{told}"):
        run_build(recipe(tmp_path / "build", instruments={role: choice}))
    left = {path.name for path in (tmp_path / "build").iterdir()}
    assert left <= {"build.lock", "lanes.lock"}  # nor is a recipe noted that would have to be mended


@pytest.mark.parametrize(("setting", "role"), [("captions", "writer"), ("pairs", "rewriter")])
def test_what_writes_is_looked_at_as_well(tmp_path, monkeypatch, setting, role):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    entry = {"name": "openi", "miniature": True, setting: {role: unreachable()}}
    build = BuildRecipe.model_validate({"folder": tmp_path, "inputs": [entry], "alignment": {"instruments": "none"}})
    with pytest.raises(DataError, match=rf"^inputs.0.{setting}.{role}: .*refused"):
        run_build(build)


def test_without_the_package_the_build_says_how_to_get_it(tmp_path, weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    build = pinned(recipe(tmp_path, instruments={"encoder": {"transformers": str(weights)}}))
    with pytest.raises(DataError, match=r"instruments.encoder: .*; pip install 'unimedvl\[instruments\]'$"):
        check(build)


def test_a_device_that_is_not_here_is_told(tmp_path, weights):
    build = recipe(tmp_path, instruments={"encoder": {"transformers": str(weights), "device": "nonsense"}})
    with pytest.raises(DataError, match="encoder: device 'nonsense' is not to be had here"):
        check(build)


def test_a_server_that_refuses_the_key_is_told_without_it(tmp_path, monkeypatch, serving):
    monkeypatch.setenv("MODEL_KEY", "s3cret")
    with serving(lambda asked: 401) as server:
        named = {"captioner": {"endpoint": server.url, "model": "m", "key": "MODEL_KEY"}}
        with pytest.raises(DataError, match="captioner: .*status 401") as raised:
            check(recipe(tmp_path, instruments=named))
    assert "s3cret" not in str(raised.value) and len(server.asked) == 1


def test_a_folders_revision_is_the_hash_of_what_is_in_it(tmp_path, weights):
    hashed = []
    first = revision_of(str(weights), hashed=lambda more, of: hashed.append((more, of)))
    assert sum(more for more, _ in hashed) == hashed[0][1] == 9
    (weights / "README.md").write_text("decides nothing")
    assert revision_of(str(weights), first) == first
    (weights / "model.safetensors").write_bytes(b"Weights")
    with pytest.raises(DataError, match=f"revision is {first}, and the files in the folder are "):
        revision_of(str(weights), first)
    build = pinned(recipe(tmp_path, instruments={"encoder": {"transformers": str(weights)}}))
    assert build.alignment.instruments.encoder.revision == revision_of(str(weights)) != first


@pytest.fixture
def offline_hub(tmp_path, monkeypatch) -> Path:
    """The cache of the Hugging Face hub, with the one model lab/e5 in it, and no way to the hub itself."""
    from huggingface_hub import constants

    model = tmp_path / "hub" / "models--lab--e5"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("a" * 40)
    (model / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (model / "snapshots" / ("a" * 40) / "config.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return model


def test_a_branch_of_the_hub_becomes_the_commit_that_it_stands_at(tmp_path, offline_hub):
    build = pinned(recipe(tmp_path, instruments={"encoder": {"transformers": "lab/e5"}}))
    assert build.alignment.instruments.encoder.revision == "a" * 40
    with pytest.raises(DataError, match="encoder: lab/other@main: not in the cache, and the hub can't be reached"):
        pinned(recipe(tmp_path, instruments={"encoder": {"transformers": "lab/other"}}))
