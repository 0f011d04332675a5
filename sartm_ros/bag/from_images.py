"""`sartm bag make`: folders of image files into a rosbag2 recording, as the rig would have recorded them."""

import re
from pathlib import Path
from typing import Any

import cv2
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.files import natural_key
from sartm_core.rig import Rig
from sartm_ros.bag.types import bag_message
from sartm_ros.bag.writer import BagWriter
from sartm_ros.decoding.images import header, image_message

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
_STAMP = re.compile(r"(?<!\d)(\d{9,10})\.(\d{1,9})(?!\d)")
"""Seconds since 1970 with a fraction, of which some tools leave out the last zeros."""
FIRST_STAMP_NS = 1_000_000_000_000
"""A fixed start: the same files give the same recording."""


def find_images(source: str) -> list[Path]:
    """The image files of a folder, or those that a pattern such as `night/*_ir.png` names.

    Sorted by name, numbers in it by their value: 2.png comes before 10.png, and 1700000000.25.png before
    1700000000.5.png.

    Raises:
        SartmError: there are none.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        files = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
    else:
        files = list(path.parent.glob(path.name))
    files.sort(key=lambda file: (_order(file.name), file.name))
    if not files:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise SartmError(f"{source}: no image files found. Give a folder of {kinds}, or a quoted pattern.")
    return files


def _order(name: str) -> list[tuple[int, float, str]]:
    """Natural, with stamps in seconds as decimal fractions."""
    return natural_key(_STAMP.sub(lambda found: f"{found[1]}.{found[2]:0<9}", name))


def make_bag(rig: Rig, sources: dict[str, str], out: Path, rate_hz: float) -> int:
    """Writes the recording.

    The files of each modality, sorted by name, are paired in order: the first of each form one instant.

    Args:
        rig: gives topic and kind of each modality.
        sources: modality -> folder or pattern.
        out: the rosbag2 folder.
        rate_hz: instants per second.

    Returns:
        Number of instants.

    Raises:
        SartmError: a modality that the rig lacks, different numbers of files, an unreadable file.
    """
    files = {name: find_images(source) for name, source in sources.items()}
    counts = {name: len(paths) for name, paths in files.items()}
    if len(set(counts.values())) != 1:
        listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise SartmError(
            f"expected the same number of files for every modality, got {listed}. Files are paired in order."
        )
    with BagWriter(out) as writer:
        for name in sources:
            writer.add_topic(rig.modality(name).topic, "sensor_msgs/msg/Image")
        for index, instant in enumerate(zip(*files.values(), strict=True)):
            stamp = FIRST_STAMP_NS + round(index / rate_hz * 1e9)
            for name, path in zip(files, instant, strict=True):
                message = _image_message(_read(path), stamp, f"{name}_optical")
                writer.write_message(rig.modality(name).topic, stamp, message)
    return index + 1


def _read(path: Path) -> NDArray[Any]:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise SartmError(f"{path}: is not a readable image. Remove it from the folder, or convert it to PNG.")
    return image


def _image_message(image: NDArray[Any], stamp: int, frame_id: str) -> Any:
    """A sensor_msgs/Image; OpenCV reads colours as blue, green, red."""
    encodings = {("uint8", 1): "mono8", ("uint16", 1): "mono16", ("uint8", 3): "bgr8", ("uint8", 4): "bgra8"}
    channels = 1 if image.ndim == 2 else image.shape[2]
    encoding = encodings.get((str(image.dtype), channels))
    if encoding is None:
        raise SartmError(f"{channels} channel(s) of {image.dtype}: expected 8 or 16 bit grey, or 8 bit colour.")
    return image_message(bag_message, image, encoding, header(bag_message, stamp, frame_id))
