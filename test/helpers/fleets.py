"""Small recordings of one rig, which the shipped model segments in a twentieth of a second each set."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sartm_core.resources import resolve_bundle
from sartm_core.rig import Rig, load_rig, rig_from_dict
from sartm_core.segmentation import UNLABELLED
from sartm_ros.bag.types import bag_message
from sartm_ros.bag.writer import BagWriter
from sartm_ros.decoding.images import header, image_message
from sartm_ros.fleet.order import Order, Segmenting
from sartm_ros.fleet.placement import bundle_hash

START_NS = 1_700_000_000_000_000_000
SIZE = (48, 64)
BUNDLE = "any_sensor_simrig5"


def rig_fields() -> dict[str, Any]:
    """RGB and thermal of 48x64 pixels, with the shipped model's classes."""
    fields = {"size": list(SIZE), "tolerance_s": 0.04}
    return {
        "name": "small",
        "reference": "rgb",
        "modalities": {
            "rgb": {"kind": "rgb", "topic": "/rgb", **fields},
            "thermal": {"kind": "thermal", "topic": "/thermal", "encoding": "percentile", **fields},
        },
        "classes": [one.model_dump(mode="json") for one in load_rig("simrig5").classes],
    }


def fleet_rig() -> Rig:
    return rig_from_dict(rig_fields(), "test")


def write_rig(path: Path) -> Path:
    path.write_text(yaml.safe_dump(rig_fields(), sort_keys=False))
    return path


def fleet_order(**changes: Any) -> Order:
    """Segments with the shipped model, on the CPU."""
    folder = resolve_bundle(BUNDLE)
    fields = {"what": Segmenting(), "rig": fleet_rig(), "bundle": str(folder), "bundle_sha256": bundle_hash(folder)}
    return Order(**{**fields, **changes})


def write_recording(
    path: Path,
    sets: int = 4,
    seed: int = 0,
    rgb: tuple[int, int] = (0, 10**9),
    thermal: tuple[int, int] = (0, 10**9),
    size: tuple[int, int] = SIZE,
) -> Path:
    """Writes RGB at 10 Hz, thermal 7 ms later, and labels.

    Args:
        path: the rosbag2 folder.
        sets: how many instants.
        seed: of images and of the date.
        rgb, thermal: from which instant to which each is alive.
        size: of the RGB images.
    """
    rng = np.random.default_rng(seed)
    with BagWriter(path) as writer:
        for topic in ("/rgb", "/thermal", "/truth"):
            writer.add_topic(topic, "sensor_msgs/msg/Image")
        for index in range(sets):
            stamp = START_NS + seed * 10**12 + index * 100_000_000
            stamped = header(bag_message, stamp, "camera")
            truth = np.full(size, UNLABELLED, np.uint8)
            truth[::2] = rng.integers(0, 9)
            writer.write_message("/truth", stamp, image_message(bag_message, truth, "mono8", stamped))
            colour, warmth = rng.integers(0, 256, (*size, 3), np.uint8), rng.integers(28000, 31000, SIZE, np.uint16)
            if rgb[0] <= index < rgb[1]:
                writer.write_message("/rgb", stamp + 5_000_000, image_message(bag_message, colour, "rgb8", stamped))
            if thermal[0] <= index < thermal[1]:
                late = header(bag_message, stamp + 7_000_000, "thermal")
                writer.write_message("/thermal", stamp + 20_000_000, image_message(bag_message, warmth, "mono16", late))
    return path


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
