"""From messages to planes: what the segmenter gets is what training gave it."""

from types import SimpleNamespace

import numpy as np
import pytest

from sartm_core.errors import SartmError
from sartm_core.frames import Segmentation
from sartm_core.rig import Rig, load_rig
from sartm_core.sensing import encode
from sartm_core.simulation import CONDITIONS, SimulatedFrame, SimulatedRig
from sartm_ros.inputs import check_installed
from sartm_ros.messages import image_fields
from sartm_ros.pipeline import Pipeline
from sartm_ros.point_cloud import cloud_fields


class Recorder:
    """A segmenter that keeps what it was given."""

    def __init__(self, rig: Rig) -> None:
        self.bundle = SimpleNamespace(rig=rig)
        self.planes: dict[str, np.ndarray] = {}

    def segment(self, planes, size=None) -> Segmentation:
        self.planes = planes
        return Segmentation(np.zeros(size, np.uint8), np.ones(size, np.float32), np.zeros((3, 5), np.float32))


@pytest.fixture(scope="module")
def rig() -> Rig:
    return load_rig("simrobot")


@pytest.fixture(scope="module")
def captured(rig: Rig) -> tuple[SimulatedRig, SimulatedFrame]:
    simulated = SimulatedRig(rig, seed=4)
    return simulated, simulated.capture(2.0, CONDITIONS["day"])


def test_a_cloud_is_projected_and_a_camera_warped_as_in_training(rig: Rig, captured) -> None:
    simulated, frame = captured
    messages = {
        "rgb": SimpleNamespace(**image_fields(frame.raw["rgb"], "rgb8")),
        "thermal": SimpleNamespace(**image_fields(frame.raw["thermal"], "mono16")),
        "lidar": SimpleNamespace(**cloud_fields(frame.raw["lidar"], SimpleNamespace)),
    }
    segmenter = Recorder(rig)
    result = Pipeline(rig, segmenter).run(7, messages)
    assert result.broken == {}
    trained = simulated.registered(frame)
    for name in messages:
        assert np.array_equal(segmenter.planes[name], encode(rig.modality(name), trained[name], rig.dtype)), name
        assert segmenter.planes[name].shape == (3, 256, 320)


def test_a_cloud_without_coordinates_counts_as_absent_and_is_named(rig: Rig, captured) -> None:
    _, frame = captured
    fields = cloud_fields(frame.raw["lidar"], SimpleNamespace)
    fields["fields"] = fields["fields"][:2]
    messages = {
        "rgb": SimpleNamespace(**image_fields(frame.raw["rgb"], "rgb8")), "lidar": SimpleNamespace(**fields),
    }  # fmt: skip
    segmenter = Recorder(rig)
    result = Pipeline(rig, segmenter).run(7, messages)
    assert set(segmenter.planes) == {"rgb"}
    assert "point cloud: has no field 'z'" in result.broken["lidar"]


def test_message_types_that_are_not_installed_are_named(rig: Rig) -> None:
    check_installed(rig.only(["rgb", "thermal", "depth", "lidar"]))
    with pytest.raises(SartmError, match="modality 'event': needs event_camera_msgs/msg/EventPacket, .* apt install"):
        check_installed(rig)
