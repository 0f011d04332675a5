"""`python -m sartm_ros.node`: the perception node."""

from sartm_ros.node.lifecycle import main

if __name__ == "__main__":
    main()
