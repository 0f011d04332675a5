"""Scores, protocols and reports, against plain NumPy and hand-made cases."""

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sartm_core.cli import app
from sartm_core.datasets.dataset import read_frame
from sartm_core.datasets.layouts import open_data
from sartm_core.deploy import load_segmenter
from sartm_core.errors import SartmError
from sartm_core.evaluation.class_map import ClassMap, load_class_map
from sartm_core.evaluation.course import draw_course
from sartm_core.evaluation.evaluate import evaluate
from sartm_core.evaluation.feature_pictures import Features, labelled, prototype_similarity
from sartm_core.evaluation.outcome import Instant, LabelledSet, Moment
from sartm_core.evaluation.results import as_csv, as_dict
from sartm_core.evaluation.scoring import Scoring, common_modalities
from sartm_core.evaluation.tally import Tally
from sartm_core.rig import load_rig
from sartm_core.segmentation import Segmentation
from sartm_sim.dataset import write_benchmark

runner = CliRunner()


def numpy_scores(masks: np.ndarray, truths: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """Per class, straight from the definitions."""
    valid = truths != 255
    mask, truth = masks[valid], truths[valid]
    iou, accuracy, f1 = (np.full(classes, np.nan) for _ in range(3))
    for c in range(classes):
        both, either = ((mask == c) & (truth == c)).sum(), ((mask == c) | (truth == c)).sum()
        if either:
            iou[c], f1[c] = both / either, 2 * both / ((mask == c).sum() + (truth == c).sum())
        if (truth == c).any():
            accuracy[c] = both / (truth == c).sum()
    return {"iou": iou, "accuracy": accuracy, "f1": f1}


def filled(masks: np.ndarray, truths: np.ndarray, confidences: np.ndarray, classes: int) -> Tally:
    tally = Tally(classes, 2)
    for mask, truth, confidence in zip(masks, truths, confidences, strict=True):
        tally.add(mask, truth, confidence, np.array([[0.25, 0.75]] * 3, np.float32))
    return tally


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = rng.integers(0, 5, (3, 12, 16)).astype(np.uint8)
    masks = np.where(rng.random(truths.shape) < 0.6, truths, rng.integers(0, 6, truths.shape)).astype(np.uint8)
    truths[:, :2] = 255
    truths[truths == seed] = (seed + 1) % 5  # one class is absent from the truth
    tally = filled(masks, truths, np.full(truths.shape, 0.5, np.float32), 7)  # class 6 is absent altogether
    wanted = numpy_scores(masks, truths, 7)
    score = tally.score
    for name in ("iou", "accuracy", "f1"):
        np.testing.assert_allclose(getattr(score, name)(), wanted[name])
    assert score.mean_iou() == pytest.approx(np.nanmean(wanted["iou"]))
    assert score.mean_iou("zero") == pytest.approx(np.nan_to_num(wanted["iou"]).mean())
    assert score.mean_accuracy() == pytest.approx(np.nanmean(wanted["accuracy"]))
    assert score.mean_f1("zero") == pytest.approx(np.nan_to_num(wanted["f1"]).mean())
    valid = truths != 255
    assert score.pixel_accuracy() == pytest.approx((masks == truths)[valid].mean())
    assert tally.routing() == [0.25, 0.75]


def test_a_mask_of_a_class_that_the_data_lack_is_an_error_of_the_true_class() -> None:
    truth, mask = np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 4), np.uint8)
    mask[0, :1] = 255
    score = filled(mask, truth, np.ones((1, 4, 4), np.float32), 2).score
    assert score.iou()[0] == pytest.approx(0.75)
    assert score.accuracy()[0] == pytest.approx(0.75)
    assert score.pixel_accuracy() == pytest.approx(0.75)


def test_nothing_labelled_is_not_a_number() -> None:
    nothing = np.full((1, 4, 4), 255, np.uint8)
    tally = filled(nothing * 0, nothing, np.ones((1, 4, 4), np.float32), 3)
    assert np.isnan(tally.score.mean_iou())
    assert np.isnan(tally.score.mean_iou("zero"))
    assert tally.calibration_error() == 0.0


def test_calibration_error_by_hand() -> None:
    """8 pixels at 0.95 of which 6 are right, 8 at 0.35 of which 4 are: (8 * 0.20 + 8 * 0.15) / 16."""
    truth = np.zeros((1, 4, 4), np.uint8)
    mask = np.zeros((1, 4, 4), np.uint8)
    confidence = np.full((1, 4, 4), 0.95, np.float32)
    confidence[0, 2:] = 0.35
    mask[0, 0, :2] = 1
    mask[0, 2] = 1
    tally = filled(mask, truth, confidence, 2)
    assert tally.calibration_error() == pytest.approx((8 * 0.20 + 8 * 0.15) / 16, abs=1e-4)


