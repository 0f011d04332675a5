"""The simulated rig and the demo: streets, sensors, weather and faults with the exact truth. No robot needs it."""
