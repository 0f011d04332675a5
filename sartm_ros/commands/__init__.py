"""The commands that need recordings or ROS, one file per group; `sartm_ros.cli` puts them together with the core's."""
