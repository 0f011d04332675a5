"""`sartm segment`: images to masks, without ROS."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sartm_core.commands.common import stderr, stdout, user_errors
from sartm_core.errors import SartmError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy", ".npz"})


def segment(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Images of the reference camera, a folder of them, or a folder with one subfolder per modality (rgb, "
            "thermal, ...) whose files have equal names."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the masks: PNG files whose values are class ids.")],
    bundle: Annotated[str, typer.Option(help="A bundle's folder, or the name of a shipped one.")] = (
        "any_sensor_simrig5"
    ),
    rig: Annotated[str | None, typer.Option(help="Rig file or name, for its calibration. Default: the bundle's.")] = (
        None
    ),
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write <name>_overlay.png: classes over image.")] = (
        False
    ),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Segment images: one mask for each, and the mean weight that each sensor had."""
    with user_errors():
        from sartm_core.datasets.png import write_png
        from sartm_core.predictor import load

        model = load(bundle, rig, device=device)
        frames = _frames(inputs, model.rig.names, model.rig.reference)
        totals = dict.fromkeys(model.segmenter.bundle.rig.names, 0.0)
        columns = (TextColumn("segmenting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=stderr) as bar:
            for name, frame in bar.track(frames.items(), total=len(frames)):
                try:
                    result = model(frame, skip_broken=True)  # as on the robot
                except SartmError as error:
                    raise SartmError(f"{', '.join(str(path) for path in frame.values())}: {error}") from error
                for modality, fault in result.faults.items():
                    stderr.print(f"{frame[modality]}: left out: {fault}", soft_wrap=True, highlight=False)
                result.save(out / f"{name}.png")
                if overlay:
                    write_png(out / f"{name}_overlay.png", result.draw())
                totals = {key: total + result.weights[key] / len(frames) for key, total in totals.items()}
    weights = ", ".join(f"{name} {weight:.3f}" for name, weight in totals.items() if weight)
    stdout.print(f"{out}: {len(frames)} masks; mean weights: {weights}", soft_wrap=True, highlight=False)


def _frames(inputs: list[Path], names: tuple[str, ...], reference: str) -> dict[str, dict[str, Path]]:
    """Name of a mask -> modality -> file."""
    frames: dict[str, dict[str, Path]] = {}
    for given in inputs:
        folders = {name: given / name for name in names if (given / name).is_dir()}
        sources = folders or {reference: given}
        for modality, source in sources.items():
            for path in _files(source):
                other = frames.setdefault(path.stem, {}).setdefault(modality, path)
                if other != path:
                    raise SartmError(f"{path}: {other} has the same name, and so would its mask. Rename one.")
    return frames


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        found = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES)
        if not found:
            raise SartmError(f"{source}: holds no images ({', '.join(sorted(SUFFIXES))}).")
        return found
    if not source.is_file():
        raise SartmError(f"{source}: no such file or folder.")
    return [source]
