"""rosbag2 recordings, read, written and replayed without a ROS installation (`player` alone needs one)."""
