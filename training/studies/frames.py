"""The study's frames: simrig-5 at the study's size, with separate splits for fault tests."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from sartm_core.datasets.dataset import Frame
from sartm_core.datasets.frame_folder import FrameFolderWriter, write_frame
from sartm_core.rig import Rig, Size, load_rig
from sartm_sim.simulation import benchmark
from sartm_sim.simulation.rig import resized

SOUND, FAULTY, REPAIRED = "test", "faulty", "repaired"
"""Splits: test frames without a fault, those with one, and the latter rendered without it."""


def render(out: Path, size: Size, limit: int | None, workers: int = 2) -> None:
    """Writes the frame folder unless it exists.

    Args:
        out: its folder.
        size: height, width.
        limit: maximum number of frames per benchmark split.
        workers: number of processes.
    """
    if out.is_dir():
        return
    rig = resized(load_rig("simrig5"), size)
    work: list[tuple[Frame, benchmark.BenchmarkFrame]] = []
    for split in benchmark.SPLITS:
        for index, sample in enumerate(benchmark.samples(rig, split, limit)):
            if split == "test" and sample.fault is not None:
                work.append((_frame(rig, FAULTY, index, sample), sample))
                work.append((_frame(rig, REPAIRED, index, sample), replace(sample, fault=None, faulty=None)))
            else:
                work.append((_frame(rig, split, index, sample), sample))
    generator = {"name": benchmark.NAME, "version": benchmark.GENERATOR_VERSION}
    name = f"{benchmark.NAME} at {size[0]}x{size[1]}"
    with FrameFolderWriter(out, rig, name, generator) as writer, ProcessPoolExecutor(workers) as pool:
        for frame in pool.map(partial(_write, rig, writer.part), work, chunksize=8):
            writer.add(frame)


def _frame(rig: Rig, split: str, index: int, sample: benchmark.BenchmarkFrame) -> Frame:
    tags = {"condition": sample.condition, "fault": sample.fault or "none", "faulty": sample.faulty or "none"}
    return Frame(split=split, id=f"{index:06d}", modalities=rig.names, tags=tags)


def _write(rig: Rig, folder: Path, item: tuple[Frame, benchmark.BenchmarkFrame]) -> Frame:
    frame, sample = item
    simulated, captured = sample.render(rig)
    write_frame(folder, frame, simulated.registered(captured), captured.truth)
    return frame
