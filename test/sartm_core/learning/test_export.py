"""`sartm export` from a bundle: weights in, weights or graphs out."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner
from untrained import untrained_bundle

from sartm_core.cli import app
from sartm_core.deploy import choose_backend, load_segmenter
from sartm_core.deploy.bundle import WEIGHTS_FILE, Bundle, read_bundle
from sartm_core.errors import SartmError
from sartm_core.files import sha256
from sartm_core.learning import export as exporting
from sartm_core.learning.export import describe, export
from sartm_core.resources import resolve_bundle
from sartm_core.rig import load_rig

SHIPPED = "any_sensor_simrig5"


@pytest.fixture
def mixed(shipped_graphs: Path, tmp_path: Path) -> Path:
    """Graphs and weights in one folder."""
    folder = Path(shutil.copytree(shipped_graphs, tmp_path / "mixed"))
    shutil.copy(resolve_bundle(SHIPPED) / WEIGHTS_FILE, folder)
    bundle = read_bundle(folder)
    files = bundle.files | {WEIGHTS_FILE: sha256(folder / WEIGHTS_FILE)}
    describe(folder, bundle.model_copy(update={"files": files}))
    return folder


class TestFromABundle:
    def test_weights_in_weights_out(self, tmp_path: Path) -> None:
        source = read_bundle(resolve_bundle(SHIPPED))
        result = CliRunner().invoke(app, ["export", SHIPPED, "--size", "64x96", "--out", str(tmp_path / "out")])
        assert result.exit_code == 0, result.output
        assert "input 64x96, weights" in result.output
        written = read_bundle(tmp_path / "out")
        kept = ("name", "rig", "network", "fit", "recipe", "figures")
        assert all(getattr(written, field) == getattr(source, field) for field in kept)
        assert written.files == {WEIGHTS_FILE: source.files[WEIGHTS_FILE]}  # bit by bit

    @pytest.mark.slow
    def test_both_forms_lie_in_one_folder(self, shipped_graphs: Path, tmp_path: Path, monkeypatch) -> None:
        def written(network: Any, size: Any, dtype: Any, opset: int, precision: str, folder: Path, argmax: str) -> Any:
            assert (size, opset, precision) == ((64, 96), 20, "fp32")
            for path in shipped_graphs.glob("*.onnx"):
                shutil.copy(path, folder)
            return read_bundle(shipped_graphs).graphs

        monkeypatch.setattr(exporting, "write_onnx", written)  # it takes a minute, and test_onnx.py tests it
        bundle = export(SHIPPED, tmp_path / "out", size=(64, 96), form="both", opset=20)
        assert set(bundle.files) == {"encoder.onnx", "head.onnx", WEIGHTS_FILE}
        assert read_bundle(tmp_path / "out") == bundle

    @pytest.mark.slow
    def test_graphs_alone_are_no_source(self, shipped_graphs: Path, tmp_path: Path) -> None:
        with pytest.raises(SartmError, match=r"holds ONNX graphs alone, and no weights\.safetensors\. Give the checkp"):
            export(shipped_graphs, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_what_is_neither_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(SartmError, match=r"bundle 'nosuch' was not found.*any_sensor_simrig5"):
            export("nosuch", tmp_path / "out")
        with pytest.raises(SartmError, match=r"nosuch\.ckpt"):
            export(tmp_path / "nosuch.ckpt", tmp_path / "out")


class TestGraphsAndWeights:
    @pytest.mark.slow
    def test_each_backend_takes_its_own(self, mixed: Path) -> None:
        assert load_segmenter(mixed, device="cpu").backend == "onnx on CPU"
        torch_segmenter, onnx_segmenter = (load_segmenter(mixed, backend, "cpu") for backend in ("torch", "onnx"))
        assert torch_segmenter.backend == "torch on cpu, fp32"
        planes = {m.name: np.full((3, 64, 96), 40, np.float32) for m in torch_segmenter.bundle.rig.modalities}
        wanted, got = torch_segmenter.segment(planes), onnx_segmenter.segment(planes)
        assert (wanted.mask == got.mask).mean() >= 0.9999

    @pytest.mark.slow
    def test_without_onnx_runtime_torch_runs_it(self, mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert choose_backend(read_bundle(mixed), "auto")[0] == "torch"

    @pytest.mark.slow
    def test_planes_that_the_graphs_cannot_take_go_to_torch(self, mixed: Path, shipped_graphs: Path) -> None:
        def of_eight_bits(folder: Path) -> Bundle:
            bundle = read_bundle(folder)
            return bundle.model_copy(update={"rig": bundle.rig.only(["rgb"])})

        assert of_eight_bits(mixed).rig.dtype == np.uint8
        assert choose_backend(of_eight_bits(mixed), "cpu", float_planes=True)[0] == "torch"
        assert choose_backend(of_eight_bits(shipped_graphs), "cpu", float_planes=True)[0] == "onnx"
        assert choose_backend(read_bundle(mixed), "cpu", float_planes=True)[0] == "onnx"

    @pytest.mark.parametrize("format_number", [5, 6])
    def test_bundles_of_one_form_are_read_as_before(self, format_number: int, tmp_path: Path) -> None:
        folder = untrained_bundle(tmp_path / "bundle", load_rig("sim").only(["rgb"]))
        described = json.loads((folder / "bundle.json").read_text()) | {"format": format_number}
        (folder / "bundle.json").write_text(json.dumps(described))
        assert load_segmenter(folder, device="cpu").backend == "torch on cpu, fp32"
