"""Two runs over the same recordings: what a bundle gains over another, for each recording and for all."""

import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_ros.fleet.layout import METRICS_FILE, RESULT_FILE, SETS_FILE

BLOCK_S = 5.0
"""Neighbouring frames are alike: they are drawn in blocks of this length."""
LEAST_BLOCKS = 4
"""With fewer in a recording there is no interval: the draws would be of the same frames."""
DRAWS = 2000
LEVEL = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Gain:
    """Mean difference of paired values, second run minus first.

    Attributes:
        name: of the recording; `all recordings`.
        pairs: of frame sets; of recordings.
        first, second: mean of each run.
        difference: second minus first.
        low, high: limits of the 95 % interval; None where too little was paired.
    """

    name: str
    pairs: int
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None


def compare_fleets(first: Path, second: Path) -> tuple[str, list[Gain], Gain]:
    """Pairs the frame sets of every recording that both runs have.

    Args:
        first, second: folders of `sartm fleet evaluate`, or of `sartm fleet segment`.

    Returns:
        What is compared, mean IoU or confidence of the frame sets; each recording, the worst loss first; and all
        recordings, which are drawn whole.

    Raises:
        SartmError: nothing is in both, the rigs or options differ, or both are of one bundle.
    """
    here, there = _results(first), _results(second)
    names = sorted(here.keys() & there.keys())
    if not names:
        raise SartmError(f"{first} and {second}: have no recording in common. Run both over the same recordings.")
    for name in names:
        _check_alike(name, here[name], there[name], first, second)
    metric = "mean IoU" if here[names[0]]["options"]["action"] == "evaluate" else "confidence"
    gains = [gain for name in names if (gain := _of_recording(name, first / name, second / name)) is not None]
    if not gains:
        raise SartmError(f"{first} and {second}: no frame set of any recording is in both.")
    pairs = np.array([(gain.first, gain.second) for gain in gains])
    limits = _interval(pairs[:, 1] - pairs[:, 0], 1, 0) if len(gains) >= LEAST_BLOCKS else (None, None)
    before, after = pairs.mean(axis=0).tolist()
    whole = Gain("all recordings", len(gains), *map(_rounded, (before, after, after - before)), *limits)
    return metric, sorted(gains, key=lambda gain: gain.difference), whole


def as_json(metric: str, gains: list[Gain], whole: Gain) -> dict[str, Any]:
    """Plain values."""
    return {"metric": metric, "all": asdict(whole), "recordings": [asdict(gain) for gain in gains]}


def _of_recording(name: str, first: Path, second: Path) -> Gain | None:
    here, there = _values(first), _values(second)
    stamps = sorted(here.keys() & there.keys())
    if not stamps:
        return None
    values = np.array([(here[stamp], there[stamp]) for stamp in stamps])
    differences = values[:, 1] - values[:, 0]
    period_s = (stamps[-1] - stamps[0]) / 1e9 / max(len(stamps) - 1, 1)
    block = max(round(BLOCK_S / max(period_s, 1e-3)), 1)
    enough = len(stamps) >= LEAST_BLOCKS * block
    limits = _interval(differences, block, zlib.crc32(name.encode())) if enough else (None, None)
    before, after = values.mean(axis=0).tolist()
    return Gain(name, len(stamps), *map(_rounded, (before, after, after - before)), *limits)


def _interval(differences: NDArray[np.float64], block: int, seed: int) -> tuple[float, float]:
    """Percentiles of the mean over draws of blocks, which may begin anywhere and go on at the front (Politis 1992)."""
    count = len(differences)
    begins = np.random.default_rng(seed).integers(0, count, (DRAWS, -(-count // block)))
    sums = np.concatenate([[0.0], np.cumsum(np.concatenate([differences, differences[: block - 1]]))])
    means = (sums[begins + block] - sums[begins]).mean(axis=1) / block
    low, high = np.percentile(means, LEVEL).tolist()
    return _rounded(low), _rounded(high)


def _values(folder: Path) -> dict[int, float]:
    """Stamp of each frame set -> its mean IoU, or its confidence."""
    try:
        if (folder / SETS_FILE).is_file():
            sets = json.loads((folder / SETS_FILE).read_text())
            return dict(zip(sets["stamp_ns"], sets["confidence"], strict=True))
        frames = json.loads((folder / METRICS_FILE).read_text())["frames"]
        return {int(one["id"].rpartition("/")[2]): one["miou"] for one in frames if one["miou"] is not None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SartmError(f"{folder}: is not what `sartm fleet` wrote ({error}). Run it again.") from error


def _results(out: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in out.glob(f"*/{RESULT_FILE}"):
        try:
            key = json.loads(path.read_text(encoding="utf-8"))["key"]
            found[path.parent.name] = {"bundle": key["bundle"], "rig": key["rig"], "options": key["options"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SartmError(f"{path}: is no result of `sartm fleet` ({error}).") from error
    return found


def _check_alike(name: str, here: dict[str, Any], there: dict[str, Any], first: Path, second: Path) -> None:
    if here["options"]["action"] not in ("segment", "evaluate"):
        raise SartmError(f"{first / name}: is of `sartm fleet {here['options']['action']}`, which runs no bundle.")
    device = {"device": None}
    if here["rig"] != there["rig"] or here["options"] | device != there["options"] | device:
        raise SartmError(f"{name}: {first} and {second} were made with different rigs or options. Make them alike.")
    if here["bundle"] == there["bundle"]:
        raise SartmError(f"{name}: {first} and {second} are of the same bundle. Name runs of two.")


def _rounded(value: float) -> float:
    return round(float(value), 6)
