"""Any set of messages, however wrong: what is broken counts as absent, and the pipeline goes on with the others."""

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fuzzing import (
    STAMP,
    Stub,
    any_clouds,
    any_compressed,
    any_images,
    any_packets,
    compressed_depth,
    fuzz,
    image_message,
    run,
    sides,
    small_rig,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sartm_core.rig import Rig
from sartm_ros.pipeline import Pipeline

pytestmark = pytest.mark.slow

SOAK_MESSAGES = 100_000

CAMERA = {"intrinsics": {"fx": 25.0, "fy": 25.0, "cx": 16.0, "cy": 12.0}}
OTHER_CAMERA = {"size": [12, 16], "intrinsics": {"fx": 12.0, "fy": 12.0, "cx": 8.0, "cy": 6.0}, "plane_m": 10.0}
COMPRESSED = {"message": "sensor_msgs/msg/CompressedImage"}
RIGS = {
    "registered": small_rig({
        "rgb": {"kind": "rgb", **CAMERA}, "thermal": {"kind": "thermal"}, "depth": {"kind": "depth"},
        "lidar": {"kind": "lidar", "encoding": "projected"}, "event": {"kind": "event", "encoding": "counts"},
    }),
    "warped": small_rig({
        "rgb": {"kind": "rgb", **CAMERA}, "thermal": {"kind": "thermal", **OTHER_CAMERA, "depth_from": "depth"},
        "depth": {"kind": "depth", **OTHER_CAMERA, "depth_from": "depth"},
        "nir": {"kind": "nir", "encoding": "counts", "homography": [[1, 0, 2], [0, 1, 1], [0, 0, 1]]},
        "event": {"kind": "event", "encoding": "counts", **OTHER_CAMERA, "depth_from": "depth"},
        "polarization": {"kind": "polarization", **OTHER_CAMERA},
    }),
    "eight bit": small_rig({
        "rgb": {"kind": "rgb", **COMPRESSED}, "thermal": {"kind": "thermal", "encoding": "image", **OTHER_CAMERA},
        "depth": {"kind": "depth", "encoding": "image"}, "lidar": {"kind": "lidar", "encoding": "image"},
        "event": {"kind": "event", "encoding": "image"}, "nir": {"kind": "nir", **COMPRESSED},
    }),
    "physical": small_rig({
        "thermal": {"kind": "thermal", "encoding": "kelvin", **CAMERA},
        "window": {"kind": "thermal", "encoding": "window", **OTHER_CAMERA},
        "depth": {"kind": "depth", **COMPRESSED, **OTHER_CAMERA}, "nir": {"kind": "nir", "encoding": "counts"},
        "rendered": {"kind": "lidar", "encoding": "projected", "message": "sensor_msgs/msg/Image"},
    }),
}  # fmt: skip


@st.composite
def any_sets(draw: Any, rig: Rig) -> dict[str, SimpleNamespace]:
    messages = {}
    for modality in rig.modalities:
        if not draw(st.integers(0, 5)):
            continue  # absent
        sizes = st.just(modality.size) | st.just(modality.size) | st.tuples(sides, sides)
        kinds = {
            "sensor_msgs/msg/Image": any_images(sizes),
            "sensor_msgs/msg/CompressedImage": any_compressed(sizes),
            "sensor_msgs/msg/PointCloud2": any_clouds(),
            "event_camera_msgs/msg/EventPacket": any_packets(modality.size),
        }
        messages[modality.name] = draw(kinds[modality.message])
    return messages


@pytest.mark.parametrize("name", RIGS)
@fuzz
@given(data=st.data())
def test_any_set_goes_through_the_pipeline(name: str, data: Any) -> None:
    run(Pipeline(RIGS[name], Stub(RIGS[name])), data.draw(any_sets(RIGS[name])))


@pytest.mark.parametrize("name", RIGS)
@fuzz
@given(data=st.data())
def test_a_broken_message_counts_as_absent(name: str, data: Any) -> None:
    """What the others become is what they become without it."""
    messages = data.draw(any_sets(RIGS[name]))
    try:
        broken = run(Pipeline(RIGS[name], Stub(RIGS[name])), messages)
    except Exception:
        assume(False)  # the test above owns that
    assume(broken.frames.broken)
    healthy = {modality: message for modality, message in messages.items() if modality not in broken.frames.broken}
    alone = run(Pipeline(RIGS[name], Stub(RIGS[name])), healthy)
    assert alone.frames.broken == {}
    for modality in broken.frames.broken:
        assert modality in run(Pipeline(RIGS[name], Stub(RIGS[name])), {modality: messages[modality]}).frames.broken
    assert broken.frames.empty == alone.frames.empty
    assert broken.frames.planes.keys() == alone.frames.planes.keys() == healthy.keys() - alone.frames.empty.keys()
    for modality, planes in alone.frames.planes.items():
        np.testing.assert_array_equal(broken.frames.planes[modality], planes)


def test_broken_depth_breaks_nothing_but_depth() -> None:
    rig = RIGS["warped"]
    thermal = image_message(np.arange(192, dtype=np.uint16).reshape(12, 16), "mono16")
    for depth in (np.ones((12, 16), np.uint8), np.ones((7, 5), np.uint16)):
        encoding = "mono8" if depth.dtype == np.uint8 else "16UC1"
        result = run(Pipeline(rig, Stub(rig)), {"thermal": thermal, "depth": image_message(depth, encoding)})
        assert set(result.frames.broken) == {"depth"}
        alone = run(Pipeline(rig, Stub(rig)), {"thermal": thermal})
        np.testing.assert_array_equal(result.frames.planes["thermal"], alone.frames.planes["thermal"])


@pytest.mark.parametrize(
    ("rig", "modality", "encoding", "kind"),
    [
        ("warped", "polarization", "32SC1", "i4"),
        ("warped", "polarization", "8SC1", "i1"),
        ("warped", "thermal", "32SC1", "i4"),
        ("warped", "nir", "8SC1", "i1"),
        ("physical", "window", "64FC1", "f8"),
    ],
)
def test_pixels_that_opencv_cannot_warp_break_only_their_modality(
    rig: str, modality: str, encoding: str, kind: str
) -> None:
    size = RIGS[rig].modality(modality).size
    run(Pipeline(RIGS[rig], Stub(RIGS[rig])), {modality: image_message(np.ones(size, kind), encoding)})


def test_pixels_without_a_temperature_are_finite() -> None:
    frame = np.full((24, 32), 300, np.float32)
    frame[0, :3] = np.nan, np.inf, -np.inf
    run(Pipeline(RIGS["physical"], Stub(RIGS["physical"])), {"thermal": image_message(frame, "32FC1")})


@pytest.mark.parametrize("width", [1, 2, 3, 4, 32])
def test_an_image_of_one_channel_is_no_point_cloud(width: int) -> None:
    """`encoding: projected` from a node that projects already, and sends the range only."""
    rig = RIGS["physical"]
    ones = image_message(np.ones((24, width), np.float32), "32FC1")
    result = run(Pipeline(rig, Stub(rig)), {"rendered": ones})
    assert "rendered" in result.frames.broken or result.frames.planes["rendered"].all()


HUGE = np.array([[1e300, 1, 1], [1, 1, 1]])
BLIND = np.full((24, 32), np.nan, np.float32)
DARK = np.where(np.arange(768).reshape(24, 32) % 2 > 0, np.inf, -np.inf).astype(np.float32)


@pytest.mark.parametrize(
    ("rig", "modality", "message"),
    [
        ("registered", "thermal", image_message(BLIND, "32FC1")),
        ("registered", "thermal", image_message(DARK, "32FC1")),
        ("registered", "depth", image_message(np.full((24, 32), 1e300), "64FC1")),
        (
            "registered",
            "lidar",
            SimpleNamespace(
                height=1, width=2, point_step=24, row_step=48, data=HUGE.tobytes(), is_bigendian=False,
                fields=[SimpleNamespace(name=n, offset=8 * i, datatype=8, count=1) for i, n in enumerate("xyz")],
            ),
        ),
        ("physical", "depth", compressed_depth(np.full((12, 16), 3, np.uint16), "32FC1", 0.0, 3.0)),
        ("physical", "depth", compressed_depth(np.full((12, 16), 1, np.uint16), "32FC1", 3e38, 0.9999999)),
    ],
    ids=["all NaN", "all infinite", "doubles", "cloud of doubles", "0 / 0", "too large"],
)  # fmt: skip
def test_no_message_makes_numpy_warn(rig: str, modality: str, message: SimpleNamespace) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Pipeline(RIGS[rig], Stub(RIGS[rig])).run(STAMP, {modality: message})


@pytest.mark.soak
@pytest.mark.parametrize("name", RIGS)
def test_a_hundred_thousand_messages(name: str) -> None:
    """One pipeline takes them all: a message leaves nothing behind that breaks the next."""
    rig = RIGS[name]
    pipeline = Pipeline(rig, Stub(rig))
    seen = 0

    @settings(fuzz, max_examples=SOAK_MESSAGES // (4 * len(RIGS)))  # sets of four messages and more on average
    @given(messages=any_sets(rig))
    def feed(messages: dict[str, SimpleNamespace]) -> None:
        nonlocal seen
        run(pipeline, messages)
        seen += len(messages)

    feed()
    assert seen >= 0.9 * SOAK_MESSAGES / len(RIGS)
