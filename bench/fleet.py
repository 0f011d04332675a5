"""A fleet: the plan of 10,000 recordings, and what a second worker adds.

`python bench/fleet.py [--recordings 10000] [--drives 6] [--sets 60]`
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from sartm_core.resources import resolve_bundle
from sartm_core.rig import load_rig
from sartm_ros.bag.types import bag_message
from sartm_ros.bag.writer import BagWriter
from sartm_ros.decoding.images import header, image_message
from sartm_ros.fleet.local import LocalWorkers
from sartm_ros.fleet.order import Order, Segmenting
from sartm_ros.fleet.placement import bundle_hash
from sartm_ros.fleet.plan import Plan, find_recordings
from sartm_ros.fleet.run import run

BUNDLE = "any_sensor_simrig5"
START_NS = 1_700_000_000_000_000_000


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=10_000)
    parser.add_argument("--drives", type=int, default=6)
    parser.add_argument("--sets", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds, megabytes = plan(Path(folder), options.recordings)
        hourly = {count: segment(Path(folder) / f"{count}", options.drives, options.sets, count) for count in (1, 2)}
    table = Table("what", "figure", title=f"{os.cpu_count()} cores")
    table.add_row(
        f"plan of {options.recordings} recordings, half with a result", f"{seconds:.1f} s, {megabytes:.0f} MB"
    )
    for count, value in hourly.items():
        table.add_row(f"{count} workers, recordings of {options.sets} sets", f"{value:.0f} an hour")
    table.add_row("two workers to one", f"{hourly[2] / hourly[1]:.2f}")
    Console().print(table)


def plan(folder: Path, count: int) -> tuple[float, float]:
    """Seconds and peak memory (MB) of `sartm fleet segment --plan`, its process as a whole."""
    for number in range(count):
        drive = folder / "drives" / f"{number % 50:02d}" / f"drive_{number}"
        drive.mkdir(parents=True)
        (drive / f"drive_{number}_0.mcap").write_bytes(b"0")
        (drive / "metadata.yaml").touch()
        if number % 2:
            result = folder / "out" / drive.name
            result.mkdir(parents=True)
            key = {"source": str(drive), "size": 1, "options": {}}
            (result / "result.json").write_text(json.dumps({"key": key, "figures": {"remarks": ["x" * 999]}}))
    command = ["-m", "sartm_ros.cli", "fleet", "segment", str(folder / "drives"), "--bundle", BUNDLE]
    started = time.perf_counter()
    subprocess.run([sys.executable, *command, "--out", str(folder / "out"), "--device", "cpu", "--plan"], check=True)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3


def segment(folder: Path, drives: int, sets: int, workers: int) -> float:
    """Recordings per hour, without the start of the processes."""
    folder.mkdir()
    write(folder / "drive_0", sets)
    for number in range(1, drives + workers):
        os.symlink(folder / "drive_0", folder / f"drive_{number}")
    bundle, rig = resolve_bundle(BUNDLE), load_rig("simrig5").only(["rgb", "thermal"])
    order = Order(what=Segmenting(), rig=rig, bundle=str(bundle), bundle_sha256=bundle_hash(bundle))
    found = find_recordings([str(folder / f"drive_{number}") for number in range(drives + workers)])
    out = folder / "out"
    out.mkdir()
    with closing(LocalWorkers(order, out, workers)) as started:
        run(Plan(tuple(found[:workers]), (), 0), started, None, lambda *_: None)  # each loads the model
        begun = time.perf_counter()
        failures = run(Plan(tuple(found[workers:]), (), 0), started, None, lambda *_: None)
        seconds = time.perf_counter() - begun
    assert not failures, failures
    return 3600 * drives / seconds


def write(path: Path, sets: int) -> None:
    """Writes a recording of RGB and thermal noise at 10 Hz, of the shipped model's size."""
    rng = np.random.default_rng(0)
    colour, warmth = rng.integers(0, 256, (256, 320, 3), np.uint8), rng.integers(28000, 31000, (256, 320), np.uint16)
    with BagWriter(path) as writer:
        for topic in ("/sim/rgb/image", "/sim/thermal/image"):
            writer.add_topic(topic, "sensor_msgs/msg/Image")
        for index in range(sets):
            stamp = START_NS + index * 100_000_000
            stamped = header(bag_message, stamp, "camera")
            for topic, image, encoding in (
                ("/sim/rgb/image", colour, "rgb8"),
                ("/sim/thermal/image", warmth, "mono16"),
            ):
                message = image_message(bag_message, np.roll(image, index, axis=1), encoding, stamped)
                writer.write_message(topic, stamp, message)


if __name__ == "__main__":
    main()
