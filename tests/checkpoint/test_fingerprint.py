"""The hash of the weights: what sha256sum gives, read once, and lost where a file was changed."""

from __future__ import annotations

import copy
import hashlib
import os

import pytest
import torch

from unimedvl.checkpoint import CheckpointError, Fingerprint, fingerprint, open_checkpoint, save_model


def test_the_fingerprint_is_what_sha256sum_gives_and_follows_the_weights(folder, edit_tensors):
    lines = "".join(
        f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n"
        for n in ("ae.safetensors", "ema.safetensors")
    )
    before = fingerprint(folder)
    assert before == hashlib.sha256(lines.encode()).hexdigest()
    edit_tensors(folder / "ae.safetensors", lambda t: t | {"encoder.conv_in.bias": torch.ones(8)})
    assert fingerprint(folder) != before


def test_hashing_tells_how_far_it_is_and_reads_no_file_twice(folder):
    told: list[tuple[int, int]] = []
    first = fingerprint(folder, progress=lambda done, total: told.append((done, total)))
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert told[-1] == (size, size) and [d for d, _ in told] == sorted(d for d, _ in told)
    told.clear()
    assert fingerprint(folder, progress=lambda *step: told.append(step)) == first and not told


def test_the_hash_is_of_what_was_there_when_the_checkpoint_was_opened(model, folder):
    before, opened = fingerprint(folder), Fingerprint(open_checkpoint(folder))
    save_model(model, folder, dtype=torch.float16)
    assert opened() == before != fingerprint(folder)
    assert copy.deepcopy(opened) == before


def test_a_file_changed_in_place_has_lost_the_hash_of_the_weights(folder):
    opened = Fingerprint(open_checkpoint(folder))
    with (folder / "ae.safetensors").open("r+b") as stream:
        stream.seek(-4, 2)
        stream.write(b"1234")
    os.utime(folder / "ae.safetensors", ns=(1, 1))  # on a coarse clock it may have stayed the same
    with pytest.raises(CheckpointError, match="ae.safetensors: was changed in place.*load it again"):
        opened()
