"""Trains a recipe: `python training/train.py training/recipes/any_sensor_simrig5.yaml --out out/any_sensor_simrig5`."""

import os
import sys

from sartm_core.cli import app

if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see sartm_ros.cli.main
    app(["train", *sys.argv[1:]])
