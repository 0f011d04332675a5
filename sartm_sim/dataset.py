"""Writes the simulated benchmark to a folder: `sartm sim dataset`."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from sartm_core.datasets.dataset import Frame
from sartm_core.datasets.frame_folder import FrameFolderWriter, write_frame
from sartm_core.rig import Rig
from sartm_sim.simulation import benchmark
from sartm_sim.simulation.benchmark import BenchmarkFrame


def write_benchmark(
    rig: Rig, out: Path, splits: list[str], limit: int | None, workers: int, progress: Callable[[int, int], None]
) -> int:
    """Renders the splits of simrig-5 for a rig.

    Args:
        rig: a rig the simulator supports; the benchmark proper uses `simrig5`.
        out: folder, must not exist.
        splits: of `benchmark.SPLITS`.
        limit: maximum number of frames per split.
        workers: processes.
        progress: called with frames done, frames in all.

    Returns:
        Number of frames.

    Raises:
        SartmError: the folder exists, or the rig cannot be simulated.
    """
    work = [
        (_entry(split, index, sample, rig), sample)
        for split in splits
        for index, sample in enumerate(benchmark.samples(rig, split, limit))
    ]
    whole = limit is None and rig.name == "simrig5"
    name = benchmark.NAME if whole else f"{benchmark.NAME} in part" if limit else f"{benchmark.NAME} for rig {rig.name}"
    if limit is not None and rig.name != "simrig5":
        name = f"{benchmark.NAME} in part, for rig {rig.name}"
    generator = {"name": benchmark.NAME, "version": benchmark.GENERATOR_VERSION}
    with FrameFolderWriter(out, rig, name, generator) as writer:
        for done, frame in enumerate(_rendered(partial(_render, rig, writer.part), work, workers), start=1):
            writer.add(frame)
            progress(done, len(work))
    return len(work)


def _entry(split: str, index: int, sample: BenchmarkFrame, rig: Rig) -> Frame:
    tags = {"condition": sample.condition, "fault": sample.fault or "none", "faulty": sample.faulty or "none"}
    return Frame(split=split, id=f"{index:06d}", modalities=rig.names, tags=tags)


def _rendered(
    render: Callable[[tuple[Frame, BenchmarkFrame]], Frame],
    work: list[tuple[Frame, BenchmarkFrame]],
    workers: int,
) -> Iterator[Frame]:
    if workers == 1:
        yield from map(render, work)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(render, work, chunksize=8)


def _render(rig: Rig, folder: Path, item: tuple[Frame, BenchmarkFrame]) -> Frame:
    frame, sample = item
    simulated, captured = sample.render(rig)
    write_frame(folder, frame, simulated.registered(captured), captured.truth)
    return frame
