"""From messages to planes: what the segmenter gets is what training gave it."""

from types import SimpleNamespace

import numpy as np
import pytest

from sartm_core.deploy.bundle import Bundle, read_description
from sartm_core.deploy.host import HostSide
from sartm_core.errors import SartmError
from sartm_core.resources import resolve_bundle
from sartm_core.rig import Rig, load_rig
from sartm_core.segmentation import Segmentation
from sartm_core.sensing import encode
from sartm_core.sensing.evt3 import Evt3Decoder
from sartm_ros.bag.types import bag_message
from sartm_ros.decoding.images import image_fields, stamp_ns
from sartm_ros.decoding.point_clouds import cloud_fields
from sartm_ros.node.inputs import check_installed
from sartm_ros.pipeline import Pipeline
from sartm_sim.messages import sensor_messages
from sartm_sim.record import START_NS
from sartm_sim.simulation import CONDITIONS, SimulatedFrame, SimulatedRig


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


def test_what_drivers_send_becomes_what_training_saw(rig: Rig, captured) -> None:
    """Image, PointCloud2 and event packets, each from its own place on the robot."""
    simulated, frame = captured
    stamp = START_NS + 2_000_000_000
    segmenter = Recorder(rig)
    pipeline = Pipeline(rig, segmenter)
    newest = {}
    for modality in rig.modalities:
        raw = frame.raw[modality.name]
        for _, message in sensor_messages(bag_message, rig, modality, raw, stamp, START_NS):
            if modality.name == "event":
                pipeline.processor.gather("event", [message], [stamp_ns(message)])
            newest[modality.name] = message
    result = pipeline.run(stamp, newest)
    assert result.frames.broken == {}
    trained = simulated.registered(frame)
    assert set(segmenter.planes) == {"rgb", "thermal", "depth", "lidar", "event"}
    for name, planes in segmenter.planes.items():
        assert np.array_equal(planes, encode(rig.modality(name), trained[name], rig.dtype)), name
        assert planes.shape == (3, 256, 320)
    assert segmenter.planes["event"].any()


def test_a_modalitys_offset_shifts_its_window_of_events(rig: Rig, captured) -> None:
    """The synchroniser added 5 s to the stamps of an event camera whose clock is behind."""
    simulated, frame = captured
    stamp, late_ns = START_NS + 2_000_000_000, 5_000_000_000
    segmenter = Recorder(rig)
    pipeline = Pipeline(rig, segmenter)
    packets = sensor_messages(bag_message, rig, rig.modality("event"), frame.raw["event"], stamp, START_NS)
    for _, message in packets:
        pipeline.processor.gather("event", [message], [stamp_ns(message)])
    pipeline.run(stamp + late_ns, {"event": packets[-1][1]}, offsets_s={"event": 5.0})
    wanted = encode(rig.modality("event"), simulated.registered(frame)["event"], rig.dtype)
    assert np.array_equal(segmenter.planes["event"], wanted)


def test_packets_of_events_are_counted_even_from_before_the_drive(rig: Rig, captured) -> None:
    """The first events of a live drive are of the time before it; `seq` is unsigned and counts packets."""
    _, frame = captured
    events = frame.raw["event"].copy()
    events["t"] -= events["t"][-1]
    first = sensor_messages(bag_message, rig, rig.modality("event"), events, START_NS, START_NS)
    then = sensor_messages(bag_message, rig, rig.modality("event"), events, START_NS, START_NS, sent=len(first))
    assert len(first) > 1
    assert [message.seq for _, message in first + then] == list(range(2 * len(first)))
    decoder = Evt3Decoder()
    assert sum(len(decoder.decode([message.events]).sites) for _, message in first) == len(events)


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
    assert "point cloud has no field 'z'" in result.frames.broken["lidar"]


def test_message_types_that_are_not_installed_are_named(rig: Rig) -> None:
    check_installed(rig.only(["rgb", "thermal", "depth", "lidar"]))
    with pytest.raises(SartmError, match="modality 'event': needs event_camera_msgs/msg/EventPacket, .* apt install"):
        check_installed(rig)


class Wavering(HostSide):
    """On the left, of two classes another one leads by little in every frame."""

    backend = "wavering"

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle, [range(len(bundle.rig.names))])
        self.frames = 0

    def run_network(self, batch: np.ndarray, rows: list[int]) -> dict[str, np.ndarray]:
        self.frames += 1
        scores = np.zeros(
            (len(self.bundle.rig.classes), self.bundle.size[0] // 4, self.bundle.size[1] // 4), np.float32
        )
        scores[3] = 5
        scores[4, :, :2] = 5.5 if self.frames % 2 else 4.5
        return {"scores": scores, "routing": np.full((3, len(self.bundle.rig.names)), 0.2, np.float32)}

    def segment(self, planes: dict, size: tuple[int, int] | None = None) -> Segmentation:  # type: ignore[override]
        return self.finish(planes, size, self.run_network(*self.prepare(planes)))


def test_masks_that_waver_stay_with_smoothing_alone() -> None:
    bundle = read_description(resolve_bundle("any_sensor_simrig5"))
    bundle = bundle.model_copy(update={"size": (32, 32)})
    planes = {"rgb": np.full((3, 40, 40), 90, bundle.rig.dtype)}

    def classes(smoothing_s: float) -> list[int]:
        pipeline = Pipeline(bundle.rig, Wavering(bundle), smoothing_s)
        answers = [pipeline.segment(planes, 10**18 + number * 10**8) for number in range(4)]
        return [int(answer.mask[20, 2]) for answer in answers if answer is not None]

    assert classes(0.0) == [4, 3, 4, 3]
    assert classes(0.2) == [4, 4, 4, 4]
