"""The perception node: a managed node that subscribes, synchronises, segments and publishes."""
