"""Losses, corruption and the training run."""
