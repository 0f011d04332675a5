from typing import Any

import numpy as np
import pytest

from sartm_core.deploy.bundle import check_inputs
from sartm_core.errors import SartmError
from sartm_core.rig import Modality, rig_from_dict
from sartm_core.sensing import encode
from sartm_core.sensing.fit import Fit


def modality(kind: str, **fields: Any) -> Modality:
    content = {
        "name": "test",
        "reference": "sensor",
        "modalities": {"sensor": {"kind": kind, "size": [4, 6], "topic": "/t", **fields}},
        "classes": [{"name": "a", "color": [0, 0, 0]}],
    }
    return rig_from_dict(content, "test").modalities[0]


def test_rgb_becomes_planes(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (4, 6, 3), np.uint8)
    planes = encode(modality("rgb"), image)
    assert planes.dtype == np.uint8
    assert planes.flags.c_contiguous
    np.testing.assert_array_equal(planes.transpose(1, 2, 0), image)
    as_float = encode(modality("rgb"), image, np.dtype(np.float32))
    assert as_float.dtype == np.float32
    np.testing.assert_array_equal(as_float, planes)


def test_grey_is_repeated_and_alpha_is_dropped(rng: np.random.Generator) -> None:
    grey = rng.integers(0, 256, (4, 6), np.uint8)
    np.testing.assert_array_equal(encode(modality("nir"), grey), np.stack([grey] * 3))
    rgba = rng.integers(0, 256, (4, 6, 4), np.uint8)
    np.testing.assert_array_equal(encode(modality("rgb"), rgba), rgba[..., :3].transpose(2, 0, 1))


class TestThermal:
    def test_percentile_takes_any_depth_and_keeps_order(self, rng: np.random.Generator) -> None:
        counts = rng.integers(28000, 31000, (64, 64)).astype(np.uint16)
        planes = encode(modality("thermal", encoding="percentile"), counts)
        assert planes.dtype == np.uint8
        assert planes.min() == 0
        assert planes.max() == 255
        order = np.argsort(counts.ravel(), kind="stable")
        assert (np.diff(planes[0].ravel()[order].astype(int)) >= 0).all()

    def test_percentile_is_not_stretched_by_the_border_of_a_warped_image(self, rng: np.random.Generator) -> None:
        counts = rng.integers(29000, 30000, (64, 64)).astype(np.uint16)
        inside = encode(modality("thermal", encoding="percentile"), counts)[0]
        bordered = np.pad(counts, ((0, 0), (8, 24)))  # both multiples of the step of sampling
        planes = encode(modality("thermal", encoding="percentile"), bordered)[0]
        np.testing.assert_array_equal(planes[:, 8:72], inside)
        assert planes[:, :8].max() == 0

    def test_percentile_of_a_uniform_image_is_finite(self) -> None:
        assert encode(modality("thermal"), np.full((8, 8), 30000, np.uint16)).max() == 0

    def test_kelvin(self) -> None:
        planes = encode(modality("thermal", encoding="kelvin"), np.full((4, 6), 29315, np.uint16))
        assert planes.dtype == np.float32
        np.testing.assert_allclose(planes, 293.15, rtol=1e-6)

    def test_window(self) -> None:
        thermal = modality("thermal", encoding="window", window_k=[273.15, 323.15])
        image = np.array([[27315, 29815, 32315, 40000]], np.uint16)
        np.testing.assert_array_equal(encode(thermal, image)[0], [[0, 127, 255, 255]])

    def test_temperatures_from_eight_bit_are_refused(self) -> None:
        with pytest.raises(SartmError, match="expects radiometric pixels"):
            encode(modality("thermal", encoding="kelvin"), np.zeros((4, 6), np.uint8))


class TestDepth:
    def test_millimetres_and_metres_agree(self) -> None:
        depth = modality("depth")
        millimetres = np.array([[0, 500, 79999, 65535]], np.uint32).astype(np.uint16)
        metres = millimetres.astype(np.float32) / 1000
        metres[0, 0] = np.nan
        np.testing.assert_allclose(encode(depth, millimetres), encode(depth, metres), rtol=1e-6)

    def test_not_measured_is_zero(self) -> None:
        raw = np.array([[np.nan, np.inf, -np.inf, -1.0, 80.5, 80.0]], np.float32)
        np.testing.assert_array_equal(encode(modality("depth"), raw)[0], [[0, 0, 0, 0, 0, 80.0]])

    def test_rendered_depth_is_refused_with_the_remedy(self) -> None:
        with pytest.raises(SartmError, match="encoding: image"):
            encode(modality("depth"), np.zeros((4, 6, 3), np.uint8))


def test_event_counts_keep_large_numbers() -> None:
    counts = np.zeros((4, 6, 2), np.uint16)
    counts[1, 2] = (300, 7)  # MUSES' own uint8 rendering would wrap
    planes = encode(modality("event", encoding="counts"), counts)
    assert planes[:, 1, 2].tolist() == [300.0, 7.0, 0.0]


