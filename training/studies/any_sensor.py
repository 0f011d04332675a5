"""The study behind any_sensor: the papers' networks, baselines and ours under one budget on simrig-5.

    python training/studies/any_sensor.py --out out/any_sensor_study

Renders the frames, tries three learning rates for every entrant on a tenth of the budget, trains each with its best
one, and scores them on the test frames. What is done already is not done again: a run that was cut goes on.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from frames import render
from report import write_report
from scores import score

from sartm_core.files import write_text

HERE = Path(__file__).resolve().parent
RECIPE = HERE / "any_sensor.yaml"
LEARNING_RATES = ("3e-4", "1e-3", "3e-3")
SIZE = (128, 160)

SUBSETS = (
    "robustness={passes: two, teacher: clean_pass, subset_share: 0.7, corrupted_share: 0.25, "
    "corruptions: [noise, blank, saturated, blur, motion_blur, dim, bright]}"
)
"""Nothing here shakes, shifts or coarsens: those faults are met for the first time in the test."""
FROM_SCRATCH = "initial_weights=null"


@dataclass(frozen=True)
class Entrant:
    """Attributes: changes to the shared recipe; passes of the network per sample, so that all take as many in all."""

    changes: tuple[str, ...]
    passes: int = 1


ENTRANTS = {
    "any_sensor": Entrant(("preset=any_sensor", SUBSETS, "losses.per_modality=0.2"), passes=2),
    "mean_fusion_subsets": Entrant(("preset=mean_fusion", SUBSETS), passes=2),
    "mle_sam": Entrant(("preset=mle_sam",)),
    "mean_fusion": Entrant(("preset=mean_fusion",)),
    "sam_lora": Entrant(("preset=sam_lora",)),
    "mm_sam_adapter": Entrant(("preset=mm_sam_adapter", FROM_SCRATCH, "train_backbone=true")),
    "early_fusion": Entrant(("preset=early_fusion", FROM_SCRATCH, "train_backbone=true", "train_experts=false")),
}
"""The papers' networks train as published, on whole and sound frames."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/any_sensor_study"), help="folder of frames and runs")
    parser.add_argument("--samples", type=int, default=30_000, help="passes of the network in each final run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="only so many frames of each split (to try the study out)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="runs at a time, one core each")
    parser.add_argument("--only", nargs="+", choices=ENTRANTS, default=list(ENTRANTS), metavar="ENTRANT")
    given = parser.parse_args()
    out = given.out.resolve()
    render(out / "data", SIZE, given.limit, given.workers)
    study = Study(out, given.samples, given.seed)
    with ThreadPoolExecutor(given.workers) as pool:
        searches = [(name, rate) for name in given.only for rate in LEARNING_RATES]
        list(pool.map(lambda one: study.search(*one), searches))
        list(pool.map(study.final, given.only))
    with ProcessPoolExecutor(given.workers) as pool:
        figures = dict(zip(given.only, pool.map(study.scores, given.only), strict=True))
    rates = {name: study.best_rate(name) for name in given.only}
    write_report(out / "report", figures, rates, study.passes, study.seed)


@dataclass(frozen=True)
class Study:
    """Attributes: out, its folder; passes of the network in a final run; seed of the final runs."""

    out: Path
    passes: int
    seed: int

    def search(self, name: str, rate: str) -> float:
        """Trains with a learning rate on a tenth of the budget; the mean IoU on validation."""
        return self._train(name, rate, self.passes // 10, 0, self.out / "search" / f"{name}_{rate}")

    def best_rate(self, name: str) -> str:
        """Of `LEARNING_RATES`."""
        return max(LEARNING_RATES, key=lambda rate: self.search(name, rate))

    def final(self, name: str) -> float:
        """Trains with the best learning rate on the whole budget; the mean IoU on validation."""
        return self._train(name, self.best_rate(name), self.passes, self.seed, self.run(name))

    def run(self, name: str) -> Path:
        """Folder of the final run."""
        return self.out / "runs" / f"{name}_seed{self.seed}"

    def scores(self, name: str) -> dict[str, Any]:
        """Figures on the test frames, of the checkpoint that was best on validation."""
        path = self.run(name) / "scores.json"
        if not path.is_file():
            torch.set_num_threads(1)
            figures = score(self.run(name) / "best.ckpt", self.out / "data")
            write_text(path, json.dumps(figures, indent=1) + "\n")
        content: dict[str, Any] = json.loads(path.read_text())
        return content

    def _train(self, name: str, rate: str, passes: int, seed: int, run: Path) -> float:
        figures = run / "figures.json"
        if not figures.is_file():
            entrant = ENTRANTS[name]
            changes = [
                *entrant.changes,
                f"name={name}",
                f"seed={seed}",
                f"data.root={self.out / 'data'}",
                f"stages.0.samples={passes // entrant.passes}",
                f"stages.0.learning_rate={rate}",
            ]
            command = [sys.executable, str(HERE.parent / "train.py"), str(RECIPE), "--out", str(run)]
            command += [part for change in changes for part in ("--set", change)]
            command += ["--accelerator", "cpu", *(["--resume"] if (run / "last.ckpt").is_file() else [])]
            run.mkdir(parents=True, exist_ok=True)
            one_core = {**os.environ, "OMP_NUM_THREADS": "1"}
            with (run / "log.txt").open("a") as log:
                subprocess.run(command, env=one_core, stdout=log, stderr=log, check=True)
            print(f"{run.relative_to(self.out)}: {100 * _best_miou(figures):.2f}", flush=True)
        return _best_miou(figures)


def _best_miou(figures: Path) -> float:
    return float(json.loads(figures.read_text())["best_miou"])


if __name__ == "__main__":
    main()
