"""Calibration from natural scenes: hidden offsets of simulated drives, known moves of real pairs. A quarter of an hour.

python bench/calibration.py [--drives 10] [--pairs ../shared/data/rgbt_pairs] [--mode pose|homography|lidar]
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from sartm_core.calibrate.cameras import Optics, align
from sartm_core.calibrate.edges import grey
from sartm_core.calibrate.estimate import Alignment, Estimate, Refusal
from sartm_core.calibrate.judgement import grid
from sartm_core.calibrate.lidar import align_lidar
from sartm_core.calibrate.models import HALF, displacement
from sartm_core.calibrate.moments import Moment
from sartm_core.calibration import LIDAR_LOOKS_AHEAD, Intrinsics
from sartm_core.rig import load_rig
from sartm_sim.simulation import CONDITIONS, SimulatedRig
from sartm_sim.simulation.geometry import CAMERA_HEIGHT_M, Camera, SpinningLidar
from sartm_sim.simulation.sensors import lidar, rgb, thermal
from sartm_sim.simulation.view import look

SIZE, PAIR_SIZE = (256, 320), (240, 320)
FOCAL = 247.0
K = Intrinsics(fx=FOCAL, fy=FOCAL, cx=160, cy=128)
MOMENTS, SECONDS, RATE_HZ = 24, 60.0, 10.0
TIMES_S = np.arange(-3, 4) / RATE_HZ
NAMES = ("day", "dusk", "night")
ConsoleRow = tuple[str, ...]


class Drive:
    """A minute along a street, with a hidden turn (as a shift of at most 30 px, and 3 degrees), zoom and delay."""

    def __init__(self, seed: int) -> None:
        self.condition = CONDITIONS[NAMES[seed % 3]]
        rng = np.random.default_rng(seed)
        self.street = SimulatedRig(load_rig("simrig5"), seed)._street
        across, down = np.arctan2(rng.uniform(-30, 30, 2), FOCAL)
        roll = np.radians(rng.uniform(-3, 3))
        self.turn = np.eye(3)
        for vector in ((-down, 0, 0), (0, across, 0), (0, 0, roll)):
            self.turn = self.turn @ cv2.Rodrigues(np.array(vector, float))[0]
        self.k = Intrinsics(fx=FOCAL * (zoom := rng.uniform(0.9, 1.1)), fy=FOCAL * zoom, cx=160, cy=128)
        self.late_s = rng.uniform(-0.12, 0.12)
        axis = rng.normal(size=3)
        self.lidar_turn = cv2.Rodrigues(axis / np.linalg.norm(axis) * np.radians(rng.uniform(1, 3)))[0]
        self.stamps_s = np.linspace(2, SECONDS - 2, MOMENTS).round(1).tolist()

    def moments(self) -> list[Moment]:
        """What the colour camera sees around each of the stamps."""
        found = []
        for number, stamp in enumerate(self.stamps_s):
            views = [look(self.street, Camera(SIZE, K, ego(np.eye(3))), stamp + t) for t in TIMES_S]
            rngs = [np.random.default_rng((number, step)) for step in range(len(views))]
            pairs = zip(views, rngs, strict=True)
            found.append(Moment([grey(rgb.rgb_image(view, self.condition, rng)) for view, rng in pairs], TIMES_S))
        return found

    def thermal(self) -> list[NDArray[np.float32]]:
        """What the thermal camera sees, `late_s` after the stamps."""
        images = []
        for number, stamp in enumerate(self.stamps_s):
            view = look(self.street, Camera(SIZE, self.k, ego(self.turn)), stamp + self.late_s)
            rng = np.random.default_rng(number)
            images.append(grey(thermal.thermal_counts(thermal.thermal_kelvin(view, self.condition, rng))))
        return images

    def lidar_pose(self) -> NDArray[np.float64]:
        """As it is assumed."""
        pose = LIDAR_LOOKS_AHEAD.matrix.copy()
        pose[:3, 3] = (0.0, -0.25, -0.05)
        return pose

    def clouds(self) -> list[NDArray[np.float32]]:
        """What the LiDAR, which is turned against its pose, measures `late_s` after the stamps."""
        pose = self.lidar_pose()
        pose[:3, :3] = self.lidar_turn @ pose[:3, :3]
        pose = ego(np.eye(3)) @ pose
        return [
            lidar.lidar_points(
                look(self.street, SpinningLidar(pose), stamp + self.late_s),
                self.condition,
                np.random.default_rng(number),
            )
            for number, stamp in enumerate(self.stamps_s)
        ]

    def matrix(self) -> NDArray[np.float64]:
        """The truth: the thermal camera's pixels to those of the colour camera (one place, so no parallax)."""
        through = K.matrix @ self.turn @ np.linalg.inv(self.k.matrix)
        return np.asarray(np.linalg.inv(HALF) @ through @ HALF)


