"""The ROS 2 side: synchroniser, messages, rosbags, the perception node and the `sartm` command."""
