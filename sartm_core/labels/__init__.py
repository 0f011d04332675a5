"""Sources of labels: annotation tools and RGB segmentation models."""
