"""Modalities stay aligned with each other and with the truth."""

import colorsys

import numpy as np
import pytest

from sartm_core.learning.augmentation import Augmentation, augment
from sartm_core.learning.colours import photometric_distortion
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


def brightened(encoding: str, counts: np.ndarray, seed: int) -> np.ndarray:
    """One plane of a thermal camera's counts, hundredths of a kelvin, after photometric changes alone."""
    fields = {"kind": "thermal", "size": [*counts.shape], "topic": "/t", "encoding": encoding}
    classes = [{"name": "all", "color": [0, 0, 0]}]
    (thermal,) = rig_from_dict(
        {"name": "r", "reference": "t", "modalities": {"t": fields}, "classes": classes}, "test"
    ).modalities
    settings = STILL.model_copy(update={"brightness": 0.2, "contrast": 0.2})
    planes, truth = {"t": thermal.encode(counts)}, np.zeros(counts.shape, np.uint8)
    rng = np.random.default_rng(seed)
    return augment(planes, truth, {"t": thermal}, counts.shape, settings, rng)[0]["t"][0]


@pytest.mark.parametrize("seed", range(8))
def test_kelvin_change_as_an_image_of_the_same_camera_does(seed: int) -> None:
    """A fifth of 290 K are 58 K; of what a window from 253 to 323 K shows of them, 7."""
    counts = np.random.default_rng(seed).integers(28000, 30000, (64, 80)).astype(np.uint16)
    kelvin, image = brightened("kelvin", counts, seed), brightened("window", counts, seed)
    assert np.abs(kelvin - counts / 100).max() < 0.2 * (290 - 253.15) + 0.2 * 10 + 1
    np.testing.assert_allclose((kelvin - 253.15) * 255 / (323.15 - 253.15), image, atol=2)


def test_pixels_without_a_temperature_stay_so_and_count_for_nothing() -> None:
    counts = np.random.default_rng(0).integers(28000, 30000, (64, 80)).astype(np.uint16)
    holed = counts.copy()
    holed[:16] = 0
    assert not brightened("kelvin", holed, 1)[:16].any()
    change = brightened("kelvin", holed, 1)[16:] - brightened("kelvin", counts, 1)[16:]
    assert np.abs(change).max() < 0.1  # the mean of fewer pixels


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


def test_the_blur_is_the_binomial_kernel_of_three_pixels(rig: Rig) -> None:
    """cv2.GaussianBlur with kernel (3, 3) and sigma 0, which the authors of MM SAM-adapter call as well."""
    modalities = {modality.name: modality for modality in rig.modalities}
    planes = {name: np.zeros((3, 64, 80), np.float32) for name in modalities}
    planes["rgb"][:, 20, 30] = 160
    blur = STILL.model_copy(update={"blur": 1.0})
    result, _ = augment(planes, np.zeros((64, 80), np.uint8), modalities, (64, 80), blur, np.random.default_rng(0))
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    np.testing.assert_allclose(result["rgb"][1, 19:22, 29:32], 160 * kernel, atol=1e-3)
    assert result["rgb"].sum() == pytest.approx(3 * 160)


@pytest.mark.parametrize(("draw", "smaller"), [("log_uniform", 1 / 2), ("uniform", 1 / 3)])
def test_how_scales_are_drawn(rig: Rig, draw: str, smaller: float) -> None:
    """From 0.5 to 2: how many frames are smaller than the crop, and padded."""
    settings = STILL.model_copy(update={"scale": (0.5, 2.0), "scale_draw": draw})
    padded = [(augmented(rig, settings, seed, (64, 80))[1] == 255).any() for seed in range(1000, 1400)]
    assert np.mean(padded) == pytest.approx(smaller, abs=0.08)


def test_a_crop_that_one_class_fills_is_drawn_again(rig: Rig) -> None:
    """An eighth of the columns show two classes: few crops of one draw meet them, most of ten draws do."""
    modalities = {modality.name: modality for modality in rig.modalities}
    truth = np.zeros((64, 800), np.uint8)
    truth[32:, 700:] = 1
    truth[:, :200] = 255
    planes = {name: np.zeros((3, 64, 800), np.float32) for name in modalities}

    def mixed(largest_class: float) -> list[bool]:
        settings = STILL.model_copy(update={"largest_class": largest_class})
        crops = (
            augment(planes, truth, modalities, (64, 64), settings, np.random.default_rng(seed), "window")[1]
            for seed in range(60)
        )
        counts = [np.bincount(crop[crop != 255], minlength=2) for crop in crops]
        return [bool(count.any()) and count.max() / count.sum() < 0.75 for count in counts]

    assert np.mean(mixed(1.0)) < 0.25
    assert np.mean(mixed(0.75)) > 0.6


class TestMmsegmentationsDistortion:
    """What its documentation says: each change with probability 0.5, contrast before or after the colours."""

    def distorted(self, colour: tuple[int, int, int]) -> np.ndarray:
        """[400, 3]: a plane of one colour under 400 seeds."""
        planes = np.full((3, 4, 4), 0, np.float32) + np.array(colour, np.float32)[:, None, None]
        result = [photometric_distortion(planes, np.random.default_rng(seed)) for seed in range(400)]
        assert all((image == image[:, :1, :1]).all() for image in result)
        return np.stack([image[:, 0, 0] for image in result])

    def test_grey_stays_grey_between_the_extremes(self) -> None:
        values = self.distorted((100, 100, 100))
        assert (values == values[:, :1]).all()
        assert 33 <= values.min() < 50  # 50: by contrast alone
        assert 150 < values.max() <= 198  # (100 + 32) x 1.5
        assert np.mean(values[:, 0] == 100) == pytest.approx(1 / 4, abs=0.07)

    def test_colours_turn_and_pale(self) -> None:
        values = self.distorted((200, 80, 80))
        assert np.mean((values == (200, 80, 80)).all(axis=1)) == pytest.approx(1 / 16, abs=0.04)
        turned = values[:, 1] != values[:, 2]
        assert np.mean(turned) == pytest.approx(1 / 2 * 35 / 36, abs=0.08)
        hues = np.array([colorsys.rgb_to_hsv(*(row / 255))[0] * 360 for row in values if row.max() < 255])
        hues = (hues + 180) % 360 - 180
        assert (hues.min(), hues.max()) == pytest.approx((-36, 34), abs=4)

    def test_it_is_for_colour_alone_and_excludes_the_relative_changes(self) -> None:
        rig = load_rig("simrig5")
        modalities = {modality.name: modality for modality in rig.modalities}
        rng = np.random.default_rng(1)
        planes = {name: rng.uniform(10, 200, (3, 64, 96)).astype(np.float32) for name in rig.names}
        settings = Augmentation(flip=0, scale=(1, 1), colours="mmsegmentation", blur=1.0)
        result, _ = augment(planes, np.zeros((64, 96), np.uint8), modalities, (64, 96), settings, rng)
        assert {name for name in rig.names if not np.array_equal(result[name], planes[name])} == {"rgb"}
        with pytest.raises(ValueError, match="brightness: has no effect with colours: mmsegmentation; leave it out"):
            Augmentation(colours="mmsegmentation", brightness=0.3)
