"""Recordings on one core: reading, matching and encoding RGB and thermal at 640x480, and the memory used.

`python bench/bag.py [--sets 300]`
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from sartm_core.rig import load_rig
from sartm_ros.bag.reader import open_bag
from sartm_ros.bag.replay import Replay
from sartm_ros.bag.types import bag_message
from sartm_ros.bag.writer import BagWriter
from sartm_ros.decoding.images import header, image_message

RATE_HZ = 30
START_NS = 1_700_000_000_000_000_000
LONGER = 4


def write(path: Path, sets: int) -> None:
    """Writes a recording of textured images, colour and 16-bit thermal, at 30 Hz."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (60, 80, 3), np.uint8)
    colour = cv2.resize(small, (640, 480), interpolation=cv2.INTER_CUBIC)
    thermal = (28000 + 10 * colour[..., 0].astype(np.uint16)).astype(np.uint16)
    with BagWriter(path) as writer:
        for topic in ("/camera/image_raw", "/thermal/image_raw"):
            writer.add_topic(topic, "sensor_msgs/msg/Image")
        for index in range(sets):
            stamp = START_NS + index * 1_000_000_000 // RATE_HZ
            stamped = header(bag_message, stamp, "camera")
            shift = (3 * index) % 640
            for topic, image, encoding in (
                ("/camera/image_raw", colour, "rgb8"), ("/thermal/image_raw", thermal, "mono16"),
            ):  # fmt: skip
                message = image_message(bag_message, np.roll(image, shift, axis=1), encoding, stamped)
                writer.write_message(topic, stamp, message)


def replay(path: Path) -> None:
    """Prints frame sets, seconds of reading, seconds in total, peak memory in MB; runs in its own process."""
    cv2.setNumThreads(1)
    rig = load_rig("rgbt")
    with open_bag(path) as bag:
        started = time.perf_counter()
        for _ in bag.messages():
            pass
        reading = time.perf_counter() - started
    with open_bag(path) as bag:
        started = time.perf_counter()
        sets = sum(len(found.frames.planes) == 2 for found in Replay(bag, rig, rig))
        whole = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"{sets} {reading} {whole} {peak}\n")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=300)
    parser.add_argument("--replay", type=Path)
    arguments = parser.parse_args()
    if arguments.replay is not None:
        replay(arguments.replay)
        return
    table = Table(title="RGB and thermal, 640x480, one core")
    for column in ("frame sets", "reading only, per second", "matched and encoded, per second", "peak memory, MB"):
        table.add_column(column, justify="right")
    one_core = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        for count in (arguments.sets, LONGER * arguments.sets):
            path = Path(folder) / str(count)
            write(path, count)
            command = [sys.executable, __file__, "--replay", str(path)]
            output = subprocess.run(command, env=one_core, capture_output=True, text=True, check=True).stdout
            sets, reading, whole, peak = (float(part) for part in output.split())
            table.add_row(f"{sets:.0f}", f"{count / reading:.0f}", f"{sets / whole:.0f}", f"{peak:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