def test_not_a_number_never_reaches_the_network() -> None:
    projected = np.full((4, 6, 3), np.nan, np.float32)
    assert np.isfinite(encode(modality("lidar"), projected)).all()


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        ("rgb", np.zeros((4, 6, 3), np.uint16), "expected 8-bit pixels"),
        ("rgb", np.zeros((4, 6, 5), np.uint8), "expected 1 to 4 channels, got 5"),
        ("rgb", np.zeros(7, np.uint8), r"got an array of shape \(7,\)"),
        ("rgb", np.zeros((0, 6, 3), np.uint8), "got an array of shape"),
    ],
)
def test_wrong_arrays_are_named(kind: str, raw: np.ndarray, expected: str) -> None:
    with pytest.raises(SartmError, match=expected):
        encode(modality(kind), raw)


class TestFit:
    @pytest.mark.parametrize("mode", ["stretch", "letterbox", "crop"])
    @pytest.mark.parametrize("camera", [(480, 640), (256, 320), (100, 300), (300, 100)])
    def test_a_mask_returns_to_where_it_came_from(self, mode: Any, camera: tuple[int, int]) -> None:
        """Quadrants painted in the camera image must lie in the same quadrants after the way there and back."""
        image = np.zeros((3, *camera), np.uint8)
        height, width = camera
        for index, (rows, columns) in enumerate(
            [(slice(0, height // 2), slice(0, width // 2)), (slice(height // 2, None), slice(width // 2, None))]
        ):
            image[:, rows, columns] = index + 1
        fit = Fit(mode, camera, (256, 320))
        there = fit.planes(image, sparse=True)  # nearest neighbour: values survive
        assert there.shape == (3, 256, 320)
        back = fit.mask_back(there[0])
        assert back.shape == camera
        seen = back != 255
        assert (back == image[0])[seen].mean() > 0.98
        if mode != "crop":
            assert seen.all()

    def test_sparse_kinds_are_not_blended(self) -> None:
        depth = np.zeros((3, 64, 64), np.float32)
        depth[:, ::2, ::2] = 10.0
        assert set(np.unique(Fit("stretch", (64, 64), (96, 96)).planes(depth, sparse=True))) == {0.0, 10.0}
        assert len(np.unique(Fit("stretch", (64, 64), (96, 96)).planes(depth, sparse=False))) > 2

    def test_letterbox_keeps_the_aspect(self) -> None:
        fitted = Fit("letterbox", (100, 300), (256, 320)).planes(np.full((3, 100, 300), 9, np.uint8), sparse=False)
        rows = np.flatnonzero(fitted[0].any(axis=1))
        assert len(rows) == round(100 * 320 / 300)
        assert (rows[0] + rows[-1]) / 2 == pytest.approx(127.5, abs=1)


class TestEnlarged:
    """Images that `load_lidar_projection` and `load_event_camera_projection` of timbroed/MUSES @ad09c1b enlarge."""

    def test_lidar_as_by_the_sdk(self) -> None:
        points = np.zeros((4, 5, 3), np.float32)  # range, intensity, height, of four points of which two pairs meet
        points[0, 1], points[1, 2], points[3, 4], points[3, 3] = (10, 40, -1.5), (20, 30, 2), (5, 7, -0.5), (8, 9, 0.25)
        planes = encode(modality("lidar", enlarge=2), points)
        assert planes.dtype == np.float32
        np.testing.assert_allclose(
            planes,
            [
                [[0, 10, 10, 0, 0], [0, 10, 20, 20, 0], [0, 0, 20, 20, 0], [0, 0, 0, 8, 8]],
                [[0, 40, 40, 0, 0], [0, 40, 40, 30, 0], [0, 0, 30, 30, 0], [0, 0, 0, 9, 9]],
                [[0, -1.5, -1.5, 0, 0], [0, -1.5, 2, 2, 0], [0, 0, 2, 2, 0], [0, 0, 0, 0.25, 0.25]],
            ],
        )

    @pytest.mark.parametrize("kind", [np.float32, np.uint8])
    def test_events_as_by_the_sdk(self, kind: type) -> None:
        counts = np.zeros((4, 5, 3), kind)
        counts[0, 1, 0], counts[1, 2, :2], counts[3, 4, 1] = 3, (1, 2), 5
        encoding = "image" if kind is np.uint8 else "counts"
        planes = encode(modality("event", encoding=encoding, enlarge=2), counts)
        assert planes.dtype == kind
        assert planes[0].tolist() == [[0, 3, 3, 0, 0], [0, 3, 3, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0]]
        assert planes[1].tolist() == [[0, 0, 0, 0, 0], [0, 0, 2, 2, 0], [0, 0, 2, 2, 0], [0, 0, 0, 0, 5]]

    def test_a_model_serves_only_points_as_large_as_its_own(self) -> None:
        small, large = (
            rig_from_dict(
                {
                    "name": name,
                    "reference": "lidar",
                    "modalities": {"lidar": {"kind": "lidar", "size": [4, 6], "topic": "/t", "enlarge": pixels}},
                    "classes": [{"name": "a", "color": [0, 0, 0]}],
                },
                name,
            )
            for name, pixels in (("robot", 1), ("trained", 2))
        )
        with pytest.raises(SartmError, match=r"trained with enlarge '2', the rig file says '1'. Set enlarge: 2"):
            check_inputs(large, small)
        check_inputs(large, small.enlarged({"lidar": 2}))
