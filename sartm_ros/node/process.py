"""The life of a process that runs one node: a clean shutdown, and user errors reported without a traceback."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

import rclpy
import rclpy.utilities
from rclpy.exceptions import ParameterException
from rclpy.signals import SignalHandlerOptions

from sartm_core.errors import SartmError
from sartm_ros.node.middleware import log_folder, shared_memory

AGAIN_S = 1.0
"""Signals this long after the first one are a second try."""


@contextlib.contextmanager
def ros_process(name: str, arguments: list[str] | None) -> Iterator[None]:
    """Initialises rclpy without its signal handlers, and shuts it down after the block has cleaned up.

    rclpy's own handlers end the context under whatever call is running. Until `catch_signals` an interrupt breaks into
    the block as Python's KeyboardInterrupt, so that loading a model can be interrupted.

    Args:
        name: for the log.
        arguments: command line; by default that of the process.

    Raises:
        SystemExit: status 1 after a `SartmError` or a parameter of the wrong type, which are logged; status 2 after
            arguments that no ROS node understands.
    """
    _check_arguments(name, sys.argv if arguments is None else arguments)
    os.environ.update(shared_memory(os.environ, participants=1) | log_folder(os.environ))
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield
    except KeyboardInterrupt:
        pass
    except (SartmError, ParameterException) as error:
        rclpy.logging.get_logger(name).fatal(str(error))
        sys.exit(1)
    finally:
        rclpy.try_shutdown()


def _check_arguments(name: str, arguments: list[str]) -> None:
    """Outside of --ros-args, rclpy would silently ignore arguments; inside, wrong ones would end in a traceback."""
    usage = f"usage: {name} --ros-args -p NAME:=VALUE ... (parameters: docs/node.md)"
    try:
        left = rclpy.utilities.remove_ros_args(arguments)[1:]
    except RuntimeError as error:
        sys.exit(_wrong_use(f"{usage}\n{str(error).splitlines()[0]}"))
    if left in (["-h"], ["--help"]):
        sys.stdout.write(usage + "\n")
        sys.exit(0)
    if left:
        sys.exit(_wrong_use(f"{usage}\nunknown arguments: {' '.join(left)}"))


def _wrong_use(text: str) -> int:
    sys.stderr.write(text + "\n")
    return 2


def end_at_once(status: int) -> NoReturn:
    """Ends the process without waiting for its threads, one of which hangs."""
    rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def catch_signals() -> threading.Event:
    """From now on SIGINT and SIGTERM set the returned event; another one a second later ends the process at once.

    Those before come from the same Ctrl-C: launch and the terminal both send one. A worker thread that is inside torch
    when the interpreter goes aborts the process: whoever waits for the event stops it first.
    """
    interrupted = threading.Event()
    first_s: list[float] = []

    def handle(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        first_s.append(time.monotonic())
        if first_s[-1] - first_s[0] >= AGAIN_S:
            os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return interrupted
