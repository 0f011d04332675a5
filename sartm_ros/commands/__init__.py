"""The commands that need recordings or ROS, one file per group; `sartm_ros.cli` combines them with the core's."""
