"""Several modalities in one packed pass against one pass each, and merged experts against LoRA; ratios within this run.

`python bench/encoder.py [--backbone tiny] [--size 224x320]`
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import any_sensor

REPETITIONS = 15
NAMES = ("rgb", "thermal", "depth", "event")


def medians_ms(functions: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median time of each, milliseconds; calls alternate, so that noise affects all alike."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for round_number in range(REPETITIONS + 2):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_number >= 2:
                times[name].append(time.perf_counter() - started)
    return {name: float(np.median(values)) * 1e3 for name, values in times.items()}


def _one_each(network: MultiModalNetwork, planes: torch.Tensor, rows: torch.Tensor) -> None:
    for index in range(len(rows)):
        network.encode(planes[index : index + 1], rows[index : index + 1])


@torch.inference_mode()
def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="nano")
    parser.add_argument("--size", default="256x320")
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = any_sensor(options.backbone, NAMES, 9, 16)
    lora = MultiModalNetwork(config).eval().to(device)
    merged = MultiModalNetwork(config).eval()
    merged.merge_experts()
    merged.to(device)
    planes = torch.rand(len(NAMES), 3, height, width, device=device)
    rows = torch.arange(len(NAMES), device=device)

    table = Table(title=f"{options.backbone}, {options.size}, {device}, {torch.get_num_threads()} threads")
    for column in ("modalities", "one pass, ms", "one each, ms", "each / one", "LoRA in one pass, ms", "LoRA / merged"):
        table.add_column(column, justify="right")
    for count in range(1, len(NAMES) + 1):
        result = medians_ms(
            {
                "packed": partial(merged.encode, planes[:count], rows[:count]),
                "apart": partial(_one_each, merged, planes[:count], rows[:count]),
                "lora": partial(lora.encode, planes[:count], rows[:count]),
            }
        )
        packed = result["packed"]
        ratios = f"{result['apart'] / packed:.2f}", f"{result['lora'] / packed:.2f}"
        table.add_row(
            str(count), f"{packed:.0f}", f"{result['apart']:.0f}", ratios[0], f"{result['lora']:.0f}", ratios[1]
        )
    Console().print(table)


if __name__ == "__main__":
    main()
