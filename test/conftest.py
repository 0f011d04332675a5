import os
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

    for item in filter(is_live, items):
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


@pytest.fixture(scope="session")
def small_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve labelled frames of each split of simrig-5, on disk."""
    from sartm_sim.dataset import write_benchmark

    out = tmp_path_factory.mktemp("recording") / "simrig5"
    write_benchmark(load_rig("simrig5"), out, ["train", "val", "test"], 12, 2, lambda done, total: None)
    return out
