"""Trains a recipe: `python training/train.py training/recipes/first_light.yaml --out out/first_light`."""

import os
import sys

from sartm_core.cli import app

if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see sartm_ros.cli.main
    app(["train", *sys.argv[1:]])
