"""The files of a recording: which they are, and what metadata.yaml says of them."""

import shlex
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from sartm_core.checked_yaml import load_yaml
from sartm_core.errors import SartmError
from sartm_core.files import natural_key
from sartm_ros.bag.compression import COMPRESSED_SUFFIX, uncompressed_name

STORAGE_SUFFIXES = (".mcap", ".db3")
_ROS1_SUFFIXES = (".bag", ".bag.active")
_ROS1_MAGIC = b"#ROSBAG V"


def storage_files(path: Path) -> list[Path]:
    """The storage files of a folder, in the order of recording, or the one that is given.

    Raises:
        SartmError: there are none; says what else it is.
    """
    if not path.exists():
        raise SartmError(f"{path}: no such recording. Give a rosbag2 folder, or a .mcap or .db3 file.")
    here = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    # A file that also exists uncompressed was being compressed when the recorder ended.
    names = {file.name for file in here}
    here = [file for file in here if file.suffix != COMPRESSED_SUFFIX or uncompressed_name(file) not in names]
    files = [file for file in here if uncompressed_name(file).endswith(STORAGE_SUFFIXES)]
    if not files:
        raise SartmError(_what_else(path, here))
    return sorted(files, key=lambda file: (natural_key(file.name), file.name))


def recording_name(path: Path) -> str:
    """A recording's name: that of its folder (also of `.`), or of its file without the suffix of its storage.

    Other dots are part of the name: `drive.2024-05-01` and `drive.2024-05-02` are two recordings.
    """
    name = path.resolve().name
    if path.is_dir():
        return name
    for suffix in (COMPRESSED_SUFFIX, *STORAGE_SUFFIXES):
        name = name.removesuffix(suffix)
    return name


def _what_else(path: Path, files: list[Path]) -> str:
    ros1 = sorted(file for file in files if _is_ros1(file))
    if ros1:
        what = "is a ROS 1 bag" if path.is_file() else f"holds a ROS 1 bag, {ros1[0].name}, and no recording of ROS 2"
        return f"{path}: {what}. {_way_out(ros1[0])}"
    storage = _description(path).get("storage_identifier") if path.is_dir() else None
    if storage not in (None, "", "mcap", "sqlite3"):
        return (
            f"{path}: holds no .mcap or .db3 file; metadata.yaml names the storage {storage!r}. Convert it where that "
            "storage's plugin is installed: ros2 bag convert, with `storage_id: mcap`."
        )
    return f"{path}: is not a recording. Give a rosbag2 folder, or a .mcap or .db3 file."


def _is_ros1(file: Path) -> bool:
    if file.name.endswith(_ROS1_SUFFIXES):
        return True
    with suppress(OSError), file.open("rb") as stream:
        return stream.read(len(_ROS1_MAGIC)) == _ROS1_MAGIC
    return False


def _way_out(file: Path) -> str:
    """The command that converts a ROS 1 bag; a target that ends in .bag would become another ROS 1 bag."""
    name = file.name
    for suffix in reversed(_ROS1_SUFFIXES):
        name = name.removesuffix(suffix)
    source, first = file, "Convert it"
    if file.name.endswith(_ROS1_SUFFIXES[1]):
        source = file.with_name(f"{name}.bag")
        first = (
            f"Its recorder was not closed. Rename it to {source.name}, write its index with ROS 1's "
            f"`rosbag reindex {shlex.quote(source.name)}`, then convert it"
        )
    return f"{first}: rosbags-convert --src {shlex.quote(str(source))} --dst {shlex.quote(name)}"


def described(path: Path) -> dict[str, Any] | None:
    """What a folder's metadata.yaml says; None where it cannot be understood."""
    found = _description(path)
    return found if isinstance(found.get("relative_file_paths"), list) else None


def _description(path: Path) -> dict[str, Any]:
    try:
        found = load_yaml(path / "metadata.yaml").get("rosbag2_bagfile_information")
    except SartmError:
        return {}
    return found if isinstance(found, dict) else {}


def custom_data(path: Path) -> dict[str, str]:
    """What the recorder's user noted in metadata.yaml."""
    found = _description(path).get("custom_data") if path.is_dir() else None
    if not isinstance(found, dict):
        return {}
    return {str(key): str(value) for key, value in found.items() if not isinstance(value, dict | list)}


def unlike_metadata(path: Path, files: list[Path]) -> list[str]:
    """A line for each storage file that metadata.yaml names and that is not there, or the other way round."""
    if not path.is_dir() or (content := described(path)) is None:
        return []
    named = {uncompressed_name(PurePath(str(name))) for name in content["relative_file_paths"]}
    here = {uncompressed_name(file) for file in files}
    return [
        *(f"{path.name}: metadata.yaml names {name}, which is missing." for name in sorted(named - here)),
        *(f"{path.name}: {name} is read, though metadata.yaml does not name it." for name in sorted(here - named)),
    ]


def why_unclean(path: Path, files: list[Path]) -> str | None:
    """Signs that the recorder was not closed properly, which rosbags overlooks or cannot handle."""
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        return "it has no metadata.yaml"
    if path.is_dir() and described(path) is None:
        return "its metadata.yaml is damaged"
    left = [file.name for file in files if unmerged(file)]
    return f"{left[0]}-wal was not merged" if left else None


def unmerged(file: Path) -> bool:
    """Whether messages are still in SQLite's write-ahead log, which rosbags does not read."""
    logs = [one.with_name(f"{one.name}-wal") for one in (file, file.resolve())]  # beside a link, or its target
    return any(log.exists() and log.stat().st_size > 0 for log in logs)
