"""Training on several folders of one rig."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import typer

from sartm_core.commands.training import _data_fields
from sartm_core.datasets.dataset import Frame
from sartm_core.datasets.frame_folder import FrameFolderWriter, write_frame
from sartm_core.errors import SartmError
from sartm_core.learning.opening import frame_weights, open_source
from sartm_core.learning.overrides import read_recipe
from sartm_core.learning.recipe import DataSource
from sartm_core.learning.sampler import Draw, RunSampler, StagePlan
from sartm_core.rig import Rig, load_rig

RECIPE = Path(__file__).parents[3] / "training" / "recipes" / "smoke.yaml"
SIZE = (32, 32)


def write_drive(folder: Path, train: int, val: int, rig: Rig, grey: int) -> Path:
    """RGB frames whose pixels are all grey + their number."""
    with FrameFolderWriter(folder, rig, folder.name, {}) as writer:
        for number in range(train + val):
            frame = Frame(split="train" if number < train else "val", id=str(number), modalities=("rgb",))
            images = {"rgb": np.full((*SIZE, 3), grey + number, np.uint8)}
            write_frame(writer.part, frame, images, np.zeros(SIZE, np.uint8))
            writer.add(frame)
    return folder


@pytest.fixture
def rig() -> Rig:
    return load_rig("simrig5").only(["rgb"])


@pytest.fixture
def drives(tmp_path: Path, rig: Rig) -> dict[str, float]:
    return {
        str(write_drive(tmp_path / "monday", 3, 2, rig, 10)): 1.0,
        str(write_drive(tmp_path / "tuesday", 2, 0, rig, 50)): 2.5,
    }


def values(data: DataSource, split: str) -> list[int]:
    source = open_source(data, split)
    return [int(source.read(Draw(index, index, SIZE))[0]["rgb"][0, 0, 0]) for index in range(len(source))]


def test_frames_of_all_folders_in_turn(drives: dict[str, float]) -> None:
    data = DataSource(folders=drives)
    assert values(data, "train") == [10, 11, 12, 50, 51]
    assert values(data, "val") == [13, 14]  # tuesday has none
    training = open_source(data, "train")
    assert frame_weights(data, training) == [1, 1, 1, 2.5, 2.5]
    assert set(training.representative(2, 0)) & {0, 1, 2}
    assert set(training.representative(2, 0)) & {3, 4}
    assert frame_weights(DataSource(folders=dict.fromkeys(drives, 3.0)), training) is None


def test_weights_are_how_often_frames_are_drawn() -> None:
    """In each epoch every frame as often as its weight says, rounded up or down; over many exactly so."""
    weights, epochs = [1.0, 1.0, 1.0, 2.5, 2.5, 0.25], 400
    length = 8  # their sum, 8.25, rounded
    plan = [StagePlan(SIZE, epochs, length)]
    batches = [[draw.frame for draw in batch] for batch in RunSampler(plan, 6, 5, 1, 0, 1, 0, weights)]
    for batch in batches:
        drawn = Counter(batch)
        assert all(drawn[frame] in (0, 1) for frame in (0, 1, 2, 5))
        assert all(drawn[frame] in (2, 3) for frame in (3, 4))
    means = [sum(batch.count(frame) for batch in batches) / epochs for frame in range(6)]
    assert means == pytest.approx([weight * length / 8.25 for weight in weights], abs=0.08)
    assert len({tuple(batch) for batch in batches}) > 300


def test_weighted_order_is_the_same_for_every_number_of_processes_and_after_an_interruption() -> None:
    weights = [1.0, 2.0, 3.5]
    plan = [StagePlan(SIZE, 9, 4)]
    alone = [draw for batch in RunSampler(plan, 3, 1, 1, 0, 1, 0, weights) for draw in batch]
    ranks = [[draw for batch in RunSampler(plan, 3, 1, 1, rank, 2, 0, weights) for draw in batch] for rank in (0, 1)]
    assert sorted(ranks[0] + ranks[1]) == alone
    resumed = [draw for batch in RunSampler(plan, 3, 1, 1, 0, 1, 4, weights) for draw in batch]
    assert resumed == alone[16:]


def test_folders_of_other_rigs_are_refused(tmp_path: Path, drives: dict[str, float], rig: Rig) -> None:
    fewer = rig.model_copy(update={"classes": rig.classes[:3]})
    with pytest.raises(SartmError, match=r"fewer: is of another rig than .*monday: classes: expected road, .*"):
        open_source(DataSource(folders=drives | {str(write_drive(tmp_path / "fewer", 1, 1, fewer, 0)): 1.0}), "train")
    with pytest.raises(SartmError, match=r"data\.folders of the recipe: .*nowhere: no such folder"):
        open_source(DataSource(folders=drives | {str(tmp_path / "nowhere"): 1.0}), "train")
    unlabelled = write_drive(tmp_path / "unlabelled", 0, 1, rig, 0)
    with pytest.raises(SartmError, match="unlabelled: has no split 'train'"):
        open_source(DataSource(folders=drives | {str(unlabelled): 1.0}), "train")


def test_the_option_data(tmp_path: Path) -> None:
    odd = tmp_path / "run=3"
    odd.mkdir()
    assert _data_fields(["a"]) == {"data.root": "a"}
    assert _data_fields(["a", "b=2.5"]) == {"data.folders": {"a": 1.0, "b": 2.5}}
    assert _data_fields(["a=2"]) == {"data.folders": {"a": 2.0}}
    assert _data_fields([str(odd)]) == {"data.root": str(odd)}
    assert _data_fields(["a=b"]) == {"data.root": "a=b"}
    with pytest.raises(typer.BadParameter, match="a is given twice"):
        _data_fields(["a", "a=2"])
    recipe = read_recipe(RECIPE, [], _data_fields(["a", "b=2"]))
    assert (recipe.data.root, recipe.data.simulated, recipe.data.folders) == (None, None, {"a": 1.0, "b": 2.0})
    with pytest.raises(SartmError, match=r"data\.folders\.b: .*greater than 0"):
        read_recipe(RECIPE, [], _data_fields(["a", "b=0"]))
