#!/usr/bin/env bash
# Builds the wheel and checks it as a user would: in a clean environment, from another folder, without torch and ROS.
#
# Usage: requirements/wheel.sh FOLDER    leaves FOLDER/dist; called by `make wheel`
#   PYTHON   interpreter to start from (default python3)
set -euo pipefail
mkdir -p "$1"
folder=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")/.." && pwd)
say() { printf '[wheel] %s\n' "$*"; }

rm -rf "$folder/dist" "$folder/tools" "$folder/venv" "$folder/elsewhere"
mkdir "$folder/elsewhere"
for name in tools venv; do
    "${PYTHON:-python3}" -m venv "$folder/$name"
done

say "building in $folder/dist"
"$folder/tools/bin/python" -m pip --quiet --disable-pip-version-check install build
"$folder/tools/bin/python" -m build --outdir "$folder/dist" "$here" >"$folder/build.log" 2>&1 || { cat "$folder/build.log"; exit 1; }
say "installing it, with what it depends on, in $folder/venv"
"$folder/venv/bin/python" -m pip --quiet --disable-pip-version-check install "$(ls "$folder"/dist/*.whl)[onnx]"

cd "$folder/elsewhere"
say "what a user would do first"
"$folder/venv/bin/sartm" --version
"$folder/venv/bin/sartm" rig show sim
"$folder/venv/bin/python" "$here/requirements/check_installed.py"
"$folder/venv/bin/sartm" sim record --scenario short --rate 1 --out drive
"$folder/venv/bin/sartm" bag segment drive --bundle any_sensor_simrig5 --out masks
