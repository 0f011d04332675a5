"""Locates configuration and weights: in the checkout, or installed by pip or colcon."""

import os
from pathlib import Path

from sartm_core.errors import SartmError

_PACKAGE = Path(__file__).resolve().parent


def share_directories() -> list[Path]:
    """Folders that may hold `config/` and `launch/`, the checkout first, then the installation prefixes."""
    checkout = _PACKAGE.parent
    installed = list(_PACKAGE.parents)[3:4]  # <prefix>/lib/pythonX.Y/{site,dist}-packages/sartm_core
    ament = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    return [checkout, *(prefix / "share" / "sartm_ros" for prefix in (*installed, *ament))]


def find_config(relative: str) -> Path:
    """The path of a shipped configuration file, such as `rigs/sim.yaml` or `fastdds_shm.xml`.

    Raises:
        SartmError: it is in none of the known locations.
    """
    candidates = [directory / "config" / relative for directory in share_directories()]
    for path in candidates:
        if path.is_file():
            return path
    searched = ", ".join(str(path.parent) for path in candidates)
    raise SartmError(
        f"config/{relative} was not found in {searched}. Install the package with `pip install .` or `colcon build`."
    )


def config_names(folder: str) -> list[str]:
    """The names (without `.yaml`) of the shipped files in one folder of `config/`."""
    return sorted(
        {path.stem for directory in share_directories() for path in (directory / "config" / folder).glob("*.yaml")}
    )


def resolve_config(name_or_path: str, folder: str) -> Path:
    """A path as given, or the name of a shipped file in `config/<folder>/`.

    Raises:
        SartmError: neither a file nor a shipped name; the message lists the names that exist.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if path.is_dir() and name_or_path not in config_names(folder):  # a folder may have a shipped file's name
        raise SartmError(f"{path}: is a folder; expected a YAML file.")
    if path.suffix or len(path.parts) > 1:
        raise SartmError(
            f"{path}: no such file. Give the path of a YAML file, or one of: {', '.join(config_names(folder))}."
        )
    if name_or_path not in config_names(folder):
        known = ", ".join(config_names(folder))
        raise SartmError(
            f"no {folder[:-1]} is called '{name_or_path}'. Known: {known}; or give the path of a YAML file."
        )
    return find_config(f"{folder}/{name_or_path}.yaml")


def resolve_bundle(name_or_path: str) -> Path:
    """A bundle folder as given, or the name of a bundle shipped with the package.

    Raises:
        SartmError: neither a folder nor a shipped name.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    shipped = _PACKAGE / "weights" / name_or_path
    if len(path.parts) == 1 and shipped.is_dir():
        return shipped
    names = ", ".join(sorted(p.name for p in (_PACKAGE / "weights").iterdir() if p.is_dir())) or "none"
    raise SartmError(
        f"bundle '{name_or_path}' was not found: expected a folder written by `sartm export`, or the name of a shipped "
        f"bundle ({names})."
    )


def shipped_weights(name: str) -> Path:
    """The path of a weights file shipped with the package; it may not exist."""
    return _PACKAGE / "weights" / name


def cache_folder() -> Path:
    """Where downloads and engines are kept: `$SARTM_CACHE`, else `sartm` in XDG_CACHE_HOME or `~/.cache`.

    Raises:
        SartmError: this user has no home, as in a container with a uid of its own.
    """
    if configured := os.environ.get("SARTM_CACHE"):
        return Path(configured)
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches) / "sartm"
    try:
        return Path.home() / ".cache" / "sartm"
    except RuntimeError as error:
        raise SartmError(
            f"user {os.getuid()} has no home directory to keep downloads and engines in. Set SARTM_CACHE to a folder."
        ) from error
