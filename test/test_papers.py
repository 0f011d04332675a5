"""docs/papers.md: every table and figure of the papers has a row, and what its commands name is there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from doc_commands import find_command, sartm_commands

from sartm_core.datasets.deliver import Deliver
from sartm_core.datasets.fmb import FMB
from sartm_core.datasets.mcubes import MCubeS
from sartm_core.datasets.mfnet import MFNet
from sartm_core.datasets.muses import Muses
from sartm_core.datasets.pst900 import PST900
from sartm_core.errors import SartmError
from sartm_core.evaluation.convention import check_convention
from sartm_core.evaluation.protocols import expand, variations_of
from sartm_core.learning.overrides import read_recipe
from sartm_core.learning.recipe import Recipe
from sartm_core.model.presets import preset, preset_for_rig
from sartm_core.rig import Rig, load_rig

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "papers.md"
SPLITS = {layout.name: layout.expected for layout in (MFNet, PST900, FMB, Deliver, Muses, MCubeS)}
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
CONTENTS = {
    "SARTM": ([f"Table {number}" for number in ROMAN[:8]], [f"Fig. {number}" for number in range(1, 9)]),
    "MLE-SAM": ([f"Table {number}" for number in ROMAN], [f"Fig. {number}" for number in range(1, 8)]),
    "MM SAM-adapter": (
        [f"Table {number}" for number in range(1, 15)],
        [*(f"Fig. {number}" for number in range(1, 7)), "Fig. A-D"],
    ),
}
"""What each paper has."""


@dataclass
class Run:
    """A `sartm train` of the page."""

    recipe: Recipe
    rig: Rig

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Run":
        """As `sartm train` reads them, up to the network's configuration."""
        changes = list(options["change"] or [])
        if options["modalities"]:
            changes.append(f"data.modalities=[{options['modalities']}]")
        recipe = read_recipe(ROOT / options["recipe"], changes)
        assert recipe.data.root is not None
        rig = load_rig(Path(recipe.data.root).name.lower())
        rig = rig if recipe.data.modalities is None else rig.only(recipe.data.modalities)
        config: Any = preset_for_rig(recipe.preset, recipe.backbone, rig, recipe.lora_rank, recipe.network)
        answer = getattr(config, "inference", "mask")
        assert answer == "mask" or recipe.losses.auxiliary > 0, f"{options['out']}: an untrained head is in the answer"
        branches = getattr(config, "adapter", False)
        assert branches or recipe.branch_weights is None, f"{options['out']}: weights for branches that are not there"
        return cls(recipe, rig)


@cache
def options_of(command: str) -> list[Mapping[str, Any]]:
    """The options of each such command, defaults filled in; without those that the text only names."""
    result: list[Mapping[str, Any]] = []
    for words in sartm_commands(PAGE):
        found, rest = find_command(words)
        if words[: len(command.split())] == command.split() and len(rest) > 1:
            result.append(found.make_context(command, list(rest)).params)
    return result


@cache
def runs() -> Mapping[Path, Run]:
    """Folder -> what the page trains in it."""
    return {options["out"]: Run.of(options) for options in options_of("train")}


@pytest.mark.parametrize("paper", CONTENTS)
def test_every_table_and_figure_has_a_row(paper: str) -> None:
    section = PAGE.read_text().split(f"\n## {paper}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    assert all(len(row) == 5 and row[2] for row in rows), "a command, a row that has it, or 'none'"
    tables, figures = CONTENTS[paper]
    assert [row[0] for row in rows[2:] if row[0]] == [*tables, *figures]
    assert all(row[4] for row in rows if row[2] == "none"), "why there is no command"


def test_every_run_is_a_recipe_with_changes_that_it_takes() -> None:
    found = runs()
    assert len(found) == len(options_of("train")) > 50  # no folder twice
    one = found[Path("out/f_hat")]
    assert (one.recipe.network["fusion"], one.rig.name) == ("top_k", "deliver")


@pytest.mark.parametrize(
    "changes",
    [["network.fusoin=mean"], ["network.fusion=means"], ["losses.langauge=0"], ["data.modalities=[rgb, thermals]"]],
)
def test_a_change_that_no_recipe_takes_would_be_seen(changes: list[str]) -> None:
    options = {"recipe": "training/recipes/sartm_fmb.yaml", "out": "out/x", "modalities": None, "change": changes}
    with pytest.raises(SartmError):
        Run.of(options)


@pytest.mark.parametrize("command", ["evaluate", "pictures"])
def test_what_is_scored_or_drawn_was_trained_on_that_data(command: str) -> None:
    trained = runs()
    found = options_of(command)
    assert len(found) > 10
    for options in found:
        layout = options["data"].name.lower()
        assert options["split"] in SPLITS[layout]
        for checkpoint in map(Path, options.get("models") or [options["model"]]):
            if checkpoint == Path("sartm_released.ckpt"):
                continue
            run = trained[checkpoint.parent]
            assert run.rig.name == layout, checkpoint
            if command == "evaluate":
                variations_of(expand(options["protocol"] or ["clean"]), run.rig.modalities)
                check_convention(options["convention"], run.rig, run.recipe.stages[-1].size)
                assert all(re.fullmatch(r"[\w-]+=\w+\.txt", one) for one in options["frame_list"] or [])


def test_steps_that_are_drawn_are_kept() -> None:
    trained = runs()
    for options in options_of("pictures"):
        for checkpoint in map(Path, options["models"]):
            every = trained[checkpoint.parent].recipe.keep_every
            step = re.fullmatch(r"step_(\d+)", checkpoint.stem)
            assert checkpoint.stem == "best" if step is None else every is not None and int(step[1]) % every == 0


def test_what_is_compared_or_described_is_there() -> None:
    scored = {options["out"] for options in options_of("evaluate")}
    compared = options_of("compare")
    assert compared
    for options in compared:
        assert set(options["runs"]) <= scored
    for options in options_of("model info"):
        names = tuple(options["modalities"].split(","))
        preset(options["preset_name"], options["backbone"], names, options["classes"], options["lora_rank"])


def test_every_recipe_of_a_paper_is_on_the_page() -> None:
    text = PAGE.read_text()
    for recipe in (ROOT / "training" / "recipes").glob("*.yaml"):
        if recipe.stem.startswith(("sartm_", "mle_sam_", "mm_sam_adapter_", "sam_lora_", "mean_fusion_")):
            assert recipe.stem in text
