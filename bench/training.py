"""Loader throughput for RGB-T at 480x640, and memory of a training step of `tiny`.

python bench/training.py
"""

import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from sartm_core.datasets.layouts import open_data
from sartm_core.learning.augmentation import Augmentation
from sartm_core.learning.losses import ohem_cross_entropy
from sartm_core.learning.sampler import RunSampler, StagePlan
from sartm_core.learning.sources import DiskSource, TrainingFrames
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import any_sensor

SIZE, FRAMES, WORKERS = (480, 640), 40, 2


def write_mfnet(root: Path) -> None:
    """Writes images with realistic detail, in MFNet's layout."""
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    names = [f"{index:05d}D" for index in range(FRAMES)]
    for split in ("train", "val", "test"):
        (root / f"{split}.txt").write_text("\n".join(names))
    for name in names:
        coarse = rng.integers(0, 256, (60, 80, 4)).astype(np.uint8)
        image = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(root / "images" / f"{name}.png"), image)
        truth = cv2.resize(
            rng.integers(0, 9, (12, 16)).astype(np.uint8), SIZE[::-1], interpolation=cv2.INTER_NEAREST_EXACT
        )
        cv2.imwrite(str(root / "labels" / f"{name}.png"), truth)


def sets_per_second(root: Path) -> float:
    """Frame sets per second, read, augmented and collated, after two warm-up batches."""
    data = open_data(root)
    frames = TrainingFrames(DiskSource(data, data.rig, "train"), "stretch", Augmentation(), seed=0)
    sampler = RunSampler([StagePlan(SIZE, 52, 4)], len(frames), 0, 1, 0, 1, 0)
    started = 0.0
    for index, _ in enumerate(DataLoader(frames, batch_sampler=sampler, num_workers=WORKERS)):
        if index == 1:
            started = time.perf_counter()
    return 50 * 4 / (time.perf_counter() - started)


def step_memory(result: "multiprocessing.Queue[tuple[float, float]]") -> None:
    """Peak resident memory in GiB before and after two training steps, in its own process."""
    network = MultiModalNetwork(any_sensor("tiny", ("rgb", "thermal"), 9, 16))
    network.freeze_pretrained(True)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    for _ in range(2):
        output = network(torch.rand(2, 2, 3, *SIZE) * 255, torch.ones(2, 2, dtype=torch.bool))
        truth = torch.randint(9, (2, *SIZE))
        assert output.auxiliary_logits is not None
        loss = ohem_cross_entropy(output.mask_logits, truth) + ohem_cross_entropy(output.auxiliary_logits, truth)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    result.put((before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))


def main() -> None:
    """Prints the table."""
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[tuple[float, float]] = context.Queue()
    process = context.Process(target=step_memory, args=(queue,))
    process.start()
    before, peak = queue.get()
    process.join()
    with tempfile.TemporaryDirectory() as folder:
        write_mfnet(Path(folder) / "MFNet")
        pace = sets_per_second(Path(folder) / "MFNet")
    table = Table(title="training, RGB and thermal at 480x640")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row(f"frame sets per second from disk, {WORKERS} workers", f"{pace:.1f}")
    table.add_row("resident memory of a step, tiny, batch 2, float32 on the CPU: peak", f"{peak:.2f} GiB")
    table.add_row("the same before the first step (libraries and weights)", f"{before:.2f} GiB")
    Console().print(table)


if __name__ == "__main__":
    main()
