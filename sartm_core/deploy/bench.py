"""How fast a bundle is on this machine: each stage, against what the device can do at best."""

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from itertools import combinations
from typing import Any

import numpy as np

from sartm_core.deploy import Segmenter, StagedSegmenter
from sartm_core.deploy.host import Planes

WARM_UP = 3
PEAK_SIDE = 1536
"""Of the square matrices whose product measures the peak."""


def measure(
    segmenter: Segmenter, every_subset: bool, repetitions: int, progress: Callable[[str], None] = lambda name: None
) -> dict[str, Any]:
    """Times a segmenter on random planes of the rig's sizes.

    Args:
        segmenter: of any backend; of a `StagedSegmenter` `prepare`, `run` and `finish` are timed one by one, of another
            the whole counts as `run`.
        every_subset: every choice of modalities, or the first, the first two, ...
        repetitions: timed calls of each.
        progress: called with what is measured next.

    Returns:
        What `sartm bench --json` prints.
    """
    rig = segmenter.bundle.rig
    rng = np.random.default_rng(0)
    planes: Planes = {m.name: rng.integers(0, 256, (3, *m.size)).astype(rig.dtype) for m in rig.modalities}
    peak = _peak(segmenter)
    choices = list(_choices(rig.names, every_subset))
    rows, alone = [], 0.0
    for names, gflop in zip(choices, _gflop(segmenter, choices), strict=True):
        progress("+".join(names))
        stages = _stages(segmenter, {name: planes[name] for name in names}, repetitions)
        total = sum(stage["p50"] for stage in stages.values())
        alone = alone or total
        rate = None if gflop is None else gflop / stages["run"]["p50"] * 1e3
        rows.append(
            {
                "modalities": "+".join(names),
                "ms": stages,
                "per_second": 1e3 / total,
                "gflop": gflop,
                "gflop_per_s": rate,
                "share_of_peak": None if rate is None or not peak["gflop_per_s"] else rate / peak["gflop_per_s"],
                "cost": total / alone,
            }
        )
    return {
        "bundle": segmenter.bundle.name,
        "backend": segmenter.backend,
        "size": segmenter.bundle.size,
        "rows": rows,
        "peak": peak,
        "cores": os.cpu_count(),
        "machine": platform.processor() or platform.machine(),
        "versions": _versions(),
    }


def _choices(names: tuple[str, ...], every_subset: bool) -> Iterator[tuple[str, ...]]:
    for count in range(1, len(names) + 1):
        yield from combinations(names, count) if every_subset else [names[:count]]


def _stages(segmenter: Segmenter, planes: Planes, repetitions: int) -> dict[str, dict[str, float]]:
    """p50 and p95 of each stage, milliseconds."""
    times: dict[str, list[float]] = {"prepare": [], "run": [], "finish": []}
    for _ in range(WARM_UP + repetitions):
        moments = [time.perf_counter()]
        if isinstance(segmenter, StagedSegmenter):
            prepared = segmenter.prepare(planes)
            moments.append(time.perf_counter())
            answer = segmenter.run_network(*prepared)
            moments.append(time.perf_counter())
            segmenter.finish(planes, None, answer)
        else:
            moments.append(moments[0])
            segmenter.segment(planes)
            moments.append(time.perf_counter())
        moments.append(time.perf_counter())
        for values, begin, end in zip(times.values(), moments, moments[1:], strict=False):
            values.append((end - begin) * 1e3)
    return {
        name: {f"p{percent}": float(np.percentile(values[WARM_UP:], percent)) for percent in (50, 95)}
        for name, values in times.items()
    }


def _gflop(segmenter: Segmenter, choices: Sequence[tuple[str, ...]]) -> Sequence[float | None]:
    """Of the network with these modalities; None where torch, which counts it, is not installed."""
    try:
        from sartm_core.model.info import gflop_of
        from sartm_core.model.presets import preset_for_rig
    except ImportError:
        return [None] * len(choices)
    shape, rig = segmenter.bundle.network, segmenter.bundle.rig
    config = preset_for_rig(shape.preset, shape.backbone, rig, shape.lora_rank, shape.changes)
    return gflop_of(config, segmenter.bundle.size, [[rig.names.index(name) for name in names] for names in choices])


def _peak(segmenter: Segmenter) -> dict[str, float | None]:
    """The best that a product of large matrices and a large copy reach on the segmenter's device."""
    if any(name in segmenter.backend.lower() for name in ("cuda", "tensorrt")):
        return _gpu_peak()
    matrix = np.random.default_rng(0).random((PEAK_SIDE, PEAK_SIDE), np.float32)
    large = np.ones(1 << 26, np.uint8)
    product_s = _best_s(lambda: matrix @ matrix)
    copy_s = _best_s(large.copy)
    return {"gflop_per_s": 2 * PEAK_SIDE**3 / product_s / 1e9, "gb_per_s": 2 * large.nbytes / copy_s / 1e9}


def _gpu_peak() -> dict[str, float | None]:
    """In fp16, by torch; None where it is not installed, or has no CUDA."""
    try:
        import torch
    except ImportError:
        return {"gflop_per_s": None, "gb_per_s": None}
    if not torch.cuda.is_available():
        return {"gflop_per_s": None, "gb_per_s": None}
    matrix = torch.ones(8192, 8192, dtype=torch.float16, device="cuda")

    def synchronised(work: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            work()
            torch.cuda.synchronize()

        return run

    product_s = _best_s(synchronised(lambda: matrix @ matrix))
    copy_s = _best_s(synchronised(matrix.clone))
    return {"gflop_per_s": 2 * 8192**3 / product_s / 1e9, "gb_per_s": 2 * matrix.nbytes / copy_s / 1e9}


def _best_s(work: Callable[[], object]) -> float:
    times = []
    for _ in range(10):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("sartm_ros", "torch", "onnxruntime", "tensorrt", "numpy", "opencv-python-headless"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
