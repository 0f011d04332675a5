"""The simulated rig and the demo: streets, sensors, weather and faults with exact truth. Not needed on a robot."""
