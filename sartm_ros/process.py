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
def ros_process(name: str, arguments: list[str] | None) -> Iterator[None]:
    """Initialises rclpy without its signal handlers, and ends it when the block has put everything away.

    rclpy's own handlers end the context under whatever call is running. Until `catch_signals` an interrupt breaks into
    the block as Python's KeyboardInterrupt, so that nobody waits for a model to load.

    Args:
        name: for the log.
        arguments: command line; by default that of the process.

    Raises:
        SystemExit: status 1 after a `SartmError` or a parameter of the wrong type, which are logged.
    """
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


def catch_signals() -> threading.Event:
    """From now on SIGINT and SIGTERM, however many, set the event that is returned.

    A worker thread that is inside torch when the interpreter goes aborts the process: whoever waits for the event stops
    it first.
    """
    interrupted = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        interrupted.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return interrupted
