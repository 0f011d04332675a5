"""From ROS messages to raw sensor arrays. Duck-typed: rclpy's messages and rosbags' alike."""
