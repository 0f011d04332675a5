"""What is noted of every frame set of a recording; the notes of its slices add up to those of the whole, exactly."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from sartm_core.deploy import Segmenter
from sartm_core.rig import Rig
from sartm_core.segmentation import Segmentation
from sartm_ros.bag.replay import ReplaySet
from sartm_ros.fleet.shift import has_shifted

PROBE_FIRST, PROBE_EVERY = 2, 50
"""Which set is looked at closely first, when all sensors have begun, and how many further is the next: 5 s at 10 Hz."""
MISTRUSTED_SHARE = 0.5
"""A sensor that is there and has less than this part of an equal share of the weight is mistrusted."""
DEAD = ("absent", "stale", "broken", "empty")
_FIXED = 1 << 32
"""Sums are of integers, so that their order does not matter."""


@dataclass(slots=True)
class SensorTally:
    """Of one sensor, how many sets.

    Attributes:
        states: in each state.
        mistrusted: in which it was present and mistrusted.
        probed, shifted: in which its edges were compared with the reference's, and lay elsewhere.
        reasons: why it was broken or empty.
    """

    states: Counter[str] = field(default_factory=Counter)
    mistrusted: int = 0
    probed: int = 0
    shifted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Tally:
    """Of one recording, or of a slice of it.

    Attributes:
        sensors: by name.
        sets: of all; those without a mask, too.
        stamps_ns, confidences: of every mask: its stamp, and its mean confidence in units of 2^-32.
        probes, changed: sets in which sensors were left out one by one, and the sum of the shares of pixels that this
            changed, in these units.
        end_s: time of the last set.
        worst: the probe with the least confidence: that, its stamp, and its picture as JPEG.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    sensors: dict[str, SensorTally]
    sets: int = 0
    stamps_ns: list[int] = field(default_factory=list)
    confidences: list[int] = field(default_factory=list)
    probes: int = 0
    changed: int = 0
    end_s: float = 0.0
    worst: tuple[int, int, bytes] | None = None

    def add(self, found: ReplaySet, segmentation: Segmentation | None) -> None:
        """Notes one set."""
        self.sets += 1
        self.end_s = found.time_s
        for name, state in found.frames.states.items():
            self.sensors[name].states[state] += 1
        for reasons in (found.frames.broken, found.frames.empty):
            for name, reason in reasons.items():
                self.sensors[name].reasons[reason] += 1
        if segmentation is None:
            return
        self.stamps_ns.append(found.frames.stamp_ns)
        self.confidences.append(fixed(float(segmentation.confidence.mean(dtype=np.float64))))
        for name in mistrusted(dict(zip(self.sensors, segmentation.routing.mean(axis=0).tolist(), strict=True))):
            self.sensors[name].mistrusted += 1

    def probe(
        self, found: ReplaySet, segmentation: Segmentation, segmenter: Segmenter, rig: Rig, picture: NDArray[np.uint8]
    ) -> None:
        """Looks closely at one set: what each sensor changes, and whether its edges lie where the reference's do."""
        changed = _changed_by_one(found.frames.planes, segmentation, segmenter)
        if changed is not None:
            self.probes += 1
            self.changed += fixed(changed)
        for name in found.frames.planes:
            if name != rig.reference and rig.reference in found.frames.planes:
                shifted = has_shifted(found.frames.planes[rig.reference], found.frames.planes[name])
                self.sensors[name].probed += shifted is not None
                self.sensors[name].shifted += shifted is True
        confidence = self.confidences[-1]
        if self.worst is None or confidence < self.worst[0]:
            self.worst = confidence, found.frames.stamp_ns, thumbnail(picture)

    def __add__(self, later: "Tally") -> "Tally":
        """Of both: this one's slice, and the one that follows it."""
        sensors = {
            name: SensorTally(
                one.states + later.sensors[name].states,
                one.mistrusted + later.sensors[name].mistrusted,
                one.probed + later.sensors[name].probed,
                one.shifted + later.sensors[name].shifted,
                one.reasons + later.sensors[name].reasons,
            )
            for name, one in self.sensors.items()
        }
        worst = min(
            (one for one in (self.worst, later.worst) if one is not None), key=lambda one: one[:2], default=None
        )
        return Tally(
            sensors,
            self.sets + later.sets,
            self.stamps_ns + later.stamps_ns,
            self.confidences + later.confidences,
            self.probes + later.probes,
            self.changed + later.changed,
            max(self.end_s, later.end_s),
            worst,
        )

    def figures(self, names: Collection[str]) -> dict[str, Any]:
        """Shares of the sets, 0 to 1; None for what was not measured. `names`: the sensors that the rig has."""
        return {
            "seconds": round(self.end_s, 3),
            "sets": self.sets,
            "masks": len(self.stamps_ns),
            "confidence": _share(sum(self.confidences) / _FIXED, len(self.confidences)),
            "disagreement": _share(self.changed / _FIXED, self.probes),
            "sensors": {
                name: {
                    "dead": _share(sum(one.states[state] for state in DEAD), self.sets),
                    "misaligned": _share(one.shifted, one.probed),
                    "mistrusted": _share(one.mistrusted, one.states["present"]),
                }
                for name, one in self.sensors.items()
                if name in names
            },
        }

    def remarks(self) -> list[str]:
        """Why measurements could not be used, one line each."""
        return [
            f"{name}: in {count} of {self.sets} frame sets it could not be used: {reason}"
            for name, one in self.sensors.items()
            for reason, count in sorted(one.reasons.items(), key=lambda entry: (-entry[1], entry[0]))[:3]
        ]


def tally_for(rig: Rig) -> Tally:
    """An empty one, for the modalities of a bundle's rig."""
    return Tally({name: SensorTally() for name in rig.names})


def mistrusted(weights: dict[str, float]) -> list[str]:
    """The sensors that are there, as their weight tells, and have less than half of an equal share of it.

    Examples:
        >>> mistrusted({"rgb": 0.55, "thermal": 0.35, "depth": 0.1, "lidar": 0.0})
        ['depth']
    """
    there = [name for name, weight in weights.items() if weight > 0]
    return [name for name in there if weights[name] < MISTRUSTED_SHARE / len(there)]


def fixed(value: float) -> int:
    """A number of 0 to 1 in units of 2^-32."""
    return round(value * _FIXED)


def thumbnail(picture: NDArray[np.uint8]) -> bytes:
    """A picture (uint8 [H, W, 3], red, green, blue) as a JPEG of 320 pixels' width."""
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (320, max(round(320 * height / width), 1)), interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(small[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    return data.tobytes()


def _changed_by_one(planes: dict[str, Any], segmentation: Segmentation, segmenter: Segmenter) -> float | None:
    """Share of the pixels whose class changes without one of the sensors: of the one without which most do.

    None where there is only one.
    """
    height, width = segmentation.mask.shape
    shares = [
        float((segmenter.segment({k: v for k, v in planes.items() if k != name}, (height, width)).mask
               != segmentation.mask).mean())
        for name in planes
        if len(planes) > 1
    ]  # fmt: skip
    return max(shares, default=None)


def is_probed(number: int) -> bool:
    """Whether the set of this number is looked at closely."""
    return number % PROBE_EVERY == PROBE_FIRST


def _share(part: float, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
