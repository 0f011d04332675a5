"""docs/extending.md, followed literally: its code blocks are what is run here."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from typer.testing import CliRunner

from sartm_core.cli import app
from sartm_core.datasets.layouts import open_data
from sartm_core.deploy import Segmenter, StagedSegmenter, load_segmenter
from sartm_core.deploy.bench import measure
from sartm_core.deploy.bundle import read_bundle
from sartm_core.evaluation.evaluate import evaluate
from sartm_core.evaluation.parity import check, compare, frames_of
from sartm_core.evaluation.results import as_dict
from sartm_core.learning.export import export
from sartm_core.learning.overrides import read_recipe
from sartm_core.learning.run import train
from sartm_core.model import peer_config, presets

ROOT = Path(__file__).resolve().parents[1]

RADAR_RIG = """
name: radar_car
reference: rgb
modalities:
  rgb: {kind: rgb, size: [100, 120], topic: /rgb, intrinsics: {fx: 100, fy: 100, cx: 60, cy: 50}}
  radar: {kind: radar, size: [100, 120], topic: /radar}
classes: [{name: road, color: [128, 64, 128]}]
"""
RADAR_USE = """
import numpy as np
from sartm_core.learning.augmentation import Augmentation, augment
from sartm_core.model.presets import preset_for_rig
from sartm_core.rig import load_rig
from sartm_core.sensing import Fit, encode_frame
from sartm_ros.frame_sets import FrameSetProcessor

rig = load_rig("rig.yaml")
points = np.array([[10.0, 0.0, 0.0, 7.0], [20.0, 1.0, 0.0, 3.0]], np.float32)
found = encode_frame(rig, {"rgb": np.zeros((100, 120, 3), np.uint8), "radar": points})
assert not found.faults, found.faults
assert found.planes["radar"][:, 50, 60].tolist() == [10.0, 7.0, 0.0]  # straight ahead: the image's centre
radar = rig.modality("radar")
assert radar.picture(found.images["radar"]).shape == (100, 120, 3)
fitted = Fit("stretch", (100, 120), (64, 96)).planes(found.planes["radar"], sparse=radar.sparse)
assert set(np.unique(fitted[1])) <= {0.0, 7.0, 3.0}  # never blended
planes, truth = augment(
    found.planes, np.zeros((100, 120), np.uint8), {m.name: m for m in rig.modalities}, (64, 96), Augmentation(),
    np.random.default_rng(0),
)
assert planes["radar"].shape == (3, 64, 96)
assert preset_for_rig("any_sensor", "nano", rig, 4).sparse == ("radar",)
FrameSetProcessor(rig, rig)
"""


def block(title: str) -> str:
    found = re.search(
        rf'```python title="{re.escape(title)}"\n(.*?)```', (ROOT / "docs" / "extending.md").read_text(), re.S
    )
    assert found is not None, f"docs/extending.md has no block {title}"
    return found[1]


def module_of(title: str, folder: Path) -> ModuleType:
    path = folder / title
    path.write_text(block(title))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_a_kind_of_sensor(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "any_sensor_simrig5")
    for package in ("sartm_core", "sartm_ros"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    (tmp_path / "sartm_core" / "kinds" / "radar.py").write_text(block("sartm_core/kinds/radar.py"))
    union = tmp_path / "sartm_core" / "kinds" / "__init__.py"
    text = union.read_text().replace(
        "from sartm_core.kinds.rgb", block("sartm_core/kinds/__init__.py") + "from sartm_core.kinds.rgb"
    )
    union.write_text(re.sub(r"(Modality = \([^)]*?)\n\)", r"\1 | RadarModality\n)", text))
    (tmp_path / "rig.yaml").write_text(RADAR_RIG)
    run = subprocess.run([sys.executable, "-c", RADAR_USE], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_a_network(tmp_path: Path, small_recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains, is exported both ways, agrees with itself, is scored, drawn and timed."""
    monkeypatch.setitem(presets.PRESETS, "small", module_of("my_network.py", tmp_path).small)
    changes = [
        "preset=small", f"data.root={small_recording}", "network.width=24", "initial_weights=null", "workers=0",
        "stages=[{size: [64, 96], samples: 16, batch: 4, learning_rate: 0.01}]", "validate_every=4",
        "losses.per_modality=0.1",
    ]  # fmt: skip
    train(read_recipe(ROOT / "training" / "recipes" / "smoke.yaml", changes), tmp_path / "run")
    checkpoint = tmp_path / "run" / "best.ckpt"
    export(checkpoint, tmp_path / "weights")
    bundle = export(checkpoint, tmp_path / "graphs", form="onnx")
    torch_form, onnx_form = load_segmenter(tmp_path / "weights"), load_segmenter(tmp_path / "graphs", device="cpu")
    check(compare(torch_form, onnx_form, frames_of(str(small_recording), bundle.rig, 2)), "fp32")
    assert 0 <= as_dict(evaluate(torch_form, open_data(small_recording), "test", limit=2))["clean"]["miou"] <= 1
    assert all(row["gflop"] > 0 for row in measure(torch_form, False, 1)["rows"])
    drawn = CliRunner().invoke(
        app, ["pictures", str(checkpoint), "--data", str(small_recording), "--out", str(tmp_path / "p"), "--count", "4"]
    )
    assert drawn.exit_code == 0, drawn.output
    assert (tmp_path / "p" / "features.png").is_file()


