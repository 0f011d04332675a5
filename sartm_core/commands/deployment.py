"""`sartm export`, `sartm engine build` and `sartm bench`: from a checkpoint to a robot."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.table import Table

from sartm_core.commands.common import JsonOption, WholeSummaries, print_json, stderr, stdout, user_errors

engine_app = typer.Typer(cls=WholeSummaries, no_args_is_help=True, help="TensorRT engines.")

VerifyOption = Annotated[
    str | None,
    typer.Option(
        "--verify",
        metavar="DATA",
        help="Compare masks on a data set's test (else val) split, or 'simulated' frames.",
    ),
]
FramesOption = Annotated[int, typer.Option("--verify-frames", help="Number of frames for --verify.", min=1)]
BundleArgument = Annotated[str, typer.Argument(help="A bundle folder, or the name of a shipped bundle.")]


def export(
    model: Annotated[
        str, typer.Argument(help="best.ckpt or last.ckpt of `sartm train`; or a bundle with weights: a folder, a name.")
    ],
    out: Annotated[Path, typer.Option(help="The bundle folder; an existing bundle is replaced.")],
    to: Annotated[
        str, typer.Option(help="torch: weights; onnx: graphs for ONNX Runtime and TensorRT; both.")
    ] = "torch",
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH of the input; default: the last training size, or the bundle's.")
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            help="Images of another aspect: stretch, letterbox, corner (padded below and on the right), crop (the "
            "middle), or window; default: the recipe's, or the bundle's."
        ),
    ] = None,
    argmax: Annotated[
        str,
        typer.Option(help="frame: scores are interpolated to the frame's size first; network: at the input's size."),
    ] = "frame",
    precision: Annotated[str, typer.Option(help="Of the graphs: fp32, fp16, or int8 (CPUs).")] = "fp32",
    opset: Annotated[
        str, typer.Option(help="Of the graphs: 20 (any TensorRT from 10.3), 23 (CPUs; TensorRT from 10.14), or auto.")
    ] = "auto",
    verify: VerifyOption = None,
    verify_frames: FramesOption = 24,
) -> None:
    """Turn a checkpoint, or a bundle with weights, into a bundle, which holds everything inference needs."""
    _one_of("--to", to, ("torch", "onnx", "both"))
    if fit is not None:
        _one_of("--fit", fit, ("stretch", "letterbox", "corner", "crop", "window"))
    _one_of("--argmax", argmax, ("frame", "network"))
    _one_of("--precision", precision, ("fp32", "fp16", "int8"))
    _one_of("--opset", opset, ("auto", "20", "23"))
    with user_errors():
        from sartm_core.learning.export import export as run

        options: dict[str, Any] = {
            "size": _size(size), "fit": fit, "argmax": argmax, "form": to, "precision": precision,
            "opset": None if opset == "auto" else int(opset),
        }  # fmt: skip
        if verify is None:
            bundle = run(model, out, **options)
        else:
            bundle = _export_verified(model, out, options, verify, verify_frames)
    form = "weights" if bundle.graphs is None else f"ONNX opset {bundle.graphs.opset}, {bundle.graphs.precision}"
    form += " and weights" if to == "both" else ""
    stdout.print(
        f"{out}: bundle '{bundle.name}', rig '{bundle.rig.name}', input {bundle.size[0]}x{bundle.size[1]}, {form}",
        soft_wrap=True,
        highlight=False,
    )


def _export_verified(model: str, out: Path, options: dict[str, Any], where: str, count: int) -> Any:
    """Exports beside `out`, compares with the model's own network, then renames the bundle to `out`."""
    from sartm_core.deploy import load_segmenter
    from sartm_core.evaluation.parity import check, compare, frames_of
    from sartm_core.learning.export import describe, files_of, free_folder, write_strict
    from sartm_core.learning.export import export as run
    from sartm_core.outputs import Draft

    out = free_folder(out)
    draft = Draft(out)
    try:
        run(model, draft.folder / ".reference", **{key: options[key] for key in ("size", "fit", "argmax")})
        bundle = run(model, draft.content, **options)
        reference = load_segmenter(draft.folder / ".reference", "torch", "cpu")
        candidate = load_segmenter(draft.content, device="cpu")
        if options["precision"] == "fp16":  # ONNX Runtime on a CPU computes it in float32
            write_strict(draft.content, draft.folder / ".strict")
            candidate = load_segmenter(draft.folder / ".strict", "onnx", "cpu")
        with stderr.status("comparing") as status:
            results = compare(
                reference, candidate, frames_of(where, bundle.rig, count),
                lambda done: status.update(f"comparing: {done} of {count} frames"),
            )  # fmt: skip
        _print_parity(results)
        check(results, options["precision"])
        bundle = bundle.model_copy(update={"parity": {"data": where, "subsets": [asdict(one) for one in results]}})
        describe(draft.content, bundle)
        draft.publish(files_of(out))
    finally:
        draft.discard()
    return bundle


def _print_parity(results: list[Any]) -> None:
    table = Table(title="compared with the model's own network, float32 on a CPU")
    table.add_column("modalities", overflow="fold", min_width=14)
    for column in ("equal pixels", "confidence", "routing", "mIoU", "before"):
        table.add_column(column, justify="right")
    for one in results:
        ious = ["" if value is None else f"{value:.4f}" for value in (one.candidate_miou, one.miou)]
        table.add_row(one.subset, f"{one.agreement:.5f}", f"{one.confidence:.1e}", f"{one.routing:.1e}", *ious)
    stdout.print(table)


