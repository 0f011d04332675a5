"""`sartm demo`: the simulated rig and the perception node, live, recorded and reported."""
