"""Where checkpoints come from: folders, the hub, and its cache without a network."""

from __future__ import annotations

import shutil
import socket
import time
from types import SimpleNamespace

import pytest

from unimedvl.checkpoint import CheckpointError, fingerprint, load_model, open_checkpoint


def test_no_such_folder_and_a_file_for_a_folder_are_said(folder):
    with pytest.raises(CheckpointError, match="no such folder"):
        open_checkpoint("/nowhere/at/all")
    with pytest.raises(CheckpointError, match="expected a checkpoint's folder, found a file"):
        open_checkpoint(folder / "ema.safetensors")


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def refused_hub_id(match: str, **options) -> None:
    with pytest.raises(CheckpointError, match=match) as error:
        open_checkpoint("some-owner/some-model", **options)
    assert "\n" not in str(error.value)


def test_an_unreachable_hub_is_told_at_once_and_in_one_line(no_cache, monkeypatch, caplog):
    with socket.socket() as listener:  # a port that nobody listens on
        listener.bind(("127.0.0.1", 0))
        place = f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", place)
    begun = time.monotonic()
    refused_hub_id("some-model: no such folder, cannot be downloaded, and is not in the local cache .*name its folder")
    assert time.monotonic() - begun < 5 and not caplog.records


def test_offline_no_request_is_made(no_cache, monkeypatch):
    def request(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", request)
    refused_hub_id("not in the local cache of the hub, the only place looked at", download=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused_hub_id(r"cannot be downloaded, .*\(HF_HUB_OFFLINE is set\); unset it, or download it elsewhere")


@pytest.mark.parametrize("offline", [True, False])
def test_offline_a_cached_hub_id_is_found(folder, monkeypatch, tmp_path, offline):
    cache = tmp_path / "models--some-owner--some-model"
    shutil.copytree(folder, cache / "snapshots" / "0123")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    found = open_checkpoint("some-owner/some-model", download=offline)
    assert fingerprint(found) == fingerprint(folder)


def test_only_one_variant_of_the_weights_is_downloaded(model, folder, monkeypatch, same):
    asked = {}

    def download(hub_id, **options):
        asked.update(options, hub_id=hub_id)
        return str(folder)

    names = ["ae.safetensors", "model.safetensors", "ema.safetensors", "llm_config.json", "assets/a.png"]
    info = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda self, hub_id, revision, timeout: info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert same(load_model("some-owner/some-model", revision="v1"), model)
    assert asked["hub_id"] == "some-owner/some-model" and asked["revision"] == "v1"
    tensor_files = [p for p in asked["allow_patterns"] if "safetensors" in p]
    assert tensor_files == ["ema.safetensors", "ae.safetensors"] and "*.json" in asked["allow_patterns"]
