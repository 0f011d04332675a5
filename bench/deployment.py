"""Compares backends on one network: torch eager, ONNX opset 20 and 23, one pass or one per modality, int8.

`python bench/deployment.py --backbone tiny --size 448x640 --modalities 2`; random weights, ratios within this run.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from sartm_core.deploy.bundle import FORMAT, HEAD_FILE, WEIGHTS_FILE, Bundle, Graphs, NetworkShape
from sartm_core.deploy.graphs import write_graphs
from sartm_core.deploy.onnx_segmenter import OnnxSegmenter
from sartm_core.deploy.precision import quantize
from sartm_core.deploy.torch_segmenter import TorchSegmenter
from sartm_core.model.contract import Network
from sartm_core.model.presets import build_network, preset_for_rig
from sartm_core.rig import Rig, load_rig

REPETITIONS, WARM_UP = 12, 3


def median_ms(work: Callable[[], object]) -> float:
    """Median time of a call after a warm-up, milliseconds."""
    times = []
    for _ in range(WARM_UP + REPETITIONS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return float(np.median(times[WARM_UP:])) * 1e3


def described(rig: Rig, backbone: str, size: tuple[int, int], graphs: Graphs | None) -> Bundle:
    """A bundle's description; its files are written by `main`."""
    shape = NetworkShape(preset="any_sensor", backbone=backbone, lora_rank=8)
    return Bundle(
        format=FORMAT, name="bench", rig=rig, network=shape, size=size, fit="stretch", graphs=graphs, files={},
        recipe={}, figures={}, versions={},
    )  # fmt: skip


def network_of(rig: Rig, backbone: str) -> Network:
    """Random weights at the scale of a trained network."""
    torch.manual_seed(0)
    network = build_network(preset_for_rig("any_sensor", backbone, rig, 8, {}), form="inference").eval()
    for name, parameter in network.named_parameters():
        if name.endswith(("qkv.weight", "patch_embed.proj.weight")):
            torch.nn.init.trunc_normal_(parameter, std=0.02)
        elif name.endswith("qkv.bias"):
            torch.nn.init.zeros_(parameter)
    modalities = len(rig.names)
    network.set_statistics(torch.full((modalities, 3), 110.0), torch.full((modalities, 3), 60.0))
    return network


def as_published(rig: Rig, backbone: str, size: tuple[int, int], device: str = "cpu") -> Callable[[], object]:
    """As in the papers' code: float32, one pass after another, each through its LoRA layers."""
    network = build_network(preset_for_rig("any_sensor", backbone, rig, 8, {})).eval().to(device)
    count = len(rig.names)
    planes, modality = torch.rand(count, 3, *size, device=device) * 255, torch.arange(count, device=device)
    sample = torch.zeros(count, dtype=torch.long, device=device)
    available = torch.ones(1, count, dtype=torch.bool, device=device)

    def run() -> object:
        with torch.inference_mode():
            each = [network.encode(planes[row : row + 1], modality[row : row + 1]) for row in range(count)]
            features = [torch.cat(level) for level in zip(*each, strict=True)]
            return network.decode(features, sample, modality, available).logits.argmax(dim=1).cpu()

    return run


def quantized(folder: Path) -> Path:
    """A copy with the encoder's linear layers in int8 and the head unchanged."""
    out = Path(shutil.copytree(folder, folder.with_name("int8")))
    quantize(out / "encoder.onnx")
    return out


def add_gpu_rows(
    table: Table, network: Network, rig: Rig, backbone: str, size: tuple[int, int], folder: Path, planes: Any
) -> None:
    """Captured graphs against the papers' code on the same GPU; frame rates in the last column."""
    published_ms = median_ms(as_published(rig, backbone, size, "cuda"))
    table.add_row(
        "cuda: eager float32, one pass each, LoRA unmerged", f"{published_ms:.1f}", "", f"{1e3 / published_ms:.0f} Hz"
    )
    for precision in ("fp16", "bf16"):
        segmenter = TorchSegmenter(described(rig, backbone, size, None), folder, "cuda", precision)
        milliseconds = median_ms(lambda s=segmenter: s.segment(planes))  # type: ignore[misc]
        ratio = f"{published_ms / milliseconds:.2f} x eager"
        table.add_row(f"cuda: graph, {precision}", f"{milliseconds:.1f}", ratio, f"{1e3 / milliseconds:.0f} Hz")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--size", default="448x640")
    parser.add_argument("--modalities", type=int, default=2)
    options = parser.parse_args()
    height, width = (int(side) for side in options.size.split("x"))
    rig = load_rig("simrig5")
    rig = rig.only(rig.names[: options.modalities])
    rng = np.random.default_rng(0)
    planes: dict[str, Any] = {name: rng.integers(0, 256, (3, height, width)).astype(rig.dtype) for name in rig.names}
    network = network_of(rig, options.backbone)
    table = Table(
        title=f"{options.backbone}, {height}x{width}, {' + '.join(rig.names)}, {torch.get_num_threads()} threads"
    )
    for column in ("", "ms", "x torch eager", "equal pixels"):
        table.add_column(column, justify="right" if column else "left")
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "torch"
        folder.mkdir()
        save_file(network.state_dict(), folder / WEIGHTS_FILE)
        eager = TorchSegmenter(described(rig, options.backbone, (height, width), None), folder, "cpu")
        wanted = eager.segment(planes).mask
        eager_ms = median_ms(lambda: eager.segment(planes))
        table.add_row("torch eager, one pass", f"{eager_ms:.0f}", "1.00", "")
        published_ms = median_ms(as_published(rig, options.backbone, (height, width)))
        table.add_row(
            "torch eager, one pass each, LoRA unmerged", f"{published_ms:.0f}", f"{eager_ms / published_ms:.2f}", ""
        )

        def row(name: str, segmenter: Any, run: Callable[[], object]) -> None:
            equal = float((segmenter.segment(planes).mask == wanted).mean())
            milliseconds = median_ms(run)
            table.add_row(name, f"{milliseconds:.0f}", f"{eager_ms / milliseconds:.2f}", f"{equal:.5f}")

        for opset in (20, 23):
            folder = Path(temporary) / f"onnx{opset}"
            folder.mkdir()
            dtype = torch.uint8 if rig.dtype == np.uint8 else torch.float32
            encoders = {"encoder": folder / "encoder.onnx"}
            features = write_graphs(network, (height, width), dtype, opset, encoders, folder / HEAD_FILE)
            graphs = Graphs(opset=opset, precision="fp32", features=features, encoders={"encoder.onnx": rig.names})
            bundle = described(rig, options.backbone, (height, width), graphs)
            segmenter = OnnxSegmenter(bundle, folder, "cpu")
            row(f"onnx {opset}, one pass", segmenter, lambda s=segmenter: s.segment(planes))  # type: ignore[misc]
        alone = [{name: planes[name]} for name in rig.names]
        row("onnx 23, one pass each (with its own head)", segmenter, lambda: [segmenter.segment(one) for one in alone])
        row("onnx 23, encoder's linear layers in int8", int8 := OnnxSegmenter(bundle, quantized(folder), "cpu"),
            lambda: int8.segment(planes))  # fmt: skip
        if torch.cuda.is_available():
            add_gpu_rows(table, network, rig, options.backbone, (height, width), Path(temporary) / "torch", planes)
    console.print(table)


if __name__ == "__main__":
    main()
