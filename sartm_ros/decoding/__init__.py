"""Decodes ROS messages into raw sensor arrays. Duck-typed: works on rclpy's and rosbags' messages."""
