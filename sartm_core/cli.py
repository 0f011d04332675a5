"""The commands of the core: train, export, rigs. `sartm_ros.cli` adds those that need ROS or bags."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from sartm_core.errors import SartmError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Semantic segmentation for robots that keeps working when sensors don't.",
)
rig_app = typer.Typer(no_args_is_help=True, help="Rig files: a robot's sensors and classes.")
app.add_typer(rig_app, name="rig")
model_app = typer.Typer(no_args_is_help=True, help="Networks: what they are made of, what they cost.")
app.add_typer(model_app, name="model")
weights_app = typer.Typer(no_args_is_help=True, help="SAM2's official checkpoints.")
app.add_typer(weights_app, name="weights")

stdout = Console()
stderr = Console(stderr=True)

RigArgument = Annotated[str, typer.Argument(help="Rig file, or the name of a shipped rig.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@contextmanager
def user_errors() -> Iterator[None]:
    """Turns what the user can mend into a message and exit status 1."""
    try:
        yield
    except (SartmError, OSError) as error:
        stderr.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        stderr.print("interrupted")
        raise typer.Exit(1) from None


def print_json(content: Any) -> None:
    """Plain JSON on stdout, unwrapped."""
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


def log_to_stderr() -> None:
    """Progress messages of the libraries and ours."""
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=stderr, show_path=False)]
    )


@rig_app.command("check")
def rig_check(rig: RigArgument, json_output: JsonOption = False) -> None:
    """Check a rig file; every fault is named at once."""
    from sartm_core.rig import load_rig

    with user_errors():
        loaded = load_rig(rig)
    if json_output:
        print_json({"name": loaded.name, "modalities": list(loaded.names), "classes": list(loaded.class_names)})
    else:
        stdout.print(f"{loaded.name}: {len(loaded.modalities)} modalities, {len(loaded.classes)} classes, no faults")


@rig_app.command("show")
def rig_show(rig: RigArgument, json_output: JsonOption = False) -> None:
    """Show a rig: each modality's kind, encoding, size and topic."""
    from sartm_core.rig import load_rig

    with user_errors():
        loaded = load_rig(rig)
    if json_output:
        print_json(loaded.model_dump(mode="json"))
        return
    table = Table(
        title=f"{loaded.name}: planes {loaded.dtype}, reference {loaded.reference}", caption=loaded.description
    )
    for column in ("modality", "kind", "encoding", "size", "topic", "tolerance"):
        table.add_column(column, overflow="fold")
    for modality in loaded.modalities:
        encoding = str(getattr(modality, "encoding", ""))
        height, width = modality.size
        tolerance = f"{modality.tolerance_s * 1e3:g} ms"
        table.add_row(modality.name, modality.kind, encoding, f"{height}x{width}", modality.topic, tolerance)
    stdout.print(table)
    stdout.print(f"classes: {', '.join(loaded.class_names)}")


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe file, such as training/recipes/first_light.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder for last.ckpt and figures.json; earlier ones are replaced.")],
) -> None:
    """Train a network on the simulated rig."""
    from sartm_core.checked_yaml import read_yaml
    from sartm_core.learning.recipe import Recipe

    with user_errors():
        read = read_yaml(recipe, Recipe)
        log_to_stderr()
        from sartm_core.learning.train import train as run

        print_json(run(read, out))


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="last.ckpt, written by `sartm train`.")],
    out: Annotated[Path, typer.Option(help="The bundle's folder; a bundle that is there is replaced.")],
) -> None:
    """Turn a checkpoint into a bundle, all that inference needs."""
    with user_errors():
        from sartm_core.deploy.export import export as run

        bundle = run(checkpoint, out)
    stdout.print(f"{out}: bundle '{bundle.name}', rig '{bundle.rig.name}', input {bundle.size[0]}x{bundle.size[1]}")


