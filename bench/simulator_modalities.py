"""How useful each simulated modality is per condition, and a check that none gives the labels away.

For every modality alone, and for RGB with thermal: a small U-Net trained from scratch; mIoU per condition on unseen
streets. Also a logistic classifier of single pixels. About half an hour on two cores:

    python bench/simulator_modalities.py --out bench/results/simulator_modalities.json
"""

import argparse
import json
import platform
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sartm_core.evaluation.metrics import SegmentationScore
from sartm_core.files import write_text
from sartm_core.learning.augmentation import Augmentation
from sartm_core.learning.sources import SimulatedSource, TrainingFrames, validation_draws
from sartm_core.rig import Rig, load_rig
from sartm_sim.simulation import CONDITIONS

SIZE = (128, 160)
INPUTS = ("rgb", "thermal", "depth", "lidar", "event", "rgb+thermal")


class SmallUNet(nn.Module):
    """Four levels, starting at half resolution; 0.5 M parameters."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        widths = (16, 32, 64, 128)
        self.stem = nn.Conv2d(channels, widths[0], 4, stride=2, padding=1)
        self.down = nn.ModuleList(_block(a, b) for a, b in zip((widths[0], *widths), widths, strict=False))
        pairs = zip(widths[:0:-1], widths[-2::-1], strict=True)
        self.up = nn.ModuleList(_block(deep + flat, flat) for deep, flat in pairs)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        levels = []
        for index, block in enumerate(self.down):
            x = block(x if index == 0 else F.max_pool2d(x, 2))
            levels.append(x)
        for block, level in zip(self.up, levels[-2::-1], strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2), level], dim=1))
        return F.interpolate(self.head(x), scale_factor=2, mode="bilinear")


def _block(before: int, after: int) -> nn.Sequential:
    layers = []
    for width in (before, after):
        layers += [nn.Conv2d(width, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


STILL = Augmentation(flip=0, scale=(1, 1), brightness=0, contrast=0, saturation=0, blur=0)


def frames(rig: Rig, split: str, count: int, condition: str | None = None) -> tuple[Tensor, Tensor]:
    """Planes float16 [N, M, 3, H, W] and truth uint8 [N, H, W]."""
    dataset = TrainingFrames(SimulatedSource(rig, split, count, condition), "stretch", STILL, 0)
    batches = list(DataLoader(dataset, batch_size=8, sampler=validation_draws(count, SIZE), num_workers=2))
    planes = torch.cat([batch["planes"].half() for batch in batches])
    return planes, torch.cat([batch["truth"].byte() for batch in batches])


def train(network: nn.Module, planes: Tensor, truth: Tensor, steps: int) -> None:
    """AdamW with a cosine decay; random mirroring."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(steps):
        chosen = torch.randint(len(planes), (8,), generator=generator)
        x, y = planes[chosen].float().flatten(1, 2), truth[chosen].long()
        if torch.rand(1, generator=generator) < 0.5:
            x, y = x.flip(-1), y.flip(-1)
        loss = F.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


@torch.inference_mode()
def miou(network: nn.Module, planes: Tensor, truth: Tensor) -> float:
    """Mean IoU, 0 to 1."""
    network.eval()
    score = SegmentationScore(14)
    for x, y in zip(torch.split(planes, 8), torch.split(truth, 8), strict=True):
        score.update(network(x.float().flatten(1, 2)).argmax(dim=1).numpy(), y.numpy())
    return score.mean_iou()


def main() -> None:
    """Trains, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--inputs", nargs="+", default=INPUTS, choices=INPUTS)
    parser.add_argument("--train", type=int, default=2000, help="training frames")
    parser.add_argument("--val", type=int, default=40, help="validation frames per condition")
    parser.add_argument("--steps", type=int, default=1600, help="training steps of 8 frames")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    needed = {name for what in arguments.inputs for name in what.split("+")} | {"rgb"}
    rig = load_rig("simrig5")
    rig = rig.model_copy(update={"modalities": tuple(m for m in rig.modalities if m.name in needed)})
    names = rig.names
    planes, truth = frames(rig, "train", arguments.train)
    validation = {condition: frames(rig, "val", arguments.val, condition) for condition in CONDITIONS}
    sample = planes[:256].float()
    mean, std = sample.mean(dim=(0, 3, 4)), sample.std(dim=(0, 3, 4)).clamp_min(1e-3)

    def normal(x: Tensor, chosen: list[int]) -> Tensor:
        return ((x[:, chosen].float() - mean[chosen][..., None, None]) / std[chosen][..., None, None]).half()

    figures: dict[str, dict[str, float]] = {}
    for what in arguments.inputs:
        chosen = [names.index(name) for name in what.split("+")]
        x = normal(planes, chosen)
        figures[what] = {}
        for label, network, steps in (
            ("u-net", SmallUNet(3 * len(chosen), 14), arguments.steps),
            ("pixel", nn.Conv2d(3 * len(chosen), 14, 1), 600),
        ):
            train(network, x, truth, steps)
            scores = {c: miou(network, normal(p, chosen), t) for c, (p, t) in validation.items()}
            if label == "pixel":
                scores = {"pixel classifier, day": scores["day"], "pixel classifier, best": max(scores.values())}
            figures[what] |= {name: round(score, 4) for name, score in scores.items()}
        print(what, figures[what], flush=True)
    setting = {"size": SIZE, "train": arguments.train, "val": arguments.val, "steps": arguments.steps}
    about = {"date": date.today().isoformat(), "machine": platform.machine(), "torch": torch.__version__, **setting}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out, json.dumps({"about": about, "miou": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
