"""Modalities stay aligned with each other and with the truth."""

import numpy as np
import pytest

from sartm_core.learning.augmentation import Augmentation, augment
from sartm_core.rig import Rig, load_rig, rig_from_dict

STILL = Augmentation(flip=0, scale=(1, 1), brightness=0, contrast=0, saturation=0, blur=0)


@pytest.fixture(scope="module")
def rig() -> Rig:
    content = {
        "name": "r",
        "reference": "rgb",
        "modalities": {
            "rgb": {"kind": "rgb", "size": [64, 80], "topic": "/a"},
            "depth": {"kind": "depth", "size": [64, 80], "topic": "/b"},
            "pol": {"kind": "polarization", "size": [64, 80], "topic": "/c"},
        },
        "classes": [{"name": str(index), "color": [index, 0, 0]} for index in range(5)],
    }
    return rig_from_dict(content, "test")


def scene(rng: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The truth is painted into every modality, so that it can be read back from each."""
    truth = np.kron(rng.integers(0, 5, (8, 10)), np.ones((8, 8))).astype(np.uint8)
    planes = {
        "rgb": np.stack([truth * 40] * 3).astype(np.float32),
        "depth": np.stack([truth + 1.0] * 3).astype(np.float32),
        "pol": np.stack([truth / 10, truth / 5, truth + 0.0]).astype(np.float32),
    }
    return planes, truth


def augmented(rig: Rig, settings: Augmentation, seed: int, size: tuple[int, int]):
    planes, truth = scene(np.random.default_rng(seed))
    modalities = {modality.name: modality for modality in rig.modalities}
    return augment(planes, truth, modalities, size, settings, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_all_modalities_show_the_truth(rig: Rig, seed: int) -> None:
    settings = Augmentation(flip=0.5, scale=(0.5, 2.0), brightness=0, contrast=0, saturation=0, blur=0)
    planes, truth = augmented(rig, settings, seed, (48, 64))
    assert truth.shape == (48, 64)
    assert all(image.shape == (3, 48, 64) for image in planes.values())
    labelled = truth != 255
    assert np.array_equal(planes["depth"][0][labelled], truth[labelled] + 1.0)  # never interpolated
    assert not planes["depth"][0][~labelled].any()
    assert (np.abs(planes["rgb"][0] / 40 - truth) < 0.5)[labelled].mean() > 0.7  # but at the edges
    assert (np.abs(planes["pol"][2] - truth) < 0.5)[labelled].mean() > 0.7


def test_scale_and_crop_cover_what_they_say(rig: Rig) -> None:
    padded = [(augmented(rig, Augmentation(scale=(0.5, 0.6)), seed, (64, 80))[1] == 255).mean() for seed in range(5)]
    assert min(padded) > 0.5  # at most 0.36 of the area is left
    whole = [(augmented(rig, Augmentation(scale=(1.0, 2.0)), seed, (64, 80))[1] == 255).any() for seed in range(5)]
    assert not any(whole)


def test_without_settings_a_frame_of_the_right_size_is_itself(rig: Rig) -> None:
    planes, truth = augmented(rig, STILL, 3, (64, 80))
    wanted_planes, wanted = scene(np.random.default_rng(3))
    assert np.array_equal(truth, wanted)
    assert all(np.array_equal(planes[name], wanted_planes[name]) for name in planes)


def test_a_mirrored_angle_of_polarisation_changes_the_sign_of_its_sine(rig: Rig) -> None:
    planes = np.arange(24, dtype=np.float32).reshape(3, 2, 4) / 24
    mirrored = rig.modality("pol").mirrored(planes)
    assert np.array_equal(mirrored[0], -planes[0][:, ::-1])
    assert np.array_equal(mirrored[1:], planes[1:, :, ::-1])
    assert np.array_equal(rig.modality("pol").mirrored(mirrored), planes)
    assert np.array_equal(rig.modality("depth").mirrored(planes), planes[..., ::-1])


def test_brightness_changes_light_and_nothing_that_is_measured() -> None:
    rig = load_rig("simrig5")
    modalities = {modality.name: modality for modality in rig.modalities}
    rng = np.random.default_rng(0)
    planes = {name: rng.uniform(10, 200, (3, 64, 96)).astype(np.float32) for name in rig.names}
    settings = Augmentation(flip=0, scale=(1, 1), brightness=0.4, contrast=0.4, saturation=0.4, blur=1.0)
    result, _ = augment(planes, np.zeros((64, 96), np.uint8), modalities, (64, 96), settings, rng)
    changed = {name for name in rig.names if not np.array_equal(result[name], planes[name])}
    assert changed == {"rgb", "thermal"}


def test_the_same_seed_gives_the_same(rig: Rig) -> None:
    first, again, other = (augmented(rig, Augmentation(), seed, (48, 64)) for seed in (1, 1, 2))
    assert np.array_equal(first[1], again[1])
    assert all(np.array_equal(first[0][name], again[0][name]) for name in first[0])
    assert not np.array_equal(first[1], other[1])
