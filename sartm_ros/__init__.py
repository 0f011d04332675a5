"""The ROS 2 side: synchroniser, messages, bags, the nodes and the `sartm` command."""
