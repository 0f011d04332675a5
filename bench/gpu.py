"""What only a GPU can show; called by bench/gpu.sh.

python bench/gpu.py [--cpu] [--out bench/results/gpu.json]
"""

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from sartm_core.deploy import load_segmenter, warm_up
from sartm_core.deploy.bench import measure
from sartm_core.deploy.bundle import FORMAT, WEIGHTS_FILE, Bundle, NetworkShape
from sartm_core.deploy.torch_segmenter import TorchSegmenter
from sartm_core.evaluation.parity import compare, frames_of
from sartm_core.files import sha256, write_text
from sartm_core.learning.export import describe
from sartm_core.learning.losses import ohem_cross_entropy
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import any_sensor, build_network, preset_for_rig
from sartm_core.resources import resolve_bundle
from sartm_core.rig import Size, load_rig

SHIPPED = "any_sensor_simrig5"
BACKBONES, SIZE = ("nano", "tiny", "base_plus"), (448, 640)
TRAINING_BATCH = 4
REPETITIONS = 30


def parity(device: str, frames: int) -> dict[str, dict[str, Any]]:
    """The shipped model in each precision against float32 on a CPU, on every subset of its sensors; --cpu: of three."""
    directory = resolve_bundle(SHIPPED)
    reference = load_segmenter(SHIPPED, "torch", "cpu")
    rig = load_rig("sim") if device == "cpu" else reference.bundle.rig
    result = {}
    for precision in ("fp32", "fp16", "bf16"):
        candidate = TorchSegmenter(reference.bundle, directory, device, precision)
        found = compare(reference, candidate, frames_of("simulated", rig, frames))
        result[precision] = {
            "subsets": len(found),
            "least_agreement": min(one.agreement for one in found),
            "largest_loss_of_miou": max((one.miou or 0.0) - (one.candidate_miou or 0.0) for one in found),
            "largest_difference_of_a_weight": max(one.routing for one in found),
            "finite": all(one.is_finite for one in found),
        }
    return result


def memory_of_a_dying_sensor() -> dict[str, float]:
    """MB that the GPU holds after loading, and after every number of sensors was segmented in any order."""
    segmenter = load_segmenter(SHIPPED, "torch", "cuda")
    names = segmenter.bundle.rig.names
    before = torch.cuda.memory_reserved() / 2**20
    for _ in range(3):
        warm_up(segmenter, names)
        warm_up(segmenter, tuple(reversed(names)))
    return {"loaded_mb": before, "afterwards_mb": torch.cuda.memory_reserved() / 2**20}


def untrained(folder: Path, backbone: str, size: Size) -> Path:
    """A bundle of random weights; speed does not depend on them."""
    rig = load_rig("simrig5")
    torch.manual_seed(0)
    network = build_network(preset_for_rig("any_sensor", backbone, rig, 4, {}), form="inference")
    folder.mkdir()
    save_file(network.state_dict(), folder / WEIGHTS_FILE)
    bundle = Bundle(
        format=FORMAT, name=backbone, rig=rig, network=NetworkShape(preset="any_sensor", backbone=backbone, lora_rank=4,
        changes={}), size=size, fit="stretch", argmax="frame", graphs=None,
        files={WEIGHTS_FILE: sha256(folder / WEIGHTS_FILE)}, recipe={}, figures={}, versions={},
    )  # fmt: skip
    describe(folder, bundle)
    return folder


def speed(bundle: str | Path, device: str, repetitions: int) -> dict[str, Any]:
    """Frame rate and share of the device's peak for 1 to M sensors."""
    segmenter = load_segmenter(bundle, "torch", device)
    warm_up(segmenter, segmenter.bundle.rig.names)
    found = measure(segmenter, False, repetitions)
    keys = ("modalities", "per_second", "gflop", "share_of_peak", "cost")
    return {
        "backend": found["backend"],
        "peak": found["peak"],
        "rows": [{k: row[k] for k in keys} for row in found["rows"]],
    }


def training_step(device: str, backbone: str, size: Size) -> dict[str, float]:
    """Seconds and memory of one step, experts and heads trained, in bf16 where the GPU has it."""
    torch.manual_seed(0)
    network = MultiModalNetwork(any_sensor(backbone, ("rgb", "thermal", "depth"), 9, 4)).train().to(device)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-4)
    planes = torch.randint(0, 256, (TRAINING_BATCH, 3, 3, *size), device=device).float()
    truth = torch.randint(0, 9, (TRAINING_BATCH, *size), device=device)
    available = torch.ones(TRAINING_BATCH, 3, dtype=torch.bool, device=device)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = network(planes, available).logits
        loss = ohem_cross_entropy(torch.nn.functional.interpolate(logits.float(), size=size, mode="bilinear"), truth)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else float("nan")
    return {"batch": TRAINING_BATCH, "seconds": float(np.median(times[1:])), "gib": memory}


def main() -> None:
    """Measures everything and writes it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cpu", action="store_true", help="the shipped model alone, on a CPU")
    parser.add_argument("--out", type=Path, default=None, help="default: bench/results/gpu.json; with --cpu none")
    arguments = parser.parse_args()
    device = "cpu" if arguments.cpu else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device; --cpu runs the same code on the CPU.")
    started = time.perf_counter()
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "cpu",
        "torch": torch.__version__,
        "parity": parity(device, 1 if arguments.cpu else 6),
        "speed": {SHIPPED: speed(SHIPPED, device, 3 if arguments.cpu else REPETITIONS)},
    }
    if device == "cuda":
        result["memory"] = memory_of_a_dying_sensor()
        with tempfile.TemporaryDirectory() as folder:
            for backbone in BACKBONES:
                made = untrained(Path(folder) / backbone, backbone, SIZE)
                result["speed"][f"{backbone} {SIZE[0]}x{SIZE[1]}"] = speed(made, device, REPETITIONS)
    small = ("nano", (64, 96))
    result["training"] = training_step(device, *(small if arguments.cpu else ("tiny", SIZE)))
    result["seconds"] = time.perf_counter() - started
    text = json.dumps(result, indent=2)
    print(text)
    out = arguments.out or (None if arguments.cpu else Path(__file__).parent / "results" / "gpu.json")
    if out is not None:
        write_text(out, text + "\n")
    wrong = [name for name, one in result["parity"].items() if not one["finite"]]
    if wrong:
        raise SystemExit(f"answers in {', '.join(wrong)} are not finite")


if __name__ == "__main__":
    main()
