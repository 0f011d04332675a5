"""The kinds of sensors: one file each, with the fields of the rig file, the encoding, the picture and the flags."""

from sartm_core.kinds.depth import DepthModality
from sartm_core.kinds.event import EventModality
from sartm_core.kinds.lidar import LidarModality
from sartm_core.kinds.nir import NirModality
from sartm_core.kinds.polarization import PolarizationModality
from sartm_core.kinds.rgb import RgbModality
from sartm_core.kinds.stream import (
    COMPRESSED_IMAGE,
    EVENT_ARRAY,
    EVENT_PACKET,
    IMAGE,
    POINT_CLOUD,
    Camera,
    Planes,
    Size,
    Stream,
)
from sartm_core.kinds.thermal import ThermalModality

Modality = (
    RgbModality | ThermalModality | DepthModality | LidarModality | EventModality | NirModality | PolarizationModality
)

__all__ = [
    "COMPRESSED_IMAGE",
    "EVENT_ARRAY",
    "EVENT_PACKET",
    "IMAGE",
    "POINT_CLOUD",
    "Camera",
    "DepthModality",
    "EventModality",
    "LidarModality",
    "Modality",
    "NirModality",
    "Planes",
    "PolarizationModality",
    "RgbModality",
    "Size",
    "Stream",
    "ThermalModality",
]
