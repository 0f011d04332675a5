#!/usr/bin/env bash
# The GPU day, in under 8 minutes: half precision, CUDA graphs, parity, speed and a training step on this machine.
# Needs torch (with CUDA) and this checkout's requirements. Leaves bench/results/gpu.json.
#
#   bench/gpu.sh            on the GPU
#   bench/gpu.sh --cpu      the same code on a CPU, with the shipped model alone: what CI runs
set -euo pipefail
cd "$(dirname "$0")/.."
exec env PYTHONPATH=. "${PYTHON:-python3}" bench/gpu.py "$@"
