import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sartm_core.rig import Rig, load_rig
from sartm_sim.simulation import CONDITIONS, SimulatedFrame, SimulatedRig

SHARED_DATA = Path(os.environ.get("SARTM_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips what runs for minutes; what starts nodes comes first, since it takes longest."""

    def is_live(item: pytest.Item) -> bool:
        return "middleware" in getattr(item, "fixturenames", ()) or item.path.name == "test_demo.py"

    for item in items:
        if is_live(item) or "drive" in getattr(item, "fixturenames", ()):  # the recording takes seconds to make
            item.add_marker(pytest.mark.slow)
    items.sort(key=is_live, reverse=True)
    if "soak" in (config.getoption("-m") or ""):
        return
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason="runs for minutes: make soak"))


@pytest.fixture(scope="session")
def sim_rig() -> Rig:
    return load_rig("sim")


@pytest.fixture(scope="session")
def day_frame(sim_rig: Rig) -> SimulatedFrame:
    return SimulatedRig(sim_rig, seed=3).capture(2.0, CONDITIONS["day"])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real data are not in {SHARED_DATA}; set SARTM_SHARED_DATA")
    return SHARED_DATA


@pytest.fixture(scope="session")
def rgbt_pairs(shared_data: Path) -> Path:
    return shared_data / "rgbt_pairs"


MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """`made_once(name, make)`: the folder or file that `make(path)` writes, the same for all of pytest-xdist's workers.

    It must not be changed: tests that break something take a copy.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made_once"

    def get(name: str, make: Callable[[Path], object]) -> Path:
        shared.mkdir(exist_ok=True)
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = shared / f"{name}.done"
            if not done.exists():
                make(shared / name)
                done.touch()
        return shared / name

    return get


@pytest.fixture(scope="session")
def small_recording(made_once: MadeOnce) -> Path:
    """Twelve labelled frames of each split of simrig-5, on disk."""
    from sartm_sim.dataset import write_benchmark

    def make(out: Path) -> None:
        write_benchmark(load_rig("simrig5"), out, ["train", "val", "test"], 12, 2, lambda done, total: None)

    return made_once("simrig5", make)


@pytest.fixture(scope="session")
def shipped_graphs(made_once: MadeOnce) -> Path:
    """The shipped model as a bundle of ONNX graphs (opset 20) for images of 64x96."""
    from sartm_core.deploy import load_segmenter
    from sartm_core.files import sha256
    from sartm_core.learning.export import describe, write_onnx

    def make(folder: Path) -> None:
        folder.mkdir()
        shipped, size = load_segmenter("any_sensor_simrig5", "torch", "cpu"), (64, 96)
        graphs = write_onnx(shipped.network, size, shipped.bundle.rig.dtype, 20, "fp32", folder)
        files = {path.name: sha256(path) for path in folder.iterdir()}
        describe(folder, shipped.bundle.model_copy(update={"graphs": graphs, "files": files, "size": size}))

    return made_once("shipped_graphs", make)


@pytest.fixture(scope="session")
def half_size_graphs(made_once: MadeOnce) -> Path:
    """An untrained network as ONNX graphs; thermal and depth of its four modalities have half the size."""
    from untrained import untrained_bundle

    rig = load_rig("simrig5").only(["rgb", "thermal", "depth", "lidar"])
    return made_once(
        "half_size_graphs", lambda folder: untrained_bundle(folder, rig, opset=20, half_size=("thermal", "depth"))
    )
