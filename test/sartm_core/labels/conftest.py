"""A frame folder to import labels into, and what the command says and writes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from sartm_core.cli import app
from sartm_core.datasets.dataset import TRUTH, Frame
from sartm_core.datasets.frame_folder import FrameFolder, FrameFolderWriter, write_frame
from sartm_core.rig import load_rig

SIZE = (20, 28)
RIG = load_rig("sim")


@pytest.fixture
def frames(tmp_path: Path) -> FrameFolder:
    """Frames train/100, train/200 and val/300 of 20x28 pixels, not labelled."""
    with FrameFolderWriter(tmp_path / "drive", RIG, "drive", {}) as writer:
        for split, identity in (("train", "100"), ("train", "200"), ("val", "300")):
            frame = Frame(split=split, id=identity, modalities=("rgb",))
            write_frame(writer.part, frame, {"rgb": np.zeros((*SIZE, 3), np.uint8)}, np.full(SIZE, 255, np.uint8))
            writer.add(frame)
    return FrameFolder(tmp_path / "drive")


@pytest.fixture
def class_id() -> Callable[[str], int]:
    return RIG.class_names.index


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """What an annotation tool exported."""
    (tmp_path / "task").mkdir()
    return tmp_path / "task"


def invoke(frames: FrameFolder, source: Path, more: tuple[str | Path, ...]) -> Any:
    command = ["data", "import-labels", frames.folder, "--from", source, *more]
    return CliRunner().invoke(app, [str(word) for word in command])


@pytest.fixture
def imported(frames: FrameFolder) -> Callable[..., dict[str, np.ndarray]]:
    """Imports, and returns the labels of the frames that have any now."""

    def take(source: Path, *more: str | Path) -> dict[str, np.ndarray]:
        result = invoke(frames, source, more)
        assert result.exit_code == 0, result.output
        truths = {f"{frame.split}/{frame.id}": frames.truth(frame) for frame in frames.frames()}
        labelled = {place: truth for place, truth in truths.items() if (truth != 255).any()}
        assert f"{len(labelled)} frames labelled" in result.output
        return labelled

    return take


@pytest.fixture
def refused(frames: FrameFolder) -> Callable[..., str]:
    """Imports in vain: an error, no traceback, and nothing written; returns the message."""

    def take(source: Path, *more: str | Path) -> str:
        paths = [frames.path(frame, TRUTH) for frame in frames.frames()]
        before = [path.read_bytes() for path in paths]
        result = invoke(frames, source, more)
        assert result.exit_code == 1, result.output
        assert isinstance(result.exception, SystemExit)
        assert result.output.startswith("error: ")
        assert [path.read_bytes() for path in paths] == before
        return result.output.removeprefix("error: ")

    return take


@pytest.fixture
def write(task: Path) -> Callable[[str, Any], Path]:
    """Writes a file of the task: text as it is, other content as JSON."""

    def put(name: str, content: Any) -> Path:
        path = task / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return put
