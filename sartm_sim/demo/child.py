"""`python -m sartm_sim.demo.child PID MODULE ...`: runs a module that ends with process PID, its parent.

A killed demo cannot end its children; the kernel can (PR_SET_PDEATHSIG of prctl(2), Linux).
"""

import ctypes
import os
import runpy
import signal
import sys

_SET_DEATH_SIGNAL = 1


def main() -> None:
    """Runs the module as `python -m` does."""
    parent = int(sys.argv[1])
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before it was asked for
        sys.exit(1)
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
