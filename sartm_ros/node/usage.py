"""What the node costs its machine: processor, memory, GPUs."""

from contextlib import suppress
from typing import Any

import psutil

MB = 1e6


class Usage:
    """Measures from one call of `values` to the next."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._gpus = _gpus()

    def values(self) -> dict[str, float]:
        """For `/diagnostics`: of this process `cpu_percent` (100 is one core) and `memory_mb`; `machine_cpu_percent`
        and `machine_memory_percent`; of each NVIDIA GPU, whoever uses it, `gpu<i>_percent` and `gpu<i>_memory_mb`, as
        far as its driver tells.
        """
        found = {
            "cpu_percent": self._process.cpu_percent(),
            "memory_mb": self._process.memory_info().rss / MB,
            "machine_cpu_percent": psutil.cpu_percent(),
            "machine_memory_percent": psutil.virtual_memory().percent,
        }
        for index, gpu in enumerate(self._gpus):
            with suppress(Exception):  # a Jetson's driver knows only part of it
                found[f"gpu{index}_percent"] = float(_nvml().nvmlDeviceGetUtilizationRates(gpu).gpu)
            with suppress(Exception):
                found[f"gpu{index}_memory_mb"] = _nvml().nvmlDeviceGetMemoryInfo(gpu).used / MB
        return found


def _nvml() -> Any:
    import pynvml

    return pynvml


def _gpus() -> list[Any]:
    """Handles of the GPUs; none without NVIDIA's driver, or without the package nvidia-ml-py."""
    try:
        nvml = _nvml()
        nvml.nvmlInit()
        return [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    except Exception:  # what it raises without a driver is its own
        return []
