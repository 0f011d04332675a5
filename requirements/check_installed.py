"""Checks that an installed sartm is complete: run with the environment's Python, from outside the checkout."""

import sys
from importlib.metadata import entry_points
from pathlib import Path

import sartm_core
from sartm_core.deploy.bundle import read_bundle
from sartm_core.resources import config_names, find_config, resolve_bundle, shipped_weights
from sartm_core.rig import load_rig
from sartm_core.sensing import encode
from sartm_sim.simulation import CONDITIONS, SimulatedRig

CHECKOUT = Path(__file__).resolve().parents[1]
FOLDERS = ("rigs", "scenarios", "class_maps")
LAUNCH_FILES = ("demo.launch.py", "perception.launch.py", "replay.launch.py")


def main() -> None:
    """Raises for the first thing that is missing, or that comes from the checkout."""
    prefix = Path(sys.prefix).resolve()
    share = prefix / "share" / "sartm_ros"
    found = [Path(sartm_core.__file__), find_config("rigs/sim.yaml"), find_config("fastdds_shm.xml")]
    found += [shipped_weights("nano.safetensors"), resolve_bundle("any_sensor_simrig5")]
    found += [share / "package.xml", *(share / "launch" / name for name in LAUNCH_FILES)]
    for path in found:
        assert path.exists(), f"{path} is missing"
        assert path.resolve().is_relative_to(prefix), f"{path} does not belong to this installation"
    for folder in FOLDERS:
        wanted = sorted(path.stem for path in (CHECKOUT / "config" / folder).glob("*.yaml"))
        assert config_names(folder) == wanted, f"config/{folder}: expected {wanted}, got {config_names(folder)}"
        assert all(path.suffix == ".yaml" for path in (share / "config" / folder).iterdir())
    bundle = read_bundle(resolve_bundle("any_sensor_simrig5"))  # also checks the hashes
    rig = load_rig("sim")
    frame = SimulatedRig(rig, seed=3).capture(2.0, CONDITIONS["day"])
    planes = {name: encode(rig.modality(name), raw) for name, raw in frame.raw.items()}
    commands = sorted(
        script.name for script in entry_points(group="console_scripts") if script.value.startswith("sartm_")
    )
    print(f"sartm {sartm_core.__version__} in {prefix}: {', '.join(commands)}")
    print(f"  {len(config_names('rigs'))} rigs; bundle {bundle.name}, whose hashes agree")
    print(f"  a simulated frame: {', '.join(f'{name} {array.shape}' for name, array in planes.items())}")


if __name__ == "__main__":
    main()
