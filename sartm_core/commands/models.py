"""`sartm model`: parameters and cost of networks."""

from dataclasses import replace
from typing import Annotated

import typer
from rich.table import Table

from sartm_core.commands.common import JsonOption, WholeSummaries, print_json, stdout, user_errors
from sartm_core.model.presets import PRESETS, NetworkConfig, preset

model_app = typer.Typer(cls=WholeSummaries, no_args_is_help=True, help="Networks: parameters and cost.")


@model_app.command("info")
def model_info(
    preset_name: Annotated[
        str,
        typer.Argument(
            metavar="PRESET",
            help=f"{', '.join(PRESETS)}.",
        ),
    ],
    backbone: Annotated[
        str, typer.Option(help="nano, tiny, small, base_plus, large; for mm_sam_adapter nano, base, large.")
    ] = "base_plus",
    modalities: Annotated[str, typer.Option(help="Names, separated by commas.")] = "rgb,thermal",
    half_size: Annotated[str, typer.Option(help="Modalities that are encoded at half size.")] = "",
    classes: Annotated[int, typer.Option(help="Number of classes.", min=1, max=255)] = 9,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the input.")] = "448x640",
    lora_rank: Annotated[int, typer.Option(help="Rank of every expert.", min=1)] = 16,
    json_output: JsonOption = False,
) -> None:
    """Show a network's parameters, what is frozen, and its cost."""
    try:
        height, width = (int(side) for side in size.split("x"))
    except ValueError:
        height = width = 0
    if min(height, width) < 1:
        raise typer.BadParameter(f"expected HEIGHTxWIDTH such as 448x640, got {size}", param_hint="--size")
    names = tuple(name.strip() for name in modalities.split(","))
    if not all(names) or len({*names}) < len(names):
        raise typer.BadParameter(
            f"expected different names between commas, such as rgb,thermal, got {modalities}", param_hint="--modalities"
        )
    with user_errors():
        from sartm_core.errors import SartmError
        from sartm_core.model.info import describe

        config = preset(preset_name, backbone, names, classes, lora_rank)
        halved = tuple(name.strip() for name in half_size.split(",") if name.strip())
        if halved and not isinstance(config, NetworkConfig):
            raise SartmError(f"--half-size: {preset_name} does not support half-size modalities.")
        if isinstance(config, NetworkConfig):
            config = replace(config, half_size=halved)
        info = describe(config, (height, width))
    if json_output:
        print_json(info)
        return
    rank = f", LoRA rank {lora_rank}" if "lora_per_expert" in info["parameters"] else ""
    table = Table(title=f"{preset_name}, {backbone}, {len(names)} modalities, {classes} classes{rank}")
    table.add_column("parameters")
    table.add_column("", justify="right")
    for name, count in info["parameters"].items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    stdout.print(table)
    frozen = ", ".join(f"{part} ({count:,})" for part, count in info["frozen"].items())
    stdout.print(f"frozen when pre-trained weights are kept: {frozen}")
    costs = Table(title=f"GFLOP at {height}x{width} (1 multiply-add = 2), experts merged")
    costs.add_column("part")
    costs.add_column("", justify="right")
    costs.add_row("encoder, per modality", f"{info['gflop']['encoder_per_modality']:.1f}")
    costs.add_row("routing and decoders", f"{info['gflop']['after_the_encoder']:.1f}")
    for count, cost in enumerate(info["gflop"]["whole"], start=1):
        costs.add_row(f"total, {count} present", f"{cost:.1f}  ({cost / info['gflop']['whole'][0]:.2f} x one)")
    stdout.print(costs)


@model_app.callback()
def _group() -> None:
    """Keeps `info` a subcommand while it is the only one."""