@engine_app.command("build")
def engine_build(
    bundle: BundleArgument,
    workspace_mb: Annotated[int, typer.Option(help="Limit of TensorRT's scratch memory, MB.", min=64)] = 4096,
    check: Annotated[bool, typer.Option("--check", help="Only say whether engines would be built, and why.")] = False,
    verify: VerifyOption = None,
    verify_frames: FramesOption = 24,
) -> None:
    """Build the bundle's TensorRT engines on this machine, for later starts; once per GPU and TensorRT version."""
    with user_errors():
        from sartm_core.deploy.bundle import graph_shapes, read_bundle
        from sartm_core.deploy.cuda import Cuda
        from sartm_core.deploy.engine import EngineCache, cache_directory, key_of
        from sartm_core.deploy.tensorrt_segmenter import TensorRtSegmenter
        from sartm_core.errors import SartmError
        from sartm_core.resources import resolve_bundle

        directory = resolve_bundle(bundle)
        described = read_bundle(directory)
        if described.graphs is None:
            raise SartmError(f"{directory}: holds weights, not graphs. Run `sartm export {bundle} --to onnx`.")
        cache = EngineCache(cache_directory())
        if check:
            cuda = Cuda()
            for file, shapes in graph_shapes(described).items():
                name = Path(file).stem
                reason = cache.why_rebuild(name, key_of(directory / file, shapes, cuda))
                stdout.print(
                    f"{name}: {'up to date' if reason is None else f'would be built: {reason}'}",
                    soft_wrap=True,
                    markup=False,
                    highlight=False,
                )
            return
        if verify is not None:  # before the build, which takes minutes
            from sartm_core.deploy.onnx_segmenter import OnnxSegmenter
            from sartm_core.evaluation.parity import check as check_parity
            from sartm_core.evaluation.parity import compare, frames_of

            reference = OnnxSegmenter(described, directory, "cpu")
            frames = frames_of(verify, described.rig, verify_frames)
        segmenter = TensorRtSegmenter(
            described, directory, cache, workspace_mb, lambda line: stderr.print(line, markup=False, highlight=False)
        )
        if verify is not None:
            results = compare(reference, segmenter, frames)
            _print_parity(results)
            try:
                check_parity(results, described.graphs.precision, "the engines are removed")
            except SartmError:
                cuda = Cuda()
                for file, shapes in graph_shapes(described).items():
                    cache.remove(Path(file).stem, key_of(directory / file, shapes, cuda))
                raise
    stdout.print(f"ready: {segmenter.backend}; engines in {cache.directory}", soft_wrap=True, markup=False)


@engine_app.callback()
def _group() -> None:
    """Keeps `build` a subcommand while it is the only one."""


def bench(
    bundle: BundleArgument,
    backend: Annotated[str, typer.Option(help="auto, torch, onnx or tensorrt.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or tensorrt (ONNX Runtime's).")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all cores.", min=0)] = 0,
    subsets: Annotated[
        bool, typer.Option("--subsets", help="Every subset of modalities, not only the first 1, 2, ...")
    ] = False,
    repetitions: Annotated[int, typer.Option(help="Timed calls per subset.", min=3)] = 30,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON here.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Measure a bundle on this machine: stages, frame rate, share of peak performance, cost per modality."""
    with user_errors():
        import json

        from sartm_core.deploy import load_segmenter
        from sartm_core.deploy.bench import measure
        from sartm_core.files import write_text

        segmenter = load_segmenter(bundle, backend, device, threads)
        with stderr.status("measuring") as status:
            figures = measure(segmenter, subsets, repetitions, lambda name: status.update(f"measuring {name}"))
        if out is not None:
            write_text(out, json.dumps(figures, indent=2) + "\n")
    if json_output:
        print_json(figures)
        return
    stdout.print(_bench_table(figures))
    peak = figures["peak"]
    if peak["gflop_per_s"] is not None:
        stdout.print(f"peak of this device, measured: {peak['gflop_per_s']:.0f} GFLOP/s, {peak['gb_per_s']:.1f} GB/s")
    stdout.print(", ".join(f"{name} {version}" for name, version in figures["versions"].items()), highlight=False)


def _bench_table(figures: dict[str, Any]) -> Table:
    size = figures["size"]
    title = f"{figures['bundle']}, {size[0]}x{size[1]}, {figures['backend']}; ms"
    table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0))  # fits 80 columns
    table.add_column("modalities", overflow="fold", min_width=12)
    for column in ("prepare", "run p50", "p95", "finish", "per s", "GFLOP/s", "of peak", "x one"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in figures["rows"]:
        stages = row["ms"]
        rate = "" if row["gflop_per_s"] is None else f"{row['gflop_per_s']:.0f}"
        share = "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}"
        table.add_row(
            row["modalities"].replace("+", " + "), f"{stages['prepare']['p50']:.2f}", f"{stages['run']['p50']:.1f}",
            f"{stages['run']['p95']:.1f}", f"{stages['finish']['p50']:.2f}", f"{row['per_second']:.1f}", rate, share,
            f"{row['cost']:.2f}",
        )  # fmt: skip
    return table


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise typer.BadParameter(f"expected one of {', '.join(choices)}, got {value}", param_hint=option)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        height, width = (int(side) for side in text.split("x"))
    except ValueError:
        raise typer.BadParameter(f"expected HEIGHTxWIDTH such as 448x640, got {text}", param_hint="--size") from None
    return height, width
