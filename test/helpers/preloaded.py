"""Python modules as processes that start at once: forked from a server that has torch and ROS imported already.

An interpreter of its own takes four seconds of CPU time for its imports, and most tests of nodes start one. What a fork
does not show is the end of the interpreter, and what a module imports: tests of these start a `subprocess.Popen`.
"""

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "torch",
        "sartm_core.deploy.torch_segmenter",
        "sartm_ros.node.lifecycle",
        "sartm_ros.commands.replays",
        "sartm_sim.record",
    ]
)


class PreloadedProcess:
    """The part of subprocess.Popen that tests use."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        """`arguments`: a module and its arguments, as after `python -m`."""
        self._process = _SERVER.Process(target=_run, args=(arguments, environment, log))
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _run(arguments: list[str], environment: dict[str, str], log: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with log.open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.argv = arguments
    sys.path.insert(0, os.getcwd())
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    finally:
        gc.collect()  # a fork ends without the interpreter's own end, which would free the shared memory of DDS
