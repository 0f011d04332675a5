"""The study behind any_sensor: the papers' networks, baselines and ours under one budget on simrig-5.

    python training/studies/any_sensor.py --out out/any_sensor_study

Renders the frames, tries three learning rates for every entrant on a fifteenth of the budget, trains each with its best
one, and scores them on the test frames; then runs the ablations of any_sensor, also on a fifteenth. Finished steps are
skipped and interrupted runs resumed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch
from frames import render
from report import AS_IT_IS, HALF_SIZE, Settings, write_report
from scores import score

from sartm_core.files import write_text
from sartm_core.model.peer_config import source_of, trust

HERE = Path(__file__).resolve().parent
RECIPE = HERE / "any_sensor.yaml"
LEARNING_RATES = ("1e-3", "3e-3", "1e-2")
SEARCH_SHARE = 15
SIZE = (128, 160)

TWO_PASSES = "robustness.passes=two"
SUBSETS = (
    "robustness.passes=degraded",
    "robustness.clean_share=0.4",
    "robustness.subset_share=0.6",
    "robustness.corrupted_share=0.12",
    "robustness.corruptions=[noise, weak_noise, blank, saturated, blur, motion_blur, dim, bright, shifted, frozen]",
    "losses.dice=1",
    "losses.per_modality=0.2",
)
"""Training for robustness to missing sensors, after an initial phase with all of them. Nothing here soils a lens,
shakes a LiDAR or coarsens events: those faults first appear in the test."""
FROM_SCRATCH = ("initial_weights=null", "train_backbone=true", "train_experts=false")

ENTRANTS = {
    "any_sensor": ("preset=any_sensor", *SUBSETS, "losses.reliability=0.5"),
    "mean_fusion_subsets": ("preset=mean_fusion", *SUBSETS),
    "mle_sam": ("preset=mle_sam",),
    "shared_lora": ("preset=shared_lora",),
    "early_fusion": ("preset=early_fusion", *FROM_SCRATCH),
}
"""Changes to the shared recipe. The papers' networks train as published, on complete, uncorrupted frames;
mean_fusion, whose experts adapt only q and v as in the papers, trains like ours."""

ABLATIONS = {
    AS_IT_IS: (),
    "clean frames only": ("robustness.passes=clean",),
    "broken from the first step on": ("robustness.clean_share=0",),
    "two passes from the first step on, half the samples": (TWO_PASSES, "robustness.clean_share=0"),
    "experts on q and v alone": ("network.adapts_patches=false",),
    "no loss per modality": ("losses.per_modality=0",),
    "no reliability loss": ("losses.reliability=0",),
    "no Dice loss": ("losses.dice=0",),
    "mean in place of routing": ("network.fusion=mean", "losses.reliability=0"),
    HALF_SIZE: ("network.half_size=[thermal, depth, lidar, event]",),
    "nothing weak, shifted or frozen": (
        "robustness.corruptions=[noise, blank, saturated, blur, motion_blur, dim, bright]",
    ),
}
"""Changes to any_sensor."""
ABLATION_FRAMES = 60


def main() -> None:
    """Runs the study from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/any_sensor_study"), help="folder of frames and runs")
    parser.add_argument("--samples", type=int, default=30_000, help="network passes in each final run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="maximum number of frames per split (for a trial run)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="parallel runs, one core each")
    parser.add_argument("--only", nargs="+", choices=ENTRANTS, default=list(ENTRANTS), metavar="ENTRANT")
    parser.add_argument(
        "--rates",
        nargs="+",
        default=list(LEARNING_RATES),
        help="learning rates to try; a single one needs no search",
    )
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=MODULE:FACTORY",
        help="a network of others; see docs/extending.md",
    )
    parser.add_argument("--no-ablations", action="store_true")
    given = parser.parse_args()
    out = given.out.resolve()
    peers = dict(one.split("=", 1) for one in given.peer)
    entrants = [*given.only, *peers]
    render(out / "data", SIZE, given.limit, given.workers)
    study = Study(out, given.samples, given.seed, tuple(given.rates), peers)
    ablations = [] if given.no_ablations or "any_sensor" not in given.only else list(ABLATIONS)
    with ThreadPoolExecutor(given.workers) as pool:
        if len(study.rates) > 1:
            searches = [(name, rate) for name in entrants for rate in study.rates]
            list(pool.map(lambda one: study.search(*one), searches))
        list(pool.map(study.final, entrants))
        list(pool.map(study.ablation, ablations))
    with ProcessPoolExecutor(given.workers) as pool:
        runs = [study.run(name) for name in entrants]
        figures = dict(zip(entrants, pool.map(partial(scores_of, out / "data", peers=peers), runs), strict=True))
        runs = [study.ablation_run(name) for name in ablations]
        ablated = dict(
            zip(ablations, pool.map(partial(scores_of, out / "data", limit=ABLATION_FRAMES), runs), strict=True)
        )
    settings = Settings(
        rates={name: study.best_rate(name) for name in entrants},
        tried=dict.fromkeys(entrants, study.rates),
        passes=study.passes,
        search_passes=study.passes // SEARCH_SHARE,
        seed=study.seed,
        entrants=(*ENTRANTS, *peers),
        ablations=tuple(ABLATIONS),
        sources={name: source_of(peer) for name, peer in peers.items()},
        when=f"{date.today()}, {os.cpu_count()} CPU cores",
    )
    write_report(out / "report", figures, ablated, settings)


