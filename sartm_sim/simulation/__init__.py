"""A simulated rig: one street scene, several sensors that see it, weather, and the exact truth."""

from sartm_sim.simulation.conditions import CONDITIONS, Condition
from sartm_sim.simulation.rig import SimulatedFrame, SimulatedRig

__all__ = ["CONDITIONS", "Condition", "SimulatedFrame", "SimulatedRig"]
