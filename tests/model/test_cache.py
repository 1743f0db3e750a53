"""The cache: a branch shares what it has in common, and nothing that is there is ever moved."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unimedvl.model.cache import Cache
from unimedvl.model.config import DecoderConfig

CONFIG = DecoderConfig(32, 16, 32, 2, 4, 2)


def fill(cache: Cache, values: list[float]) -> None:
    """Append tokens whose keys, on every layer, hold the given numbers."""
    keys = torch.tensor(values)[:, None, None].expand(-1, 2, 4)
    cache.reserve(len(values))
    for layer in range(CONFIG.num_layers):
        cache.write(layer, keys, -keys)
    cache.commit(len(values), len(values))


def content(cache: Cache) -> list[float]:
    return cache.keys()[0, :, 0, 0].tolist() if cache.length else []


def test_parent_and_branch_go_on_without_touching_each_other():
    parent = Cache(CONFIG)
    fill(parent, [1, 2, 3])
    child = parent.branch()
    fill(parent, [4])
    fill(child, [5, 6])
    grandchild = child.branch()
    fill(child, [7])
    fill(grandchild, [8])
    assert content(parent) == [1, 2, 3, 4]
    assert content(child) == [1, 2, 3, 5, 6, 7]
    assert content(grandchild) == [1, 2, 3, 5, 6, 8]
    assert (parent.position, child.position, grandchild.position) == (4, 6, 6)


def blocks(cache: Cache) -> list[int]:
    """Addresses of the keys that attention reads on layer 0; the last token is written and forgotten."""
    cache.reserve(1)
    parts = cache.write(0, torch.zeros(1, 2, 4), torch.zeros(1, 2, 4))
    return [keys.data_ptr() for keys, _ in parts]


def test_a_branch_shares_the_memory_of_what_it_has_in_common():
    parent = Cache(CONFIG)
    fill(parent, [1, 2, 3])
    child = parent.branch()
    fill(child, [4])
    assert blocks(child)[0] == blocks(parent)[0]
    assert len(blocks(parent)) == 1 and len(blocks(child)) == 2


def test_appending_moves_nothing():
    cache = Cache(CONFIG)
    fill(cache, [1])
    (first,) = blocks(cache)
    for value in range(2, 500):
        fill(cache, [float(value)])
    assert blocks(cache) == [first]
    cache.reserve(2000)  # beyond the first block's room: a second one, the first stays
    assert blocks(cache)[0] == first and len(blocks(cache)) == 2
    assert content(cache) == [float(v) for v in range(1, 500)]


def test_an_untouched_branch_costs_no_memory_and_an_empty_cache_has_an_empty_branch():
    parent = Cache(CONFIG)
    assert parent.branch().length == 0
    fill(parent, [1, 2])
    child = parent.branch()
    assert child._own is None and content(child) == [1, 2]


def test_what_is_not_committed_is_forgotten():
    cache = Cache(CONFIG)
    fill(cache, [1, 2])
    cache.reserve(3)
    for layer in range(2):
        cache.write(layer, torch.full((3, 2, 4), 9.0), torch.full((3, 2, 4), 9.0))
    fill(cache, [3])
    assert content(cache) == [1, 2, 3] and cache.position == 3


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["fill", "branch", "reserve"]), st.integers(1, 700)),
        max_size=14,
    )
)
def test_any_tree_of_branches_holds_what_lists_would(steps):
    """A model of the cache as plain lists, under random growth, branching and reserving."""
    caches, lists, number = [Cache(CONFIG)], [[]], 0.0
    for which, action, amount in steps:
        which %= len(caches)
        if action == "branch":
            caches.append(caches[which].branch())
            lists.append([*lists[which]])
        elif action == "reserve":
            caches[which].reserve(amount)
        else:
            values = [number + i for i in range(amount % 5 + 1)]
            number += len(values)
            fill(caches[which], values)
            lists[which] += values
    assert [content(c) for c in caches] == lists
    assert [c.length for c in caches] == [len(x) for x in lists]
