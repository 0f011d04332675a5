"""Temporal calm: what flickers stays, what changes for good changes, what jumps is forgotten."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sartm_core.deploy.bundle import read_bundle
from sartm_core.deploy.smoothing import Smoother, smoother_for
from sartm_core.errors import SartmError
from sartm_core.resources import resolve_bundle

PERIOD_NS = 100_000_000


def scores(margin: float, background: int = 2) -> NDArray[np.float32]:
    """Classes 0, 1, 2 on 4x4 cells: `background` everywhere, and in one cell class 0 leads class 1 by a margin."""
    result = np.zeros((3, 4, 4), np.float32)
    result[background] = 8
    result[:, 1, 1] = margin, 0, -5
    return result


def classes(smoother: Smoother, *margins: float, period_ns: int = PERIOD_NS) -> list[int]:
    """Of that cell, frame after frame."""
    return [
        int(smoother.smooth(scores(margin), 10**12 + number * period_ns).argmax(axis=0)[1, 1])
        for number, margin in enumerate(margins)
    ]


def test_a_class_that_leads_by_little_for_a_frame_does_not_flicker() -> None:
    assert classes(Smoother(0.2), 1, -0.5, 1, -0.5, 1) == [0] * 5


def test_a_clear_change_is_not_late_by_a_single_frame() -> None:
    assert classes(Smoother(0.2), 1, 1, -3, -3) == [0, 0, 1, 1]


def test_the_longer_ago_the_less_it_counts() -> None:
    assert classes(Smoother(0.2), 1, -0.8) == [0, 0]
    assert classes(Smoother(0.2), 1, -0.8, period_ns=200_000_000) == [0, 1]
    assert classes(Smoother(0.02), 1, -0.8) == [0, 1]


def test_stamps_that_jump_and_another_scene_begin_anew() -> None:
    smoother = Smoother(0.2)
    smoother.smooth(scores(1), 10**12)
    assert smoother.smooth(scores(-0.5), 10**12 - PERIOD_NS).argmax(axis=0)[1, 1] == 1  # a recording that loops
    cut = Smoother(0.2)
    cut.smooth(scores(1, background=2), 10**12)
    other = scores(-0.5, background=0)
    assert np.array_equal(cut.smooth(other, 10**12 + PERIOD_NS), other)
    sized = Smoother(0.2)
    sized.smooth(scores(1), 10**12)
    small = scores(-0.5)[:, :2, :2]
    assert np.array_equal(sized.smooth(small, 10**12 + PERIOD_NS), small)


def test_scores_that_are_not_finite_pass_and_are_not_remembered() -> None:
    smoother = Smoother(0.2)
    smoother.smooth(scores(1), 10**12)
    broken = scores(1)
    broken[0, 0, 0] = np.nan
    assert np.isnan(smoother.smooth(broken, 10**12 + PERIOD_NS)).any()  # whoever fits it back names it
    assert smoother.smooth(scores(-0.5), 10**12 + 2 * PERIOD_NS).argmax(axis=0)[1, 1] == 1


def test_a_bundle_without_scores_is_refused_with_the_remedy() -> None:
    bundle = read_bundle(resolve_bundle("any_sensor_simrig5"))
    assert smoother_for(bundle, 0) is None
    with pytest.raises(SartmError, match=r"argmax: network.*--argmax frame"):
        smoother_for(bundle.model_copy(update={"argmax": "network"}), 0.2)
    with pytest.raises(SartmError, match="fit: window.*another --fit"):
        smoother_for(bundle.model_copy(update={"fit": "window"}), 0.2)
