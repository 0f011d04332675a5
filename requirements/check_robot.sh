#!/usr/bin/env bash
# Runs what a robot without torch does, with the versions that this Python has: apt's, in CI.
#
# Usage: requirements/check_robot.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
sartm() { printf '[check-robot] sartm %s\n' "$*"; "$python" -m sartm_ros.cli "$@" >"$out/said" 2>&1 || { cat "$out/said"; exit 1; }; }

"$python" -c 'import cv2, matplotlib, numpy
print("[check-robot] NumPy", numpy.__version__, "OpenCV", cv2.__version__, "Matplotlib", matplotlib.__version__)'
sartm sim record --scenario short --rate 2 --out "$out/drive"
sartm bag info "$out/drive"
sartm rig init --from-bag "$out/drive" --out "$out/rig.yaml"
sartm bag segment "$out/drive" --bundle any_sensor_simrig5 --overlay --out "$out/masks"
sartm bag evaluate "$out/drive" --bundle any_sensor_simrig5 --truth-topic /sim/truth --out "$out/scores"
sartm bag extract "$out/drive" --rig "$out/rig.yaml" --every 0.5 --truth-topic /sim/truth --out "$out/frames"
sartm data check "$out/frames"
sartm data preview "$out/frames" --out "$out/preview.png"
sartm segment "$out/frames/train/rgb" --out "$out/images"
echo '[check-robot] all well, without torch'