@dataclass(frozen=True)
class Study:
    """Attributes: out, its folder; passes, network passes in a final run; seed of the final runs; rates to try;
    peers, name -> `module:factory`.
    """

    out: Path
    passes: int
    seed: int
    rates: tuple[str, ...] = LEARNING_RATES
    peers: dict[str, str] = field(default_factory=dict)

    def search(self, name: str, rate: str) -> float:
        """Trains with a learning rate on the smaller budget; returns mean IoU on validation."""
        return self._train_entrant(name, rate, self.passes // SEARCH_SHARE, 0, self.out / "search" / f"{name}_{rate}")

    def best_rate(self, name: str) -> str:
        """The best of the rates on validation."""
        return self.rates[0] if len(self.rates) == 1 else max(self.rates, key=lambda rate: self.search(name, rate))

    def final(self, name: str) -> float:
        """Trains with the best learning rate on the whole budget; returns mean IoU on validation."""
        return self._train_entrant(name, self.best_rate(name), self.passes, self.seed, self.run(name))

    def run(self, name: str) -> Path:
        """Folder of the final run."""
        return self.out / "runs" / f"{name}_seed{self.seed}"

    def ablation(self, name: str) -> float:
        """Trains any_sensor with a change on the smaller budget; returns mean IoU on validation."""
        changes = (*ENTRANTS["any_sensor"], *ABLATIONS[name])
        return self._train(
            changes, self.best_rate("any_sensor"), self.passes // SEARCH_SHARE, 0, self.ablation_run(name)
        )

    def ablation_run(self, name: str) -> Path:
        """Folder of an ablation's run."""
        return self.out / "ablations" / re.sub(r"\W+", "_", name)

    def _train_entrant(self, name: str, rate: str, passes: int, seed: int, run: Path) -> float:
        peer = ("--peer", self.peers[name]) if name in self.peers else ()
        return self._train(ENTRANTS.get(name, ()), rate, passes, seed, run, peer)

    def _train(
        self, changes: tuple[str, ...], rate: str, passes: int, seed: int, run: Path, more: tuple[str, ...] = ()
    ) -> float:
        figures = run / "figures.json"
        if not figures.is_file():
            changes = (
                *changes,
                f"name={run.name}",
                f"seed={seed}",
                f"data.root={self.out / 'data'}",
                f"stages.0.samples={passes // 2 if TWO_PASSES in changes else passes}",
                f"stages.0.learning_rate={rate}",
            )
            command = [sys.executable, str(HERE.parent / "train.py"), str(RECIPE), "--out", str(run)]
            command += [part for change in changes for part in ("--set", change)]
            command += [*more, "--accelerator", "cpu", *(["--resume"] if (run / "last.ckpt").is_file() else [])]
            run.mkdir(parents=True, exist_ok=True)
            one_core = {**os.environ, "OMP_NUM_THREADS": "1"}
            with (run / "log.txt").open("a") as log:
                subprocess.run(command, env=one_core, stdout=log, stderr=log, check=True)
            print(f"{run.relative_to(self.out)}: {100 * _best_miou(figures):.2f}", flush=True)
        return _best_miou(figures)


def scores_of(data: Path, run: Path, limit: int | None = None, peers: dict[str, str] | None = None) -> dict[str, Any]:
    """Scores the best checkpoint on the test frames; cached in `scores.json`."""
    path = run / "scores.json"
    if not path.is_file():
        for peer in (peers or {}).values():
            trust(peer)
        torch.set_num_threads(1)
        write_text(path, json.dumps(score(run / "best.ckpt", data, limit), indent=1) + "\n")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _best_miou(figures: Path) -> float:
    return float(json.loads(figures.read_text())["best_miou"])


if __name__ == "__main__":
    main()
