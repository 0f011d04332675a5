"""What GPU backends prepare when they are made is all that they can ever be asked for."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from untrained import untrained_bundle

from sartm_core.deploy import load_segmenter
from sartm_core.deploy.host import Part, possible_parts, spans
from sartm_core.deploy.torch_segmenter import Captured, TorchSegmenter
from sartm_core.rig import load_rig

GROUPS = [[range(5)], [(0, 2), (1, 3)], [(0,), (1,), (2,)], [(2, 0), (1,)], [(0,)]]


def subsets(items: Any) -> Iterator[Any]:
    items = list(items)
    return itertools.chain.from_iterable(itertools.combinations(items, count) for count in range(1, len(items) + 1))


@pytest.mark.parametrize("groups", GROUPS)
def test_all_that_can_come_is_prepared_and_nothing_else(groups: list[Any]) -> None:
    order = [row for theirs in groups for row in theirs]
    asked = set()
    for chosen in subsets(range(len(order))):
        rows = [order[place] for place in chosen]
        asked.add(Part(len(groups), 0, len(rows)))
        for fresh in [None, *subsets(range(len(rows)))]:
            found = enumerate(spans(groups, rows, fresh))
            asked |= {Part(index, first, count) for index, (first, count) in found if count}
    assert set(possible_parts(groups)) == asked


@pytest.mark.parametrize("groups", GROUPS)
def test_first_runs_meet_modalities_and_features_that_are_there(groups: list[Any]) -> None:
    """An expert of another encoder, or features that nobody has written, might end the process on a GPU."""
    written = set()
    for part, rows in possible_parts(groups).items():
        assert len(set(rows)) == part.count
        places = set(range(part.first, part.first + part.count))
        if part.index < len(groups):
            assert set(rows) <= set(groups[part.index])
            written |= places
        else:
            assert places <= written


class StandIn:
    """In place of a CUDA graph: `run` three times and once to be captured, then `run` again where a GPU replays."""

    def __init__(self, run: Captured) -> None:
        self.run, self.replays = run, 0
        for _ in range(4):
            self.addresses = [one.data_ptr() for one in run()]

    def __call__(self) -> tuple[torch.Tensor, ...]:
        self.replays += 1
        return self.run()


def test_torch_captures_everything_at_the_start(tmp_path: Path) -> None:
    """That a replay takes no memory only a GPU can show; here: what is asked for was captured, in every order."""
    rig = load_rig("simrig5").only(["rgb", "thermal", "depth"])
    folder = untrained_bundle(tmp_path / "bundle", rig, size=(32, 64), half_size=("thermal",))
    segmenter, plain = (load_segmenter(folder, "torch", "cpu") for _ in range(2))
    assert isinstance(segmenter, TorchSegmenter)
    segmenter._captured = segmenter._capture_all(StandIn)
    prepared = dict(segmenter._captured)
    assert len(prepared) == 3 + 3 + 3
    features = [kept.data_ptr() for kept in segmenter._features]
    rng = np.random.default_rng(0)
    planes = {name: rng.integers(0, 256, (3, 32, 64)).astype(rig.dtype) for name in rig.names}
    for names in [*subsets(rig.names), *subsets(rig.names[::-1])]:
        planes[names[-1]] = rng.integers(0, 256, (3, 32, 64)).astype(rig.dtype)
        chosen = {name: planes[name] for name in names}
        got, wanted = segmenter.segment(chosen), plain.segment(chosen)
        np.testing.assert_array_equal(got.mask, wanted.mask)
        np.testing.assert_array_equal(got.routing, wanted.routing)
    assert segmenter._captured == prepared
    assert all(one.replays for part, one in prepared.items() if part.index == 2)  # the head, of each number of rows
    assert [kept.data_ptr() for kept in segmenter._features] == features
