"""Counts against numbers that were measured elsewhere."""

import dataclasses
import json

import pytest
from typer.testing import CliRunner

from sartm_core.cli import app
from sartm_core.model.info import describe, gflop_of
from sartm_core.model.presets import PRESETS, any_sensor, mle_sam, preset

runner = CliRunner()


def test_tiny_costs_what_sam2s_encoder_costs() -> None:
    """71.8 GFLOP at 480x640, counted on sam2's own configuration."""
    info = describe(any_sensor("tiny", ("rgb", "thermal"), 9, 16), (480, 640))
    assert info["gflop"]["encoder_per_modality"] == pytest.approx(71.8, rel=0.02)
    one, two = info["gflop"]["whole"]
    assert two - one == pytest.approx(info["gflop"]["encoder_per_modality"], rel=0.01)
    parameters = info["parameters"]
    assert parameters["encoder_without_lora"] == pytest.approx(26.85e6 + 0.37e6, rel=0.001)
    assert parameters["trainable"] < 0.1 * parameters["total"]
    assert parameters["trainable"] + sum(info["frozen"].values()) == parameters["total"]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PRESETS.keys() - {"peer"}))  # code from outside
def test_every_preset_is_described(name: str) -> None:
    info = describe(preset(name, "nano", ("rgb", "thermal", "depth"), 5, 4), (64, 96))
    whole = info["gflop"]["whole"]
    assert whole == sorted(whole)
    if name == "sartm":  # alone, the reference meets nobody
        encoder = info["gflop"]["encoder_per_modality"]
        assert whole[1] - whole[0] > 1.01 * encoder


@pytest.mark.slow
def test_a_modality_at_half_size_costs_a_quarter() -> None:
    config = dataclasses.replace(any_sensor("nano", ("rgb", "lidar", "thermal"), 5, 4), half_size=("lidar",))
    rgb, lidar, both = gflop_of(config, (128, 192), [[0], [1], [0, 1]])
    after = describe(config, (128, 192))["gflop"]["after_the_encoder"]
    assert lidar - after == pytest.approx((rgb - after) / 4, rel=0.05)
    assert both - after == pytest.approx(rgb + lidar - 2 * after, rel=0.01)


@pytest.mark.slow
def test_mle_sams_experts() -> None:
    info = describe(mle_sam("base_plus", ("rgb", "depth", "event", "lidar"), 25, 32), (64, 64))
    assert info["parameters"]["lora_per_expert"] == 1_326_080
    assert info["parameters"]["experts"] == 4


def test_the_command() -> None:
    command = ["model", "info"]
    run = runner.invoke(
        app, [*command, "shared_lora", "--backbone", "nano", "--modalities", "a,b,c", "--size", "64x96", "--json"]
    )
    info = json.loads(run.stdout)
    assert info["parameters"]["experts"] == 1
    assert len(info["gflop"]["whole"]) == 3
    wrong = runner.invoke(app, [*command, "any_sensor", "--backbone", "nano", "--size", "100x96"])
    assert wrong.exit_code == 1
    assert "multiples of 32, got 100x96" in wrong.stderr
    assert runner.invoke(app, [*command, "any_sensor", "--size", "big"]).exit_code == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [("--size", "0x0"), ("--size", "-32x32"), ("--size", "64"), ("--modalities", "rgb,"), ("--modalities", "rgb,rgb"),
     ("--classes", "0"), ("--classes", "300"), ("--lora-rank", "0")],
)  # fmt: skip
def test_options_that_describe_no_network_are_named(option: str, value: str) -> None:
    result = CliRunner().invoke(app, ["model", "info", "any_sensor", "--backbone", "nano", f"{option}={value}"])
    assert result.exit_code == 2
    assert f"Invalid value for {option}" in result.output.replace("'", "")