def ego(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pose of a camera on the robot."""
    pose = np.eye(4)
    pose[:3, :3], pose[1, 3] = turn, -CAMERA_HEIGHT_M
    return pose


def off_px(found: NDArray[np.float64], true: NDArray[np.float64], size: tuple[int, int]) -> float:
    """Median reprojection error over the reference's image."""
    points = grid(size)
    return float(np.median(np.linalg.norm(displacement(found @ np.linalg.inv(true), points), axis=1)))


def drive_row(seed: int, mode: str) -> ConsoleRow:
    """Calibrates one drive."""
    drive = Drive(seed)
    moments = drive.moments()
    measured = drive.clouds() if mode == "lidar" else drive.thermal()
    started = time.process_time()
    if mode == "lidar":
        found: Estimate = align_lidar(moments, measured, K.matrix, drive.lidar_pose())
    else:
        optics = Optics(K.matrix, drive.k.matrix, np.eye(3), np.zeros(3), 1e6) if mode == "pose" else None
        found = align(moments, measured, optics)
    seconds = f"{time.process_time() - started:.0f}"
    name = f"{seed} {drive.condition.name}"
    if isinstance(found, Refusal):
        return name, "refused", found.reason.split(":")[0], "", seconds
    if mode == "lidar":
        assert found.rotation is not None
        true = drive.lidar_turn @ drive.lidar_pose()[:3, :3]
        error = f"{np.degrees(np.linalg.norm(cv2.Rodrigues(found.rotation @ true.T)[0])):.2f} deg"
    else:
        error = f"{off_px(found.matrix, drive.matrix(), SIZE):.2f} px"
    return name, error, f"{found.uncertainty_px:.2f} px", _time(found, drive.late_s), seconds


def _time(found: Alignment, true_s: float) -> str:
    if found.offset_s is None:
        return "refused"
    off_ms, within_ms = 1e3 * (found.offset_s - true_s), 1e3 * found.offset_uncertainty_s
    return f"{off_ms:+.1f} of {1e3 * true_s:+.0f} ms (within {within_ms:.0f})"


def pair_row(path: Path) -> ConsoleRow:
    """Moves one real thermal image by a known amount, and finds that beside its own misalignment as delivered."""
    colour = grey(shrunk(np.asarray(cv2.imread(str(path)))))
    image = np.asarray(cv2.imread(str(path).replace("_vi", "_ir"), cv2.IMREAD_GRAYSCALE))
    rng = np.random.default_rng(int(path.stem[:5]))
    move = np.eye(3)
    move[:2] = cv2.getRotationMatrix2D((320, 240), rng.uniform(-3, 3), rng.uniform(0.9, 1.1))
    move[:2, 2] += rng.uniform(-40, 40, 2)
    moved = cv2.warpPerspective(image, move, (image.shape[1], image.shape[0]), borderMode=cv2.BORDER_REPLICATE)
    started = time.process_time()
    own, found = (align([Moment([colour], np.zeros(1))], [grey(shrunk(one))]) for one in (image, moved))
    seconds = f"{(time.process_time() - started) / 2:.0f}"
    if isinstance(found, Refusal):
        return path.stem[:6], "refused", found.reason.split(":")[0], "", seconds
    smaller = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    true = smaller @ np.linalg.inv(move) @ np.linalg.inv(smaller)
    nominal = f"{off_px(found.matrix, true, PAIR_SIZE):.2f} px"
    if isinstance(own, Refusal):
        return path.stem[:6], "own alignment refused", f"{found.uncertainty_px:.2f} px", nominal, seconds
    error = f"{off_px(found.matrix, own.matrix @ true, PAIR_SIZE):.2f} px"
    return path.stem[:6], error, f"{found.uncertainty_px:.2f} px", nominal, seconds


def shrunk(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """At the size of an estimate."""
    return np.asarray(cv2.resize(image, PAIR_SIZE[::-1], interpolation=cv2.INTER_AREA))


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--drives", type=int, default=10)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--mode", choices=("pose", "homography", "lidar"), default="pose")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    console = Console(width=120)
    last = "time off" if arguments.pairs is None else "off, if the pair as delivered were exact"
    table = Table(title=f"{arguments.mode}, at {'240x320' if arguments.pairs else '256x320'}")
    for column in ("scene", "off, median", "stated within", last, "CPU s"):
        table.add_column(column)
    if arguments.pairs is None:
        for seed in range(arguments.drives):
            table.add_row(*(row := drive_row(seed, arguments.mode)))
            console.print(*row, sep=" | ")
    else:
        for path in sorted(arguments.pairs.glob("*_vi.png")):
            table.add_row(*pair_row(path))
    console.print(table)


if __name__ == "__main__":
    main()