@dataclass
class Oracle:
    """Knows the truth as long as it sees RGB; without, all is road."""

    bundle: object
    truths: dict[int, np.ndarray]

    def segment(self, planes, size=None) -> Segmentation:
        truth = self.truths.get(int(planes["rgb"].astype(np.int64).sum())) if "rgb" in planes else None
        mask = np.zeros(size, np.uint8) if truth is None else truth
        weights = [float("rgb" in planes), float("rgb" not in planes), 0.0, 0.0, 0.0]
        routing = np.tile(weights, (3, 1)).astype(np.float32)
        return Segmentation(mask.copy(), np.full(size, 0.9, np.float32), routing)


@pytest.fixture(scope="module")
def frame_folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("evaluation") / "sim"
    write_benchmark(load_rig("sim"), out, ["test"], 12, 1, lambda done, total: None)
    return out


@pytest.fixture(scope="module")
def oracle(frame_folder: Path) -> Oracle:
    data = open_data(frame_folder)
    truths = {int(data.image(f, "rgb").sum()): np.minimum(data.truth(f), 13) for f in data.frames("test")}
    # The network's size is the camera's: what is fitted to it is recognised, too.
    return Oracle(load_segmenter("any_sensor_simrig5").bundle.model_copy(update={"size": (256, 320)}), truths)


@pytest.mark.slow
def test_protocols_find_out_what_a_model_needs(oracle: Oracle, frame_folder: Path) -> None:
    protocols = ("clean", "subsets", "noise", "conditions", "faults")
    figures = as_dict(evaluate(oracle, open_data(frame_folder), "test", protocols))
    assert figures["clean"]["miou"] == 1.0
    assert figures["clean"]["frames"] == 12
    assert figures["drop"]["rgb+depth"]["miou"] == 1.0
    assert figures["drop"]["thermal+depth"]["miou"] < 0.1
    assert figures["zero"]["thermal+depth"]["miou"] < 0.1
    assert figures["noise"]["depth gaussian"]["miou"] == 1.0
    assert figures["noise"]["rgb gaussian"]["miou"] < 0.1
    scores = [*(entry["miou"] for entry in figures["drop"].values()), 1.0]  # the whole set counts as well
    assert figures["drop_mean"]["miou"] == pytest.approx(np.mean(scores), abs=1e-5)
    assert figures["drop_mean"]["subsets"] == 7
    assert list(figures["conditions"]) == sorted(["day", "dusk", "night", "fog", "rain", "low_sun"])
    assert sum(entry["frames"] for entry in figures["faults"].values()) == 12
    assert figures["clean"]["routing"] == {"rgb": 1.0, "thermal": 0.0, "depth": 0.0, "lidar": 0.0, "event": 0.0}
    assert figures["drop"]["thermal"]["routing"]["thermal"] == 1.0
    assert figures["clean"]["calibration_error"] == pytest.approx(0.1, abs=1e-3)
    rows = list(csv.DictReader(io.StringIO(as_csv(figures))))
    assert len(rows) == 1 + 6 + 6 + 6 + 6 + len(figures["faults"])
    assert rows[0]["miou"] == "1.0"


def test_the_best_and_the_worst_frames_are_known(oracle: Oracle, frame_folder: Path) -> None:
    data = open_data(frame_folder)
    spoilt = data.frames("test")[3]
    key = int(data.image(spoilt, "rgb").sum())
    half = Oracle(oracle.bundle, {k: truth for k, truth in oracle.truths.items() if k != key})
    scores = evaluate(half, data, "test").frame_scores
    assert scores[-1][0] == spoilt.id
    assert scores[0][1] == 1.0


def test_labels_of_another_view_are_refused(oracle: Oracle, frame_folder: Path) -> None:
    """cvat#1059: labels that a tool rotated (EXIF) or cropped; stretched they would be scored."""
    data = open_data(frame_folder)
    frame = data.frames("test")[0]
    read, truth = read_frame(data, frame), data.truth(frame)
    scoring = Scoring(oracle, data.rig)
    for wrong in (np.ascontiguousarray(truth.T), truth[:, 20:]):
        height, width = wrong.shape
        with pytest.raises(
            SartmError, match=rf"{frame.id}: is {height}x{width} .* of 'rgb' is 256x320.*cropped or rotated"
        ):
            scoring.add(LabelledSet(frame.id, read.images, read.planes, wrong))
    scoring.add(LabelledSet(frame.id, read.images, read.planes, truth))


