"""Checkpoints are whole or not there; so many stay as asked; a disk that is full or no folder is one clear line."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unimedvl import UniMedVL
from unimedvl.training import checkpoints as checkpoints_module
from unimedvl.training import loop
from unimedvl.training.checkpoints import Checkpoints, read_state, read_tensors, step_of, whole_checkpoints
from unimedvl.training.error import TrainingError
from unimedvl.training.loop import train
from unimedvl.training.parallel import World
from unimedvl.training.recipe import Saves

ROOT = Path(__file__).parents[2]
ALONE = World(0, 1, 0, torch.device("cpu"))


def weights(value: float = 1.0, size: int = 4) -> dict[str, torch.Tensor]:
    return {"model/a": torch.full((size,), value), "average/a": torch.full((size,), -value)}


def checkpoints(folder: Path, **settings) -> Checkpoints:
    return Checkpoints(folder, ALONE, Saves(**settings))


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "checkpoints").iterdir())


def test_what_was_saved_is_read_again_and_is_a_copy_of_that_moment(tmp_path):
    place, tensors = checkpoints(tmp_path), weights(1.0, 100_000)
    place.save(3, tensors, {"stage": 1})
    for t in tensors.values():
        t.zero_()  # as a training goes on while it is being written
    place.finish()
    found = place.newest()
    assert found.name == "step-00000003" and read_state(found) == {"stage": 1}
    into = weights(0.0, 100_000)
    read_tensors(found, into, ALONE)
    assert into["model/a"].eq(1).all() and into["average/a"].eq(-1).all()


def test_a_part_never_counts_and_is_gone_with_the_next_save(tmp_path):
    place = checkpoints(tmp_path)
    place.save(1, weights(), {})
    place.finish()
    torn = tmp_path / "checkpoints" / "step-00000009.part"
    torn.mkdir()
    (torn / "state.json").write_text("{}")
    (tmp_path / "checkpoints" / "step-00000008").mkdir()  # without a state
    assert [step_of(p) for p in whole_checkpoints(torn.parent)] == [1] and step_of(place.newest()) == 1
    place.save(2, weights(), {})
    assert place.newest().name == "step-00000001"  # the second is still under its other name
    place.finish()
    assert step_of(place.newest()) == 2 and not torn.exists()


def test_cut_off_between_writing_and_renaming_the_one_before_stays(tmp_path, monkeypatch):
    place = checkpoints(tmp_path)
    place.save(1, weights(), {})
    place.finish()
    real = Path.rename

    def rename(self, target):
        if self.suffix == ".part":
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    place.save(2, weights(), {})
    with pytest.raises(KeyboardInterrupt):
        place.finish()
    monkeypatch.undo()
    assert names(tmp_path) == ["step-00000001", "step-00000002.part"]
    again = checkpoints(tmp_path)
    assert step_of(again.newest()) == 1


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"last": 1}, [7]),
        ({"last": 2}, [6, 7]),
        ({"last": 2, "keep": 3}, [3, 6, 7]),
        ({"last": 1, "keep": 2}, [2, 4, 6, 7]),
        ({"last": 9}, [1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_the_last_and_every_so_many_steps_stay(tmp_path, settings, kept):
    place = checkpoints(tmp_path, **settings)
    for step in range(1, 8):
        place.save(step, weights(), {})
    place.finish()
    assert [step_of(p) for p in whole_checkpoints(tmp_path / "checkpoints")] == kept
    assert len(names(tmp_path)) == len(kept)


def test_a_removal_that_is_cut_off_leaves_no_half_that_passes_for_whole(tmp_path, monkeypatch):
    place = checkpoints(tmp_path, last=1)
    place.save(1, weights(), {})
    place.save(2, weights(), {})
    monkeypatch.setattr(checkpoints_module.shutil, "rmtree", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        place.finish()
    assert [step_of(p) for p in whole_checkpoints(tmp_path / "checkpoints")] == [2]


def test_what_is_no_checkpoint_of_the_training_is_one_line(tmp_path):
    place = checkpoints(tmp_path)
    place.save(1, weights(), {})
    place.finish()
    for into in (weights(size=5), weights() | {"model/b": torch.zeros(1)}):
        with pytest.raises(TrainingError, match="step-00000001: not a checkpoint of this training: ") as error:
            read_tensors(place.newest(), into, ALONE)
        assert "\n" not in str(error.value)
    (place.newest() / "state.json").write_text("{")
    with pytest.raises(TrainingError, match="step-00000001: no checkpoint of a training"):
        read_state(place.newest())


# ---------------------------------------------------------------------------------- disks that refuse


def by_command(recipe, largest: int | None = None) -> subprocess.CompletedProcess:
    """`unimedvl train` as a process of its own. largest: bytes of a file, as if the disk had no room for more."""
    file = recipe.folder.with_suffix(".json")
    file.write_text(recipe.model_dump_json())

    def limit() -> None:
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "unimedvl", "train", str(file), "--quiet"]
    return subprocess.run(command, env=environment, preexec_fn=limit, capture_output=True, text=True, timeout=100)


def test_a_full_disk_is_one_line_keeps_the_last_checkpoint_and_the_run_goes_on_later(make_recipe, cut_off):
    whole, torn = make_recipe("whole"), make_recipe("torn", save={"every": 1})
    out = train(whole)
    cut_off(torn, 3)
    before = whole_checkpoints(torn.folder / "checkpoints")
    largest = max(p.stat().st_size for p in before[-1].iterdir())
    done = by_command(torn, largest // 2)
    assert done.returncode == 2 and done.stdout == "", done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {torn.folder / 'checkpoints'}: a checkpoint can't be written: File too large; ")
    assert "goes on from there when it is started again" in line
    assert whole_checkpoints(torn.folder / "checkpoints") == before
    done = by_command(torn)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and done.stdout == f"{torn.folder / 'export'}\n"
    mine, theirs = (UniMedVL.load(f, pack=False).model.state_dict() for f in (out, torn.folder / "export"))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert not list((torn.folder / "checkpoints").glob("*.part"))


@pytest.mark.parametrize("file", ["run", "run/checkpoints"])
def test_a_file_in_the_folders_place_is_told_before_the_first_step(make_recipe, tmp_path, monkeypatch, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("mine")
    monkeypatch.setattr(loop, "_gradient", lambda *_: pytest.fail("a step was taken"))
    with pytest.raises(TrainingError, match=f"^{tmp_path / file}: .*(exists|Not a directory)") as error:
        train(make_recipe())
    assert "\n" not in str(error.value) and (tmp_path / file).read_text() == "mine"
