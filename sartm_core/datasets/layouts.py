"""Detects which data set a folder holds."""

from pathlib import Path

from sartm_core.datasets.dataset import DataSet
from sartm_core.datasets.deliver import Deliver
from sartm_core.datasets.fmb import FMB
from sartm_core.datasets.frame_folder import FrameFolder
from sartm_core.datasets.mcubes import MCubeS
from sartm_core.datasets.mfnet import MFNet
from sartm_core.datasets.muses import Muses
from sartm_core.datasets.pst900 import PST900
from sartm_core.errors import SartmError

_PUBLISHED = (MFNet, PST900, FMB, Deliver, Muses, MCubeS)
_ROSBAGS = (".mcap", ".db3")
_MARKS = {
    "frame folder": "manifest.json",
    "mfnet": "images (or rgb and ther) and labels",
    "pst900": "train/rgb and train/thermal",
    "fmb": "train/Visible",
    "deliver": "img and semantic",
    "muses": "frame_camera",
    "mcubes": "polL_color",
}


def open_data(root: Path) -> DataSet:
    """Opens the data set in a folder: a frame folder, or one of the six published layouts.

    Raises:
        SartmError: none of them; lists what each is recognised by.
    """
    if root.is_file() and root.suffix in _ROSBAGS:
        raise _rosbag(root)
    if not root.is_dir():
        raise SartmError(f"{root}: no such folder. Give the root of a data set.")
    if (root / "manifest.json").is_file():
        return FrameFolder(root)
    for layout in _PUBLISHED:
        if layout.recognises(root):
            return layout(root)
    if any(path.suffix in _ROSBAGS for path in root.iterdir()):
        raise _rosbag(root)
    marks = "; ".join(f"{name}: {mark}" for name, mark in _MARKS.items())
    inside = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
    raise SartmError(
        f"{root}: is not a known data set; it holds {inside}. A data set's root is recognised by its folders "
        f"({marks}). Give the folder that holds them."
    )


def _rosbag(path: Path) -> SartmError:
    return SartmError(
        f"{path}: is a rosbag. Extract a data set from it: sartm bag extract {path} --rig RIG --out FOLDER."
    )
