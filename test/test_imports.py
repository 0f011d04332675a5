"""The architecture's one direction of imports, and what a robot must not need."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# house -> houses whose modules it may import (itself always)
BASE = {"pretrained", "errors", "files", "resources", "checked_yaml", "calibration", "rig", "frames"}
ALLOWED = {
    "sensing": BASE,
    "simulation": BASE | {"sensing"},
    "model": BASE,
    "datasets": BASE | {"sensing", "simulation"},
    "evaluation": BASE | {"deploy", "datasets", "sensing", "model", "simulation"},
    "learning": BASE | {"model", "datasets", "evaluation", "sensing", "simulation"},
    "deploy": BASE | {"model", "sensing", "learning"},
    "commands": BASE | {"sensing", "simulation", "model", "datasets", "evaluation", "learning", "deploy"},
    "cli": {"commands"},
}


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def house_of(path: Path) -> str:
    return path.relative_to(ROOT / "sartm_core").with_suffix("").parts[0]


@pytest.mark.parametrize("path", sorted((ROOT / "sartm_core").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_core_imports_run_one_way(path: Path) -> None:
    house = house_of(path)
    allowed = ALLOWED.get(house, BASE) | {house, "__version__"}
    for name in imports_of(path):
        assert not name.startswith(("sartm_ros", "rclpy", "launch")), f"{path} imports {name}: the core knows no ROS"
        if name.startswith("sartm_core."):
            assert name.split(".")[1] in allowed, f"{path} imports {name}: against the direction of DESIGN"


def test_segmenters_need_no_training_code() -> None:
    files = ("torch_segmenter", "onnx_segmenter", "tensorrt_segmenter", "engine", "cuda", "host", "bundle", "__init__")
    for name in files:
        imported = imports_of(ROOT / "sartm_core" / "deploy" / f"{name}.py")
        assert not {n for n in imported if n.startswith(("sartm_core.learning", "sartm_core.datasets"))}


def test_synchroniser_imports_no_ros() -> None:
    assert not {
        n for n in imports_of(ROOT / "sartm_ros" / "synchronizer.py") if n.split(".")[0] not in sys.stdlib_module_names
    }


def loaded_modules(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_inference_loads_neither_peft_nor_lightning_nor_transformers() -> None:
    loaded = loaded_modules("from sartm_core.deploy import load_segmenter; load_segmenter('any_sensor_simrig5')")
    assert "torch" in loaded
    assert not {"peft", "lightning", "transformers", "pytorch_lightning"} & loaded


def test_core_is_light_to_import() -> None:
    loaded = loaded_modules("import sartm_core, sartm_core.rig, sartm_core.deploy, sartm_core.cli")
    assert not {"torch", "cv2", "rclpy", "sam2", "hydra", "matplotlib"} & loaded