@model_app.command("info")
def model_info(
    preset_name: Annotated[
        str, typer.Argument(metavar="PRESET", help="any_sensor, sartm, mle_sam, mean_fusion or sam_lora.")
    ],
    backbone: Annotated[str, typer.Option(help="nano, tiny, small, base_plus or large.")] = "base_plus",
    modalities: Annotated[str, typer.Option(help="Names, separated by commas.")] = "rgb,thermal",
    classes: Annotated[int, typer.Option(help="Number of classes.")] = 9,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the input.")] = "448x640",
    lora_rank: Annotated[int, typer.Option(help="Rank of every expert.")] = 16,
    json_output: JsonOption = False,
) -> None:
    """Show a network's parameters, what is frozen, and its cost."""
    try:
        height, width = (int(side) for side in size.split("x"))
    except ValueError:
        raise typer.BadParameter(f"expected HEIGHTxWIDTH such as 448x640, got {size}", param_hint="--size") from None
    names = tuple(name.strip() for name in modalities.split(","))
    with user_errors():
        from sartm_core.model.info import describe
        from sartm_core.model.presets import preset

        info = describe(preset(preset_name, backbone, names, classes, lora_rank), (height, width))
    if json_output:
        print_json(info)
        return
    table = Table(title=f"{preset_name}, {backbone}, {len(names)} modalities, {classes} classes, LoRA rank {lora_rank}")
    table.add_column("parameters")
    table.add_column("", justify="right")
    for name, count in info["parameters"].items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    stdout.print(table)
    frozen = ", ".join(f"{part} ({count:,})" for part, count in info["frozen"].items())
    stdout.print(f"frozen with SAM2's weights: {frozen}")
    costs = Table(title=f"GFLOP at {height}x{width} (1 multiply-add = 2), experts merged")
    costs.add_column("part")
    costs.add_column("", justify="right")
    costs.add_row("encoder, each modality", f"{info['gflop']['encoder_per_modality']:.1f}")
    costs.add_row("routing and decoders", f"{info['gflop']['after_the_encoder']:.1f}")
    for count, cost in enumerate(info["gflop"]["whole"], start=1):
        costs.add_row(f"whole, {count} present", f"{cost:.1f}")
    stdout.print(costs)


@weights_app.command("list")
def weights_list(json_output: JsonOption = False) -> None:
    """List the official checkpoints, their addresses, and which are here."""
    from sartm_core.pretrained import CHECKPOINTS, local_path

    rows = {name: (official, local_path(name)) for name, official in CHECKPOINTS.items()}
    if json_output:
        print_json(
            [
                {
                    "name": name,
                    "backbone": official.backbone,
                    "url": official.url,
                    "path": str(path),
                    "here": path.is_file(),
                }
                for name, (official, path) in rows.items()
            ]
        )
        return
    table = Table()
    for column in ("name", "backbone", "here", "address"):
        table.add_column(column, overflow="fold")
    for name, (official, path) in rows.items():
        table.add_row(name, official.backbone, "yes" if path.is_file() else "", official.url)
    stdout.print(table)


@weights_app.command("pull")
def weights_pull(
    name: Annotated[str, typer.Argument(help="Such as sam2.1_tiny; see `sartm weights list`.")],
    url: Annotated[str | None, typer.Option(help="Another address of the same file.")] = None,
) -> None:
    """Download a checkpoint to the cache folder ($SARTM_CACHE); goes on where it was interrupted."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from sartm_core.pretrained import pull

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with user_errors(), Progress(*columns, console=stderr) as bar:
        task = bar.add_task(name, total=None)
        path = pull(name, url=url, progress=lambda done, total: bar.update(task, completed=done, total=total))
    stdout.print(str(path), soft_wrap=True)


@weights_app.command("check")
def weights_check(
    name: Annotated[str, typer.Argument(help="Such as sam2.1_tiny, or the path of a .pt file with --backbone.")],
    backbone: Annotated[str | None, typer.Option(help="tiny, small, base_plus or large; for a path.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Load a checkpoint into a network and say what matched, was missing, left out or unknown."""
    with user_errors():
        from sartm_core.model.checkpoint import load_sam2
        from sartm_core.model.network import MultiModalNetwork
        from sartm_core.model.presets import any_sensor
        from sartm_core.pretrained import CHECKPOINTS, local_path

        if backbone is None:
            path, backbone = local_path(name), CHECKPOINTS[name].backbone
        else:
            path = Path(name)
        report = load_sam2(MultiModalNetwork(any_sensor(backbone, ("rgb",), 1, 1)), path)
        if report.missing:
            raise SartmError(
                f"{path}: has nothing for {len(report.missing)} parameters, the first is {report.missing[0]}."
            )
    if json_output:
        counts = {field: len(getattr(report, field)) for field in ("matched", "missing", "left_out")}
        print_json({"path": str(path), "backbone": backbone, **counts, "unexpected": list(report.unexpected)})
        return
    stdout.print(
        f"{path}: {backbone}, {len(report.matched)} entries fit, {len(report.left_out)} belong to parts of SAM2 that "
        f"are not used, {len(report.unexpected)} are unknown",
        soft_wrap=True,
    )
