"""A measurement that holds nothing is named with numbers, whatever kind of sensor it is from."""

import numpy as np
import pytest

from sartm_core.errors import SartmError
from sartm_core.rig import Rig, load_rig, rig_from_dict
from sartm_core.sensing import encode_frame
from sartm_core.sensing.events import EVENT
from sartm_sim.simulation import SimulatedFrame


@pytest.fixture
def rig() -> Rig:
    return load_rig("simrobot")


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("rgb", np.full((256, 320, 3), 17, np.uint8), "every pixel is 17, 17, 17"),
        ("thermal", np.full((192, 256), 30000, np.uint16), "every pixel is 30000"),
        ("thermal", np.full((192, 256), np.nan, np.float32), "no pixel is finite"),
        (
            "depth",
            np.full((240, 320), 65000, np.uint16) + np.arange(320, dtype=np.uint16),
            "its readings are 65 to 65.3 m",
        ),
        ("depth", np.zeros((240, 320), np.uint16), "it has no readings"),
        (
            "lidar",
            np.array([[-5, 0, 0, 1], [-6, 1, 0, 1]], np.float32),
            "points in the reference camera's view: 0 of 2",
        ),
        ("lidar", np.zeros((0, 4), np.float32), "points in the reference camera's view: 0 of 0"),
    ],
)
def test_what_holds_nothing_is_named(rig: Rig, name: str, raw: np.ndarray, expected: str) -> None:
    if name == "depth":
        rig = rig.model_copy(
            update={
                "modalities": tuple(
                    m.model_copy(update={"max_range_m": 40.0}) if m.name == "depth" else m for m in rig.modalities
                )
            }
        )
    encoded = encode_frame(rig, {name: raw})
    assert encoded.faults == {}
    assert expected in encoded.empty[name]
    assert encoded.measured == {}


def test_a_camera_that_looks_elsewhere_is_named() -> None:
    rig = rig_from_dict(
        {
            "name": "two", "reference": "rgb", "classes": [{"name": "road", "color": [1, 2, 3]}],
            "modalities": {
                "rgb": {"kind": "rgb", "size": [64, 96], "topic": "/rgb"},
                "thermal": {
                    "kind": "thermal", "size": [64, 96], "topic": "/t",
                    "homography": [[1, 0, 5000], [0, 1, 0], [0, 0, 1]],
                },
            },
        },
        "test",
    )  # fmt: skip
    thermal = np.arange(64 * 96, dtype=np.uint16).reshape(64, 96)
    encoded = encode_frame(rig, {"thermal": thermal})
    assert encoded.empty == {"thermal": "nothing of it lies in the reference camera's view"}


def test_every_simulated_measurement_holds_something(day_frame: SimulatedFrame, sim_rig: Rig) -> None:
    encoded = encode_frame(sim_rig, day_frame.raw)
    assert encoded.empty == {}
    assert encoded.measured.keys() == encoded.planes.keys() == day_frame.raw.keys()


def test_an_event_camera_that_sees_no_change_is_present(rig: Rig) -> None:
    encoded = encode_frame(rig, {"event": np.zeros(0, EVENT)})
    assert (encoded.empty, encoded.faults) == ({}, {})
    assert not encoded.measured["event"].any()


def thermal_rig(**fields: object) -> Rig:
    return rig_from_dict(
        {
            "name": "t", "reference": "thermal", "classes": [{"name": "road", "color": [1, 2, 3]}],
            "modalities": {
                "thermal": {"kind": "thermal", "size": [8, 8], "topic": "/t", "encoding": "kelvin", **fields}
            },
        },
        "test",
    )  # fmt: skip


CELSIUS = np.linspace(-12.5, 41.0, 64).reshape(8, 8)


@pytest.mark.parametrize(
    ("fields", "pixels"),
    [
        (
            {"kelvin_per_count": 0.1, "kelvin_at_zero": 173.15},
            np.round(CELSIUS * 10 + 1000).astype(np.uint16),
        ),  # Optris
        ({"kelvin_at_zero": 273.15}, CELSIUS.astype(np.float32)),
        ({}, (CELSIUS + 273.15).astype(np.float32)),
        ({}, np.round((CELSIUS + 273.15) * 100).astype(np.uint16)),  # FLIR, TLinear
        ({"kelvin_per_count": 0.04}, np.round((CELSIUS + 273.15) / 0.04).astype(np.uint16)),
    ],
)
def test_temperatures_of_several_drivers(fields: dict, pixels: np.ndarray) -> None:
    kelvin = encode_frame(thermal_rig(**fields), {"thermal": pixels}).planes["thermal"]
    np.testing.assert_allclose(kelvin[0], CELSIUS + 273.15, atol=0.06)


@pytest.mark.parametrize(
    "pixels",
    [CELSIUS.astype(np.float32), np.round(CELSIUS * 10 + 1000).astype(np.uint16), np.full((8, 8), 65000.0) + CELSIUS],
)
def test_temperatures_that_no_scene_has_are_refused(pixels: np.ndarray) -> None:
    fault = encode_frame(thermal_rig(), {"thermal": pixels}).faults["thermal"]
    assert "K, which no scene has. Set kelvin_per_count and kelvin_at_zero (273.15 for degrees Celsius)" in fault


@pytest.mark.parametrize("encoding", ["percentile", "image"])
def test_false_colours_are_refused(encoding: str, rng: np.random.Generator) -> None:
    import cv2

    grey = cv2.GaussianBlur(rng.integers(0, 256, (64, 64), dtype=np.uint8), (9, 9), 3)
    palette = cv2.applyColorMap(cv2.normalize(grey, None, 0, 255, cv2.NORM_MINMAX), cv2.COLORMAP_INFERNO)
    rig = thermal_rig(encoding=encoding)
    with pytest.raises(SartmError, match="false colours, whose order of temperatures is unknown"):
        rig.modality("thermal").encode(palette)
    decoded = cv2.imdecode(cv2.imencode(".jpg", np.repeat(grey[..., None], 3, axis=2))[1], cv2.IMREAD_UNCHANGED)
    assert rig.modality("thermal").encode(decoded).shape == (3, 64, 64)
