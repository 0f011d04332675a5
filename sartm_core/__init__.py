"""Multi-modal semantic segmentation that keeps working when sensors don't. Knows no ROS.

>>> import numpy as np
>>> import sartm_core as sartm
>>> model = sartm.load("any_sensor_simrig5")
>>> rng = np.random.default_rng(0)
>>> rgb, thermal = rng.integers(0, 256, (480, 640, 3), np.uint8), rng.integers(29000, 30000, (240, 320), np.uint16)
>>> result = model({"rgb": rgb, "thermal": thermal})
>>> result.mask.shape, sorted(result.weights)
((480, 640), ['depth', 'event', 'lidar', 'rgb', 'thermal'])
"""

from typing import TYPE_CHECKING, Any

from sartm_core.errors import SartmError
from sartm_core.rig import Rig, load_rig
from sartm_core.segmentation import Segmentation
from sartm_core.version import __version__

if TYPE_CHECKING:
    from sartm_core.predictor import Model, Result, load

__all__ = ["Model", "Result", "Rig", "SartmError", "Segmentation", "__version__", "load", "load_rig"]


def __getattr__(name: str) -> Any:
    """`load`, `Model` and `Result` bring OpenCV: only once they are used."""
    if name in ("Model", "Result", "load"):
        from sartm_core import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module 'sartm_core' has no attribute '{name}'")
