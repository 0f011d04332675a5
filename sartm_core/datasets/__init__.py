"""Labelled frame sets to learn from."""
