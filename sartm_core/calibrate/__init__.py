"""Estimates how sensors lie to the reference camera, in space and in time, from natural scenes."""
