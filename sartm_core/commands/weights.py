"""`sartm weights`: SAM2's official checkpoints, ours, and what SARTM's authors publish."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from sartm_core.commands.common import JsonOption, WholeSummaries, print_json, stderr, stdout, user_errors

weights_app = typer.Typer(
    cls=WholeSummaries, no_args_is_help=True, help="Weights: SAM2's official ones, ours, and SARTM's."
)


@weights_app.command("list")
def weights_list(json_output: JsonOption = False) -> None:
    """List the official checkpoints, their addresses, and which are downloaded."""
    from sartm_core.model.download import CHECKPOINTS, local_path

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
    for column in ("name", "backbone", "downloaded", "address"):
        table.add_column(column, overflow="fold")
    for name, (official, path) in rows.items():
        table.add_row(name, official.backbone, "yes" if path.is_file() else "", official.url)
    stdout.print(table)


@weights_app.command("pull")
def weights_pull(
    name: Annotated[str, typer.Argument(help="Such as sam2.1_tiny; see `sartm weights list`.")],
    url: Annotated[str | None, typer.Option(help="Another address of the same file.")] = None,
) -> None:
    """Download a checkpoint to the cache folder ($SARTM_CACHE); resumes if interrupted."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from sartm_core.model.download import pull

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with user_errors(), Progress(*columns, console=stderr) as bar:
        task = bar.add_task(name, total=None)
        path = pull(name, url=url, progress=lambda done, total: bar.update(task, completed=done, total=total))
    stdout.print(str(path), soft_wrap=True)


@weights_app.command("extract")
def weights_extract(
    checkpoint: Annotated[Path, typer.Argument(help="A .ckpt of `sartm train`, trained with train_experts: false.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
) -> None:
    """Extract encoder and transformer of a checkpoint, for a recipe's initial_weights."""
    with user_errors():
        from sartm_core.learning.checkpoints import extract_pretrained

        count = extract_pretrained(checkpoint, out)
    stdout.print(f"{out}: {count} tensors, half precision", soft_wrap=True)


@weights_app.command("convert")
def weights_convert(
    weights: Annotated[Path, typer.Argument(help="SARMT_PST_89.88.pth, as SARTM's authors publish it.")],
    out: Annotated[Path, typer.Option(help="The .ckpt file to write.")],
) -> None:
    """Convert SARTM's published PST900 weights to a checkpoint, for `sartm evaluate` and `sartm export`."""
    with user_errors():
        from sartm_core.learning.conversion import convert_released

        used, left_out = convert_released(weights, out)
    stdout.print(
        f"{out}: sartm_released, {used} tensors; {left_out} belong to parts that do not decide the answer",
        soft_wrap=True,
    )


@weights_app.command("check")
def weights_check(
    name: Annotated[str, typer.Argument(help="Such as sam2.1_tiny, or the path of a .pt file with --backbone.")],
    backbone: Annotated[str | None, typer.Option(help="tiny, small, base_plus or large; for a path.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Load a checkpoint into a network, as a run does, and report matched, unused and unknown entries."""
    with user_errors():
        from sartm_core.model.download import CHECKPOINTS, local_path
        from sartm_core.model.network import MultiModalNetwork
        from sartm_core.model.presets import any_sensor
        from sartm_core.model.sam2_weights import load_sam2

        if backbone is None:
            path, backbone = local_path(name), CHECKPOINTS[name].backbone
        else:
            path = Path(name)
        report = load_sam2(MultiModalNetwork(any_sensor(backbone, ("rgb",), 1, 1)), path)
    if json_output:
        counts = {field: len(getattr(report, field)) for field in ("matched", "left_out")}
        print_json({"path": str(path), "backbone": backbone, **counts, "unexpected": list(report.unexpected)})
        return
    stdout.print(
        f"{path}: {backbone}, {len(report.matched)} entries fit, {len(report.left_out)} belong to unused parts of "
        f"SAM2, {len(report.unexpected)} are unknown",
        soft_wrap=True,
    )
