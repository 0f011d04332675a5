"""The architecture's one direction of imports, and what a robot must not need."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("sartm_core", "sartm_ros", "sartm_sim")

BASE = ("errors", "files", "outputs", "resources", "checked_yaml", "calibration", "segmentation", "version")
"""Modules of sartm_core that know no sensor and no network: one house, `base`."""

# house -> the houses that its modules may import, besides `base`; from the bottom to the top: a row names earlier ones
HOUSES: dict[str, tuple[str, ...]] = {
    "base": (),
    "kinds": (),
    "rig": ("kinds",),
    "sensing": ("kinds", "rig"),
    "calibrate": ("kinds", "rig", "sensing"),
    "model": ("rig",),
    "deploy": ("rig", "sensing", "model"),
    "datasets": ("rig", "sensing"),
    "sim.simulation": ("kinds", "rig", "sensing"),
    "evaluation": ("kinds", "rig", "sensing", "deploy", "datasets", "sim.simulation"),
    "learning": ("kinds", "rig", "sensing", "model", "deploy", "datasets", "evaluation", "sim.simulation"),
    "labels": ("rig", "datasets"),
    "predictor": ("rig", "sensing", "deploy", "datasets"),
    "commands": ("rig", "model", "deploy", "datasets", "evaluation", "learning", "labels", "predictor"),
    "cli": ("commands",),
    "ros.strays": (),
    "ros.streams": ("ros.strays",),
    "ros.synchronizer": ("ros.strays", "ros.streams"),
    "ros.filter_synchronizer": ("ros.streams", "ros.synchronizer"),
    "ros.explanations": ("ros.streams",),
    "ros.decoding": ("kinds", "rig", "sensing"),
    "ros.frame_sets": ("kinds", "rig", "sensing", "ros.decoding"),
    "ros.pipeline": ("kinds", "rig", "deploy", "ros.frame_sets"),
    "ros.labelled_cloud": ("rig", "sensing", "ros.frame_sets"),
    "ros.outputs": ("rig", "sensing", "ros.labelled_cloud"),
    "ros.result_messages": ("rig", "deploy", "ros.decoding", "ros.labelled_cloud", "ros.outputs"),
    "ros.node": (
        "kinds", "rig", "sensing", "deploy", "ros.streams", "ros.synchronizer", "ros.filter_synchronizer",
        "ros.explanations", "ros.decoding", "ros.frame_sets", "ros.pipeline", "ros.labelled_cloud", "ros.outputs",
        "ros.result_messages",
    ),
    "ros.bag": (
        "kinds", "rig", "sensing", "calibrate", "deploy", "datasets", "evaluation", "ros.strays", "ros.streams",
        "ros.synchronizer", "ros.explanations", "ros.decoding", "ros.frame_sets", "ros.pipeline", "ros.labelled_cloud",
        "ros.outputs", "ros.result_messages", "ros.node",
    ),
    "ros.views": ("rig",),
    "ros.fleet": (
        "rig", "deploy", "datasets", "evaluation", "labels", "ros.pipeline", "ros.result_messages", "ros.bag",
    ),
    "ros.commands": (
        "rig", "calibrate", "deploy", "datasets", "evaluation", "labels", "commands", "ros.outputs", "ros.bag",
        "ros.views", "ros.fleet",
    ),
    "sim.dataset": ("rig", "datasets", "sim.simulation"),
    "sim.messages": ("kinds", "rig", "sensing", "ros.decoding", "sim.simulation"),
    "sim.record": ("rig", "ros.decoding", "ros.bag", "sim.simulation", "sim.messages"),
    "sim.simulator_node": ("rig", "ros.decoding", "ros.node", "sim.simulation", "sim.messages"),
    "sim.demo": (
        "rig", "sensing", "deploy", "evaluation", "ros.decoding", "ros.labelled_cloud", "ros.bag", "ros.node",
        "sim.simulation", "sim.messages",
    ),
    "sim.commands": ("rig", "commands", "sim.simulation", "sim.dataset", "sim.record", "sim.demo"),
    "ros.cli": ("cli", "ros.commands", "sim.commands"),
}  # fmt: skip

FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def house_of(module: str) -> str | None:
    """`sartm_core.sensing.fit` -> `sensing`; None for the packages themselves, the front door."""
    package, *rest = module.split(".")
    if not rest or rest[0].startswith("__"):
        return None
    name = "base" if package == "sartm_core" and rest[0] in BASE else rest[0]
    return name if package == "sartm_core" else f"{package.removeprefix('sartm_')}.{name}"


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports_of(path: Path) -> set[str]:
    """Modules, also those that a function imports when it runs; of `from package import name` both."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name not in PACKAGES}


