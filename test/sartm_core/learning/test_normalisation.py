"""What planes are normalised by: frames of the whole split, and for RGB what SAM's weights were trained with."""

from typing import Any

import numpy as np
import pytest

from sartm_core.datasets.dataset import Frame
from sartm_core.errors import SartmError
from sartm_core.learning.normalisation import normalisation
from sartm_core.learning.recipe import Recipe
from sartm_core.learning.sampler import Draw
from sartm_core.learning.statistics import representative_frames
from sartm_core.rig import Rig, rig_from_dict

CONDITIONS = {"cloud": 150, "fog": 170, "night": 20, "rain": 110, "sun": 200}


def rig_of(*names: str) -> Rig:
    modalities = {name: {"kind": name, "size": [32, 32], "topic": f"/{name}"} for name in names}
    classes = [{"name": "road", "color": [1, 2, 3]}]
    return rig_from_dict({"name": "t", "reference": names[0], "modalities": modalities, "classes": classes}, "test")


def frames_by_condition(per_condition: int, **more: str) -> list[Frame]:
    """As DELIVER lists them: one condition after the other."""
    return [
        Frame(split="train", id=f"{condition}/{number}", modalities=("rgb",), tags={"condition": condition, **more})
        for condition in CONDITIONS
        for number in range(per_condition)
    ]


class Source:
    """Flat RGB images whose brightness is their condition's."""

    def __init__(self, rig: Rig, frames: list[Frame]) -> None:
        self.rig, self.frames = rig, frames

    def __len__(self) -> int:
        return len(self.frames)

    def representative(self, count: int, seed: int) -> list[int]:
        return representative_frames(self.frames, self.rig.names, count, seed)

    def read(self, draw: Draw) -> tuple[dict[str, Any], np.ndarray]:
        frame = self.frames[draw.frame]
        bright = CONDITIONS[frame.tags["condition"]]
        planes = {name: np.full((3, 32, 32), bright, np.uint8) for name in frame.modalities}
        return planes, np.zeros((32, 32), np.uint8)


def recipe(**changes: Any) -> Recipe:
    content = {
        "name": "t", "preset": "any_sensor", "backbone": "tiny", "train_backbone": False, "data": {"root": "x"},
        "stages": [{"size": [32, 32], "samples": 8, "batch": 4, "learning_rate": 1e-4}],
    }  # fmt: skip
    return Recipe(**content | changes)


def test_every_condition_is_there_in_proportion() -> None:
    frames = frames_by_condition(200)
    chosen = representative_frames(frames, ("rgb",), 64, seed=0)
    assert len(chosen) == 64
    counts = [sum(frames[index].tags["condition"] == name for index in chosen) for name in CONDITIONS]
    assert min(counts) >= 12
    assert max(counts) <= 14
    assert chosen == representative_frames(frames, ("rgb",), 64, seed=0) == sorted(set(chosen))
    assert chosen != representative_frames(frames, ("rgb",), 64, seed=1)


def test_a_rare_condition_and_a_rare_sensor_are_there() -> None:
    rare = Frame(split="train", id="snow/0", modalities=("rgb",), tags={"condition": "snow"})
    lidar = [
        Frame(split="train", id=f"sun/x{number}", modalities=("rgb", "lidar"), tags={"condition": "sun"})
        for number in range(3)
    ]
    frames = [*frames_by_condition(400), rare, *lidar]
    chosen = [frames[index] for index in representative_frames(frames, ("rgb", "lidar"), 64, seed=0)]
    assert rare in chosen
    assert all(frame in chosen for frame in lidar)
    assert len(chosen) <= 64 + 1 + 3


def test_what_was_measured_is_what_the_whole_split_has() -> None:
    source = Source(rig_of("rgb"), frames_by_condition(100))
    measured = normalisation(recipe(statistics="measured"), source)
    brightness = np.array([CONDITIONS[frame.tags["condition"]] for frame in source.frames])
    assert measured.mean[0] == pytest.approx([brightness.mean()] * 3, rel=0.03)
    assert measured.std[0] == pytest.approx([brightness.std()] * 3, rel=0.03)


def test_rgb_is_normalised_as_sams_training_images_were() -> None:
    """SAM2's own transforms: mean (0.485, 0.456, 0.406), deviation (0.229, 0.224, 0.225) of 1."""
    frames = [frame.model_copy(update={"modalities": ("rgb", "nir")}) for frame in frames_by_condition(20)]
    source = Source(rig_of("rgb", "nir"), frames)
    by_default = normalisation(recipe(initial_weights="sam2.1_tiny"), source)
    assert by_default.mean[0] == pytest.approx(np.array([0.485, 0.456, 0.406]) * 255)
    assert by_default.std[0] == pytest.approx(np.array([0.229, 0.224, 0.225]) * 255)
    assert by_default.mean[1] == pytest.approx([130] * 3, rel=0.1)  # measured
    for settings in ({"initial_weights": "sam2.1_tiny", "statistics": "measured"}, {"initial_weights": None}):
        assert normalisation(recipe(**settings), source).mean[0] == pytest.approx([130] * 3, rel=0.1)


def test_a_sensor_that_no_frame_has_is_refused() -> None:
    source = Source(rig_of("rgb", "nir"), frames_by_condition(4))
    with pytest.raises(SartmError, match="nir: no frame of the training split has it.*data.modalities"):
        normalisation(recipe(), source)


def test_scaled_divides_all_but_rgb_by_255() -> None:
    """MM SAM-adapter on DELIVER and FMB: RGB by ImageNet's figures, the others as x / 255."""
    frames = [Frame(split="train", id="a", modalities=("rgb", "thermal"), tags={"condition": "fog"})]
    measured = normalisation(recipe(statistics="scaled"), Source(rig_of("rgb", "thermal"), frames))
    assert measured.mean.tolist() == [pytest.approx([123.675, 116.28, 103.53]), [0, 0, 0]]
    assert measured.std.tolist() == [pytest.approx([58.395, 57.12, 57.375]), [255, 255, 255]]


def test_nano_has_no_pretrained_statistics() -> None:
    with pytest.raises(ValueError, match="nano has none"):
        recipe(backbone="nano", statistics="pretrained")
