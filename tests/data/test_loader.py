"""The loader's stream: each record once an epoch, by weight, the same for any number of ranks and workers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from unimedvl.data import shards
from unimedvl.data.error import DataError
from unimedvl.data.loader import Mixture, Part, positions
from unimedvl.data.record import Record
from unimedvl.data.shards import write_shard
from unimedvl.data.source import Sample, answer, question

SIZES = {"a": (7, 10), "b": (3,), "c": (23,)}  # records of each part's shards
WEIGHTS = {"a": 2.0, "b": 1.0, "c": 5.0}


def sample(name: str) -> Sample:
    record = Record(
        main_task_type="understanding", sub_task_type="text_qa", modality="text", dataset="invented", id=name,
        message=(question("Why?", 0), answer("So.")),
    )  # fmt: skip
    return Sample(record)


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> list[Part]:
    folder, out = tmp_path_factory.mktemp("shards"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "_GROUP", 4)
        for name, sizes in SIZES.items():
            files = []
            for number, size in enumerate(sizes):
                files.append(folder / f"{name}-{number}.parquet")
                write_shard(files[-1], [sample(f"{name}{number}-{n}") for n in range(size)])
            out.append(Part(name, tuple(files), WEIGHTS[name]))
    return out


def ids(samples) -> list[str]:
    return [s.record.id for s in samples]


def test_every_record_comes_once_in_each_epoch_and_in_another_order(parts):
    mixture = Mixture(parts[:1], window=2)
    epochs = [ids(mixture[i] for i in range(17 * e, 17 * (e + 1))) for e in range(3)]
    everything = sorted(f"a0-{n}" for n in range(7)) + sorted(f"a1-{n}" for n in range(10))
    assert all(sorted(epoch) == sorted(everything) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3 and epochs[0] != everything


def test_parts_come_by_weight_and_none_is_cut_short(parts):
    mixture = Mixture(parts)
    drawn = Counter(mixture.place(i).part for i in range(8000))
    for name, weight in WEIGHTS.items():
        assert abs(drawn[name] / 8000 - weight / 8) < 0.02
    seen = Counter(ids(mixture[i] for i in range(600)))
    of_b = [n for name, n in seen.items() if name.startswith("b")]
    assert len(of_b) == 3 and max(of_b) - min(of_b) <= 1  # epochs run through, one after another


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(0, 40), st.integers(1, 4))
def test_any_number_of_ranks_goes_on_where_any_other_stopped(parts, before, done, after):
    whole = ids(Mixture(parts)[i] for i in range(60))
    done -= done % before  # ranks stop together
    taken: dict[int, str] = {}
    for start, stop, ranks in ((0, done, before), (done, 60, after)):
        for rank in range(ranks):
            mixture = Mixture(parts)  # a process of its own
            for position in positions(start, stop, rank, ranks):
                assert position not in taken
                taken[position] = mixture[position].record.id
    assert [taken[i] for i in range(60)] == whole


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(parts, workers):
    mixture = Mixture(parts)
    loader = DataLoader(mixture, batch_size=None, sampler=positions(5, 50, 1, 2), num_workers=workers)
    assert ids(loader) == ids(mixture[i] for i in range(6, 50, 2))


def test_positions_far_on_are_reached_and_blocks_join_without_a_gap(parts):
    far = Mixture(parts)
    assert far[10_000].record.id == Mixture(parts)[10_000].record.id
    numbers: dict[str, list[int]] = {}
    for position in range(4000, 4200):  # over the end of a block
        part, number = far._drawn(position)
        numbers.setdefault(part, []).append(number)
    assert all(n == list(range(n[0], n[0] + len(n))) for n in numbers.values())


def test_another_seed_is_another_order(parts):
    one, other = (ids(Mixture(parts, seed)[i] for i in range(30)) for seed in (0, 1))
    assert one != other


def test_few_row_groups_are_held(parts):
    mixture = Mixture(parts, window=2)
    for i in range(200):
        mixture[i]
    assert all(len(part._held) <= 2 for part in mixture._parts)


def test_what_can_not_be_mixed_is_told(parts, tmp_path):
    with pytest.raises(DataError, match="needs one part or more"):
        Mixture([])
    with pytest.raises(DataError, match="a: weight is 0; it must be over 0"):
        Mixture([Part("a", parts[0].files, 0)])
    with pytest.raises(DataError, match="none.parquet"):
        Mixture([Part("a", (Path(tmp_path / "none.parquet"),))])
    with pytest.raises(DataError, match="a: its 0 shards hold no record"):
        Mixture([Part("a", ())])
    with pytest.raises(DataError, match="rank is 2; it must be 0 to 1"):
        positions(0, 10, 2, 2)
