"""The life of a process that runs one node: an orderly end, and errors that the user can mend without a traceback."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.signals import SignalHandlerOptions

from sartm_core.errors import SartmError


@contextlib.contextmanager
def ros_process(name: str, arguments: list[str] | None) -> Iterator[threading.Event]:
    """Initialises rclpy; yields an event that SIGINT and SIGTERM set.

    rclpy's own handlers end the context under whatever call is running, and a worker thread that is inside torch when
    the interpreter goes aborts the process. With these the context lives until the block has put everything away.

    Args:
        name: for the log.
        arguments: command line; by default that of the process.

    Raises:
        SystemExit: status 1 after a `SartmError` or a parameter of the wrong type, which are logged.
    """
    stop = threading.Event()

    def handle(signal_number: int, frame: FrameType | None) -> None:
        stop.set()

    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    try:
        yield stop
    except (SartmError, ParameterException) as error:
        rclpy.logging.get_logger(name).fatal(str(error))
        sys.exit(1)
    finally:
        rclpy.try_shutdown()
