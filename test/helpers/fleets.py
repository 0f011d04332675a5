"""Small recordings of one rig, and bundles that segment them: quick to write and to segment."""

from pathlib import Path

import numpy as np

from sartm_core.rig import Rig, rig_from_dict
from sartm_ros.bag.types import bag_message
from sartm_ros.bag.writer import BagWriter
from sartm_ros.decoding.images import header, image_message

START_NS = 1_700_000_000_000_000_000
SIZE = (48, 64)


def fleet_rig() -> Rig:
    """RGB and thermal of 48x64 pixels."""
    fields = {"size": list(SIZE), "tolerance_s": 0.04}
    return rig_from_dict(
        {
            "name": "small",
            "reference": "rgb",
            "modalities": [
                {"name": "rgb", "kind": "rgb", "topic": "/rgb", **fields},
                {"name": "thermal", "kind": "thermal", "topic": "/thermal", "encoding": "percentile", **fields},
            ],
            "classes": [{"name": "road", "color": [128, 64, 128]}, {"name": "car", "color": [0, 0, 142]}],
        },
        "test",
    )


def write_recording(
    path: Path, sets: int = 6, seed: int = 0, thermal: tuple[int, int] = (0, 10**9), labelled: bool = False,
    unlike: tuple[int, int] | None = None,
) -> Path:  # fmt: skip
    """Writes RGB at 10 Hz, thermal 7 ms later.

    Args:
        thermal: from and to which set it is alive.
        labelled: also writes `/truth`.
        unlike: size of the RGB images, where it is another than the rig file's.
    """
    rng = np.random.default_rng(seed)
    with BagWriter(path) as writer:
        for topic in ("/rgb", "/thermal", *(["/truth"] if labelled else [])):
            writer.add_topic(topic, "sensor_msgs/msg/Image")
        for index in range(sets):
            stamp = START_NS + seed * 10**12 + index * 100_000_000
            colour = rng.integers(0, 256, (*(unlike or SIZE), 3), np.uint8)
            warmth = rng.integers(28000, 31000, SIZE, np.uint16)
            stamped = header(bag_message, stamp, "camera")
            writer.write_message("/rgb", stamp + 5_000_000, image_message(bag_message, colour, "rgb8", stamped))
            if thermal[0] <= index < thermal[1]:
                late = header(bag_message, stamp + 7_000_000, "thermal")
                message = image_message(bag_message, warmth, "mono16", late)
                writer.write_message("/thermal", stamp + 20_000_000, message)
            if labelled:
                truth = rng.integers(0, 2, SIZE, np.uint8)
                writer.write_message("/truth", stamp, image_message(bag_message, truth, "mono8", stamped))
    return path


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, but for locks and what an interrupted run left."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if not path.name.startswith(".")}
