"""The node's model: what can be checked before it is loaded, loading it, and exchanging it while the node runs."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.task import Future

from sartm_core.deploy import Segmenter, warm_up
from sartm_core.deploy.bundle import check_serves, read_description
from sartm_core.deploy.smoothing import smoother_for
from sartm_core.errors import SartmError
from sartm_core.resources import resolve_bundle
from sartm_core.rig import Rig, load_rig
from sartm_ros.decoding.calibration import Calibrator
from sartm_ros.decoding.message_types import message_class
from sartm_ros.filter_synchronizer import required_library
from sartm_ros.node.inputs import check_installed, installed_part
from sartm_ros.node.parameters import Settings

Load = Callable[..., Segmenter]
"""Makes a segmenter of the parameters bundle, backend, device and threads, as `load_segmenter` does."""


def checked_rig(settings: Settings, warn: Callable[[str], Any]) -> tuple[Rig, Rig]:
    """The robot's rig: the one of the settings, or what the bundle's has and is installed here; and the bundle's own.

    Everything is checked that needs no model, which may take minutes to load.

    Raises:
        SartmError: no such rig or bundle, they do not fit each other or the settings, or a package is not installed.
    """
    given = load_rig(settings.rig) if settings.rig else None
    described = read_description(resolve_bundle(settings.bundle))
    smoother_for(described, settings.smoothing_s)
    served = described.rig
    rig = installed_part(served, warn) if given is None else given
    check_serves(served, rig)
    check_installed(rig)
    if Calibrator(rig).wants_transforms and message_class("tf2_msgs/msg/TFMessage") is None:
        raise SartmError("calibration: ros needs tf2_msgs, which is not installed: apt install ros-$ROS_DISTRO-tf2-ros")
    if settings.sync_policy != "anchor":
        required_library(settings.sync_policy)
    return rig, served


def load_warm(load: Load, settings: Settings, rig: Rig, say: Callable[[str], Any]) -> Segmenter:
    """Loads the bundle and warms it up for the sensors of a rig: the first answer may take seconds.

    Raises:
        SartmError: as `load_segmenter`.
    """
    started = time.perf_counter()
    segmenter = load(settings.bundle, settings.backend, settings.device, settings.threads, say=say)
    loaded = time.perf_counter()
    warm_up(segmenter, rig.names)
    say(
        f"bundle '{segmenter.bundle.name}', {segmenter.backend}, is loaded ({loaded - started:.1f} s) and warm "
        f"({time.perf_counter() - loaded:.1f} s)"
    )
    return segmenter


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What a thread made: a segmenter, or why there is none."""

    segmenter: Segmenter | None
    error: Exception | None


class Reloader:
    """Loads a model in a thread of its own, while another one segments.

    Args:
        node: whose executor waits for the thread.
        load: gives a warm segmenter for a rig.
    """

    def __init__(self, node: Node, load: Callable[[Rig], Segmenter]) -> None:
        self._node, self._load = node, load
        self._thread: threading.Thread | None = None

    def is_loading(self) -> bool:
        """Whether the thread is at work."""
        return self._thread is not None and self._thread.is_alive()

    async def load(self, rig: Rig) -> Segmenter:
        """To be awaited in a callback of the node.

        Raises:
            SartmError: another one is being loaded; or whatever loading raises.
        """
        if self.is_loading():
            raise SartmError("another one is being loaded. Call again when that has ended.")
        done: Future = Future(executor=self._node.executor)

        def work() -> None:
            try:
                done.set_result(_Loaded(self._load(rig), None))
            except Exception as error:  # told by whoever waits
                done.set_result(_Loaded(None, error))

        self._thread = threading.Thread(target=work, name="sartm-reload", daemon=True)
        self._thread.start()
        loaded: _Loaded = await done
        if loaded.segmenter is None:
            assert loaded.error is not None
            raise loaded.error
        return loaded.segmenter