def test_modalities_that_differ_are_not_used() -> None:
    assert common_modalities(load_rig("simrig5"), load_rig("sim")) == ("rgb", "thermal", "depth")
    assert common_modalities(load_rig("deliver"), load_rig("muses")) == ("rgb",)
    with pytest.raises(SartmError, match="have none in common: name, kind and encoding must match"):
        common_modalities(load_rig("sim").only(["thermal"]), load_rig("muses"))


@pytest.mark.parametrize(("model", "data"), [("deliver", "muses"), ("muses", "deliver")])
def test_shipped_class_maps_are_complete(model: str, data: str) -> None:
    table = load_class_map(f"{model}_to_{data}").table(load_rig(model), load_rig(data))
    road = load_rig(data).class_names.index("road")
    assert table[load_rig(model).class_names.index("road")] == road
    assert set(table.tolist()) <= {*range(len(load_rig(data).classes)), 255}


def test_faults_of_a_class_map_are_named() -> None:
    sim, muses = load_rig("sim"), load_rig("muses")
    with pytest.raises(SartmError, match="are not those of 'muses'.*Give a class-mapping file with --classes"):
        ClassMap.same(sim, muses)
    whole = dict.fromkeys(sim.class_names)
    with pytest.raises(SartmError, match="lacks 'road'"):
        ClassMap(classes={"sky": "sky"}).table(sim, muses)
    with pytest.raises(SartmError, match="names 'lava'; the model's classes are road"):
        ClassMap(classes={**whole, "lava": None}).table(sim, muses)
    with pytest.raises(SartmError, match="'heaven' is not a class of 'muses'"):
        ClassMap(classes={**whole, "sky": "heaven"}).table(sim, muses)


@pytest.mark.slow
class TestCommand:
    def test_everything_at_once(self, frame_folder: Path, tmp_path: Path) -> None:
        command = ["evaluate", "any_sensor_simrig5", "--data", str(frame_folder), "--protocol", "all", "--limit", "4"]
        result = runner.invoke(app, [*command, "--out", str(tmp_path)])
        assert result.exit_code == 0, result.output
        assert "DROP mean of 7" in result.stdout
        assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "metrics.json", "report.html"]
        page = (tmp_path / "report.html").read_text()
        assert page.count("data:image/png;base64,") == 3
        assert "http" not in page.replace("http-equiv", "")  # self-contained
        for heading in ("Subsets of the sensors", "One noisy sensor", "Conditions", "Faults", "Worst frames"):
            assert heading in page

    def test_two_processes_give_the_same_figures(self, frame_folder: Path, tmp_path: Path) -> None:
        protocols = ["--protocol", "noise", "--protocol", "conditions", "--protocol", "faults", "--limit", "3"]
        arguments = ["evaluate", "any_sensor_simrig5", "--data", str(frame_folder), *protocols, "--out"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
        torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
        found = []
        for name, launcher in (("one", []), ("two", torchrun)):
            command = [sys.executable, *launcher, "-m", "sartm_ros.cli", *arguments, str(tmp_path / name)]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL
            )
            assert done.returncode == 0, done.stderr[-2000:]
            figures = json.loads((tmp_path / name / "metrics.json").read_text())
            figures.pop("latency_ms")
            found.append(figures)
        assert found[0] == found[1]

    def test_runs_are_compared(self, frame_folder: Path, tmp_path: Path) -> None:
        for name, limit in (("a", "2"), ("b", "2")):
            command = ["evaluate", "any_sensor_simrig5", "--data", str(frame_folder), "--limit", limit]
            assert runner.invoke(app, [*command, "--out", str(tmp_path / name)]).exit_code == 0
        result = runner.invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"])
        content = json.loads(result.stdout)
        assert len(content["runs"]) == 2
        wanted = json.loads((tmp_path / "a" / "metrics.json").read_text())["clean"]["miou"]
        assert content["rows"]["all sensors"][0] == wanted
        assert "class: road" in content["rows"]
        other = json.loads((tmp_path / "a" / "metrics.json").read_text()) | {"data": "elsewhere"}
        (tmp_path / "c.json").write_text(json.dumps(other))
        result = runner.invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "c.json")])
        assert result.exit_code == 1
        assert "scored on different data" in result.output

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--protocol", "luck"], "protocol 'luck' is unknown. Known: clean, subsets, noise, conditions, faults"),
            (["--split", "train"], "has no split 'train'. It has: test"),
            (["--classes", "nosuch"], "no class_map is called 'nosuch'. Known: deliver_to_muses, muses_to_deliver"),
        ],
    )
    def test_wrong_use_is_named(self, frame_folder: Path, more: list[str], message: str) -> None:
        result = runner.invoke(app, ["evaluate", "any_sensor_simrig5", "--data", str(frame_folder), *more])
        assert result.exit_code == 1
        assert message in " ".join(result.output.split())