@pytest.mark.slow
def test_a_backend(tmp_path: Path, small_recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers as the shipped backends do, and every caller takes it."""
    monkeypatch.setitem(presets.PRESETS, "small", module_of("my_network.py", tmp_path).small)
    changes = [
        "preset=small", f"data.root={small_recording}", "initial_weights=null", "workers=0", "validate_every=1",
        "stages=[{size: [64, 96], samples: 2, batch: 2, learning_rate: 0.01}]",
    ]  # fmt: skip
    train(read_recipe(ROOT / "training" / "recipes" / "smoke.yaml", changes), tmp_path / "run")
    folder = tmp_path / "graphs"
    export(tmp_path / "run" / "last.ckpt", folder, form="onnx")
    mine: Segmenter = module_of("my_segmenter.py", tmp_path).PlainOnnxSegmenter(read_bundle(folder), folder)
    assert not isinstance(mine, StagedSegmenter)
    ours = load_segmenter(folder, device="cpu")
    assert isinstance(ours, StagedSegmenter)
    results = compare(ours, mine, frames_of(str(small_recording), mine.bundle.rig, 2))
    check(results, "fp32")
    rows = measure(mine, False, 1)["rows"]
    assert rows[0]["modalities"] == mine.bundle.rig.names[0]
    assert all(np.isfinite(row["per_second"]) for row in rows)
    data = open_data(small_recording)
    scores = [as_dict(evaluate(one, data, "test", limit=2))["clean"] for one in (mine, ours)]
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_a_peer(tmp_path: Path, small_recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code from outside trains and is scored where the command line names it, and nowhere else."""
    (tmp_path / "my_peer.py").write_text(block("my_peer.py"))
    monkeypatch.chdir(tmp_path)
    recipe = str(ROOT / "training" / "recipes" / "smoke.yaml")
    peer, data = ["--peer", "my_peer:build"], ["--data", str(small_recording)]
    changes = ["stages=[{size: [64, 96], samples: 8, batch: 4, learning_rate: 0.01}]", "workers=0", "validate_every=2"]
    settings = [part for one in changes for part in ("--set", one)]
    trained = CliRunner().invoke(app, ["train", recipe, "--out", "run", *data, *peer, *settings])
    assert trained.exit_code == 0, trained.output
    sys.modules.pop("my_peer")
    monkeypatch.setattr(peer_config, "_trusted", set())  # as in another process
    evaluate_it = ["evaluate", "run/last.ckpt", *data, "--limit", "2", "--json"]
    refused = CliRunner().invoke(app, evaluate_it)
    assert refused.exit_code == 1
    assert "add --peer my_peer:build" in refused.output
    assert "my_peer" not in sys.modules
    trained = CliRunner().invoke(app, [*evaluate_it, "--protocol", "subsets", *peer])
    assert trained.exit_code == 0, trained.output
    untrained = CliRunner().invoke(app, ["evaluate", recipe, *data, "--limit", "2", "--json", *peer])
    assert untrained.exit_code == 0, untrained.output
    scores = [json.loads(result.stdout)["clean"]["miou"] for result in (trained, untrained)]
    assert scores[0] != scores[1]
