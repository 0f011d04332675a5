"""Multi-modal semantic segmentation that keeps working when sensors don't. Knows no ROS."""

__version__ = "0.1.0"