@pytest.mark.slow
def test_pictures_of_what_was_learned(frame_folder: Path, tmp_path: Path) -> None:
    command = [
        "pictures",
        "any_sensor_simrig5",
        "any_sensor_simrig5",
        "--data",
        str(frame_folder),
        "--out",
        str(tmp_path),
        "--count",
        "8",
    ]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    sizes = {path.stem: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"overlays", "features", "tsne", "similarity"}
    assert min(sizes.values()) > 10_000


def test_similarity_of_prototypes_by_hand(frame_folder: Path) -> None:
    """Equal to the cosines of mean features, taken class by class."""
    data, segmenter = open_data(frame_folder), load_segmenter("any_sensor_simrig5", "torch", "cpu")
    frames = labelled(data, "test", 2)
    pixels: dict[int, list[np.ndarray]] = {}
    for frame in frames:
        features = Features(segmenter, data, frame)
        for index in set(features.truth.ravel().tolist()) - {255}:
            pixels.setdefault(index, []).append(features.fused.numpy()[:, features.truth == index])
    matrix = prototype_similarity(segmenter, data, frames)
    road, sky = (np.concatenate(pixels[c], axis=1).mean(axis=1) for c in (0, 13))
    wanted = road @ sky / np.linalg.norm(road) / np.linalg.norm(sky)
    assert matrix[0, 13] == pytest.approx(wanted, abs=1e-4)
    assert matrix[0, 0] == pytest.approx(1, abs=1e-5)
    absent = set(range(14)) - set(pixels)
    assert all(np.isnan(matrix[c]).all() for c in absent)


def test_confidence_of_the_segmenter_is_what_calibration_counts() -> None:
    """A float just above 1 must not fall out of the last bin."""
    zeros = np.zeros((1, 2, 2), np.uint8)
    tally = filled(zeros, zeros, np.full((1, 2, 2), 1.0000001, np.float32), 2)
    assert tally.calibration_error() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.slow
class TestLists:
    """RGB-easy and RGB-hard, as MM SAM-adapter reports them."""

    def test_frames_of_lists_are_scored_apart(self, frame_folder: Path, oracle: Oracle, tmp_path: Path) -> None:
        data = open_data(frame_folder)
        ids = [frame.id for frame in data.frames("test")]
        (tmp_path / "easy.txt").write_text("".join(f"test/rgb/{name}.png\n" for name in ids[:2]))
        (tmp_path / "hard.txt").write_text("".join(f"{name}\n" for name in ids[2:5]))
        lists = [f"rgb-easy={tmp_path / 'easy.txt'}", f"rgb-hard={tmp_path / 'hard.txt'}"]
        figures = as_dict(evaluate(oracle, data, "test", lists=lists))
        assert {name: entry["frames"] for name, entry in figures["lists"].items()} == {"rgb-easy": 2, "rgb-hard": 3}

    def test_wrong_lists_are_named(self, frame_folder: Path, oracle: Oracle, tmp_path: Path) -> None:
        data = open_data(frame_folder)
        (tmp_path / "other.txt").write_text("nobody\n")
        (tmp_path / "all.txt").write_text("".join(f"{frame.id}\n" for frame in data.frames("test")))
        for lists, message in (
            (["hard"], "--list hard: expected NAME=FILE"),
            ([f"hard={tmp_path / 'missing.txt'}"], "missing.txt: is missing"),
            ([f"hard={tmp_path / 'other.txt'}"], "other.txt, line 1: 'nobody' is no frame of"),
            ([f"a={tmp_path / 'all.txt'}", f"b={tmp_path / 'all.txt'}"], "is also in list 'a'"),
        ):
            with pytest.raises(SartmError, match=message):
                evaluate(oracle, data, "test", lists=lists)

    def test_lists_by_the_images_themselves(self, small_recording: Path, tmp_path: Path) -> None:
        result = runner.invoke(app, ["data", "rgb-lists", str(small_recording), "--out", str(tmp_path)])
        assert result.exit_code == 0, result.output
        easy, hard = ((tmp_path / f"test_rgb-{name}.txt").read_text().split() for name in ("easy", "hard"))
        frames = {frame.id: frame for frame in open_data(small_recording).frames("test")}
        assert sorted([*easy, *hard]) == sorted(frames)
        assert "night" in {frames[name].tags["condition"] for name in hard}
        assert "day" in {frames[name].tags["condition"] for name in easy}


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_a_course_of_any_length_is_drawn(count: int) -> None:
    course = [Instant(str(i), Moment("drive", 0.1 * i, {"rgb": "present"}), 0.5, (1.0,)) for i in range(count)]
    curve = draw_course(course, {"rgb": "#123456"}).axes[0].lines[1]
    np.testing.assert_allclose(curve.get_ydata(), 0.5)
    assert len(curve.get_xdata()) == count
