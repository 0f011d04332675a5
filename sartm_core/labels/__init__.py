"""Where labels come from: annotation tools and segmentation models that know RGB."""
