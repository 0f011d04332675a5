"""ONNX Runtime, imported so that it sends and keeps nothing about this machine."""

import os
from typing import Any

from sartm_core.errors import SartmError


def onnx_runtime() -> Any:
    """The module `onnxruntime`, without its telemetry.

    From 1.31 on, each process that makes a session would write a device id under the user's cache, a session file into
    the folder for temporary files, and report to Microsoft. A value that the user has set is left alone.

    Raises:
        SartmError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise SartmError(
            "the bundle holds ONNX graphs, and onnxruntime is not installed: pip install onnxruntime (onnxruntime-gpu "
            "for CUDA)."
        ) from error
    return onnxruntime
