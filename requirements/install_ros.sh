#!/usr/bin/env bash
# For a sourced ROS 2 from apt: a virtual environment beside ROS's own packages, and this package built by colcon.
# For development; a robot needs no torch: docs/robot.md. Called by `make setup-ros`.
#
# Usage: requirements/install_ros.sh FOLDER    leaves FOLDER/venv and FOLDER/install
#   TORCH_INDEX  package index for torch (default: the CPU build's)
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
say() { printf '[setup-ros] %s\n' "$*"; }
fail() { printf '[setup-ros] error: %s\n' "$*" >&2; exit 1; }

[ -n "${ROS_DISTRO:-}" ] || fail "no ROS 2 is sourced. Run: . /opt/ros/jazzy/setup.bash; without ROS: make setup"
python3 -c 'import rclpy, colcon_core' 2>/dev/null \
    || fail "rclpy or colcon is missing. Run: apt install ros-$ROS_DISTRO-rclpy python3-colcon-common-extensions"
mkdir -p "$1"
folder=$(cd "$1" && pwd)

say "virtual environment in $folder/venv, with access to the packages of $ROS_DISTRO"
python3 -m venv --clear --system-site-packages "$folder/venv"
pip=("$folder/venv/bin/python" -m pip --quiet --disable-pip-version-check install)
# ROS's messages and apt's OpenCV are built for apt's numpy: keep its major version.
export PIP_CONSTRAINT=$folder/constraints.txt
python3 -c 'import numpy; print(f"numpy<{int(numpy.__version__.split(chr(46))[0]) + 1}")' >"$PIP_CONSTRAINT"
"${pip[@]}" torch==2.13.0 --index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}"
"${pip[@]}" 'hydra-core>=1.3' 'iopath>=0.1.10' safetensors 'pydantic>=2.7' 'typer>=0.12' \
    lz4 mcap zstandard rosbags 'onnxruntime>=1.23'
"${pip[@]}" 'setuptools<80'
SAM2_BUILD_CUDA=0 "${pip[@]}" --no-deps --no-build-isolation sam2==1.1.0

say "colcon build, with that environment's Python: nodes start with the Python that ran colcon"
"$folder/venv/bin/python" -m colcon --log-base "$folder/log" build --paths "$here" --packages-select sartm_ros \
    --build-base "$folder/build" --install-base "$folder/install" --event-handlers console_direct+
say "done. In each shell: . $folder/venv/bin/activate && . $folder/install/setup.bash"
