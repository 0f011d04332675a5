"""Sensor models, one file each: what a sensor of a kind makes of one view."""
