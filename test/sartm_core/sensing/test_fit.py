"""Sizes: the resizer, masks back, scores before the argmax, sliding windows. Right values are NumPy's or torch's."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sartm_core.sensing.fit import Fit, resize_labels, resize_planes
from sartm_core.sensing.windows import Windows

SIZES = [
    ((704, 1280), (720, 1280)),
    ((544, 960), (1080, 1920)),
    ((48, 64), (37, 101)),
    ((37, 101), (48, 64)),
    ((9, 7), (9, 7)),
]


def nearest(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """By the convention of pixel centres: pixel i's centre is i + 0.5, on both grids; in exact integers."""
    rows, columns = (
        ((2 * np.arange(after) + 1) * before) // (2 * after) for before, after in zip(labels.shape, size, strict=True)
    )
    return labels[rows][:, columns]


def between_edges(before: int, after: int) -> np.ndarray:
    """Pixels whose centre does not fall on an edge between two of the other grid, where either is as near."""
    place = (np.arange(after) + 0.5) * before / after
    return np.flatnonzero(np.abs(place - np.round(place)) > 1e-2)


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_labels_and_sparse_planes_go_to_the_nearest_centre(
    before: tuple[int, int], after: tuple[int, int], dtype: Any, rng: np.random.Generator
) -> None:
    labels = rng.integers(0, 200, before).astype(dtype)
    planes = np.stack([labels] * 3)
    certain = np.ix_(*(between_edges(size, target) for size, target in zip(before, after, strict=True)))
    for found in (resize_labels(labels, after), resize_planes(planes, after, sparse=True)[0]):
        assert found.shape == after
        assert found.dtype == labels.dtype
        assert np.array_equal(found[certain], nearest(labels, after)[certain])


def test_dense_planes_are_interpolated_and_averaged_where_they_shrink(rng: np.random.Generator) -> None:
    image = rng.random((3, 48, 64)).astype(np.float32)
    tensor = torch.from_numpy(image)[None]
    larger = F.interpolate(tensor, size=(60, 96), mode="bilinear", align_corners=False)[0].numpy()
    assert np.allclose(resize_planes(image, (60, 96), sparse=False), larger, atol=1e-5)
    mean = F.avg_pool2d(tensor, (2, 2))[0].numpy()
    assert np.allclose(resize_planes(image, (24, 32), sparse=False), mean, atol=1e-5)


@pytest.mark.parametrize("mode", ["stretch", "letterbox", "corner", "crop"])
@pytest.mark.parametrize("camera", [(480, 640), (100, 333), (301, 97), (64, 96), (50, 40)])
def test_scores_are_interpolated_before_the_argmax(
    mode: Any, camera: tuple[int, int], rng: np.random.Generator
) -> None:
    """Beside torch, which interpolates every score at every pixel's centre (grid_sample, align_corners=False)."""
    network = (64, 96)
    smooth = torch.from_numpy(rng.normal(0, 1, (1, 9, 5, 7)).astype(np.float32))
    scores = F.interpolate(smooth, size=(16, 24), mode="bilinear")[0]
    fit = Fit(mode, camera, network)
    mask, confidence = fit.segment(scores.numpy())
    (top, left, height, width), (y, x, inner_height, inner_width) = fit.regions()
    v = ((torch.arange(height) + 0.5) * inner_height / height + y) / network[0] * 2 - 1
    u = ((torch.arange(width) + 0.5) * inner_width / width + x) / network[1] * 2 - 1
    grid = torch.stack(torch.meshgrid(v, u, indexing="ij")[::-1], dim=-1)[None]
    wanted = F.grid_sample(scores[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    seen = (slice(top, top + height), slice(left, left + width))
    best = wanted.topk(2, dim=0).values
    clear = (best[0] - best[1] > 1e-4).numpy()
    assert mask.shape == confidence.shape == camera
    assert np.array_equal(mask[seen][clear], wanted.argmax(dim=0).numpy()[clear])
    assert clear.mean() > 0.99
    assert np.abs(confidence[seen] - wanted.softmax(dim=0).amax(dim=0).numpy()).max() < 0.03
    outside = np.ones(camera, bool)
    outside[seen] = False
    assert (mask[outside] == 255).all()
    assert (confidence[outside] == 0).all()


def test_corner_only_pads_below_and_on_the_right(rng: np.random.Generator) -> None:
    """Where the longer side fits, as in code derived from DELIVER's: pixels stay what and where they are."""
    image = rng.integers(0, 256, (3, 36, 64)).astype(np.uint8)
    fit = Fit("corner", (36, 64), (64, 64))
    assert np.array_equal(fit.planes(image, sparse=False), np.pad(image, ((0, 0), (0, 28), (0, 0))))
    mask = rng.integers(0, 9, (64, 64)).astype(np.uint8)
    assert np.array_equal(fit.mask_back(mask), mask[:36])
    tall = Fit("corner", (64, 36), (32, 32)).planes(np.full((3, 64, 36), 9, np.uint8), sparse=False)
    assert tall[:, :, :18].all()
    assert not tall[:, :, 18:].any()


class TestWindows:
    def test_the_places_are_those_of_mmsegmentation(self) -> None:
        """h_grids = max(H - h + s - 1, 0) // s + 1, the last window flush with the border (slide_inference)."""
        assert [top for top, left in Windows((1080, 1920), (1024, 1024), (640, 640)).places if left == 0] == [0, 56]
        assert [left for top, left in Windows((1080, 1920), (1024, 1024), (640, 640)).places if top == 0] == [
            0,
            640,
            896,
        ]
        assert Windows((64, 64), (64, 64), (32, 32)).places == [(0, 0)]

    def test_scores_are_averaged_where_windows_overlap(self, rng: np.random.Generator) -> None:
        windows = Windows((96, 128), (64, 64), (32, 48))
        total, count = torch.zeros(5, 96, 128), torch.zeros(96, 128)
        for top, left in windows.places:
            scores = rng.normal(0, 1, (5, 16, 16)).astype(np.float32)
            windows.add((top, left), scores)
            large = F.interpolate(torch.from_numpy(scores)[None], size=(64, 64), mode="bilinear", align_corners=False)[
                0
            ]
            total[:, top : top + 64, left : left + 64] += large
            count[top : top + 64, left : left + 64] += 1
        mask, confidence = windows.segment()
        wanted = (total / count).softmax(dim=0)
        assert (mask == wanted.argmax(dim=0).numpy()).mean() > 0.999
        assert np.allclose(confidence, wanted.amax(dim=0).numpy(), atol=1e-4)

    def test_a_frame_smaller_than_the_window_is_padded(self) -> None:
        windows = Windows((40, 100), (64, 64), (32, 32))
        out = np.full((3, 64, 64), 7, np.uint8)
        windows.cut(np.ones((3, 40, 100), np.uint8), (0, 36), out)
        assert out[:, :40].all()
        assert not out[:, 40:].any()
        for place in windows.places:
            windows.add(place, np.zeros((2, 16, 16), np.float32))
        assert windows.segment()[0].shape == (40, 100)
