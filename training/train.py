"""Trains a recipe: `python training/train.py training/recipes/first_light.yaml --out out/first_light`."""

import sys

from sartm_core.cli import app

if __name__ == "__main__":
    app(["train", *sys.argv[1:]])
