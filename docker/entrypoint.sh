#!/usr/bin/env bash
set -eo pipefail
. "/opt/ros/$ROS_DISTRO/setup.bash"
. /ws/install/setup.bash
exec "$@"