def cycles(graph: dict[str, set[str]]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    done: set[str] = set()

    def visit(house: str, way: tuple[str, ...]) -> None:
        if house in way:
            found.append(way[way.index(house) :])
        elif house not in done:
            for other in sorted(graph.get(house, ())):
                visit(other, (*way, house))
            done.add(house)

    for house in graph:
        visit(house, ())
    return found


def drawn() -> str:
    """The table as docs/architecture.md shows it."""
    width = max(map(len, HOUSES))
    rows = [f"{house:<{width}}  {', '.join(lower) or '-'}" for house, lower in HOUSES.items() if house != "base"]
    return "\n".join(rows)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    house = house_of(module_of(path))
    if house is None:
        return
    assert house in HOUSES, f"{path}: is in no house of the table"
    for name in imports_of(path):
        if name.split(".")[0] in PACKAGES:
            other = house_of(name)
            if other in HOUSES and other not in (house, "base"):
                assert other in HOUSES[house], f"{path} imports {name}: against the direction of the table"
        if path.is_relative_to(ROOT / "sartm_core"):
            assert not name.startswith(("sartm_ros", "rclpy", "launch")), (
                f"{path} imports {name}: the core knows no ROS"
            )


def test_the_table_has_no_circle_and_no_arrow_upwards() -> None:
    rows = list(HOUSES)
    for number, (house, lower) in enumerate(HOUSES.items()):
        assert set(lower) <= set(rows[:number]), f"{house}: names a house that stands above it"
    assert cycles({house: set(lower) for house, lower in HOUSES.items()}) == []


def test_the_sources_have_no_circle() -> None:
    """Independent of the table."""
    graph: dict[str, set[str]] = {}
    for path in FILES:
        house = house_of(module_of(path))
        others = {house_of(name) for name in imports_of(path) if name.split(".")[0] in PACKAGES}
        if house is not None:
            graph.setdefault(house, set()).update({other for other in others if other in HOUSES} - {house})
    assert cycles(graph) == []


def test_a_circle_would_be_found() -> None:
    assert cycles({"deploy": {"learning"}, "learning": {"evaluation"}, "evaluation": {"deploy"}}) == [
        ("deploy", "learning", "evaluation")
    ]


def test_the_architecture_page_shows_the_table() -> None:
    assert drawn() in (ROOT / "docs" / "architecture.md").read_text(), f"docs/architecture.md should show:\n{drawn()}"


def test_no_test_of_the_core_imports_ros() -> None:
    for path in (ROOT / "test" / "sartm_core").rglob("*.py"):
        assert not {name for name in imports_of(path) if name.startswith(("sartm_ros", "rclpy"))}, path


def test_synchroniser_imports_no_ros() -> None:
    for name in ("synchronizer", "streams", "strays"):
        imported = {one.split(".")[0] for one in imports_of(ROOT / "sartm_ros" / f"{name}.py")}
        assert imported <= sys.stdlib_module_names | {"sartm_ros"}, name


def loaded_modules(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_inference_loads_neither_torch_nor_training_code_nor_the_simulator() -> None:
    loaded = loaded_modules("import sartm_core; sartm_core.load('any_sensor_simrig5')")
    assert "onnxruntime" in loaded
    assert not {"torch", "torchmetrics", "onnx"} & loaded
    assert not {"peft", "lightning", "transformers", "pytorch_lightning", "sartm_sim"} & loaded


def test_core_is_light_to_import() -> None:
    loaded = loaded_modules("import sartm_core, sartm_core.rig, sartm_core.deploy, sartm_core.cli")
    assert not {"torch", "cv2", "rclpy", "sam2", "hydra", "matplotlib", "sartm_sim"} & loaded
