"""The few CUDA runtime calls an engine needs, so that a robot with TensorRT does not need torch.

Names and signatures are those of CUDA 11.4 to 13; every call is checked.
"""

import ctypes
import ctypes.util
import functools
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError

LIBRARIES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")
_HOST_TO_DEVICE, _DEVICE_TO_HOST = 1, 2
_MAJOR, _MINOR = 75, 76  # cudaDevAttrComputeCapability...
_NON_BLOCKING, _RELAXED = 1, 2  # a stream's flag; cudaStreamCaptureModeRelaxed


@functools.cache
def _library() -> Any:
    """The runtime, or None."""
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def why_unusable() -> str | None:
    """Why no GPU can be used; None if one can."""
    library = _library()
    if library is None:
        return f"the CUDA runtime was not found ({', '.join(LIBRARIES)})"
    count = ctypes.c_int()
    if library.cudaGetDeviceCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "no NVIDIA GPU responds"
    return None


def _free_all(library: Any, owned: list[tuple[str, ctypes.c_void_p]]) -> None:
    """Frees in reverse order; failures are ignored, since the driver may be gone at exit."""
    for free, pointer in reversed(owned):
        getattr(library, free)(pointer)


class Cuda:
    """The first GPU and one stream. Allocations are freed once this object and all pinned arrays are gone.

    Raises:
        SartmError: there is no usable GPU.
    """

    def __init__(self) -> None:
        reason = why_unusable()
        if reason is not None:
            raise SartmError(f"backend 'tensorrt': {reason}. Use backend onnx with device cpu.")
        self._library = _library()
        self._owned: list[tuple[str, ctypes.c_void_p]] = []  # (function that frees it, pointer)
        weakref.finalize(self, _free_all, self._library, self._owned)
        self.stream = ctypes.c_void_p()
        self.call("cudaStreamCreateWithFlags", ctypes.byref(self.stream), ctypes.c_uint(_NON_BLOCKING))
        self._owned.append(("cudaStreamDestroy", self.stream))

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a runtime function; raises SartmError with its name and CUDA's message if it fails."""
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            explain = self._library.cudaGetErrorString
            explain.restype = ctypes.c_char_p
            raise SartmError(f"CUDA: {name} failed: {explain(status).decode(errors='replace')} ({status}).")

    @property
    def device_name(self) -> str:
        """The driver's name of the GPU."""
        properties = ctypes.create_string_buffer(1 << 14)  # cudaDeviceProp starts with char name[256]
        version_2 = hasattr(self._library, "cudaGetDeviceProperties_v2")
        name = "cudaGetDeviceProperties_v2" if version_2 else "cudaGetDeviceProperties"
        self.call(name, properties, ctypes.c_int(0))
        return properties.raw[:256].split(b"\0")[0].decode(errors="replace")

    @property
    def compute_capability(self) -> str:
        """Such as `8.7` on AGX Orin."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.call("cudaDeviceGetAttribute", ctypes.byref(major), ctypes.c_int(_MAJOR), ctypes.c_int(0))
        self.call("cudaDeviceGetAttribute", ctypes.byref(minor), ctypes.c_int(_MINOR), ctypes.c_int(0))
        return f"{major.value}.{minor.value}"

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """A zeroed array in page-locked memory, copied without staging by the driver."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        pointer = ctypes.c_void_p()
        self.call("cudaHostAlloc", ctypes.byref(pointer), ctypes.c_size_t(size), ctypes.c_uint(0))
        assert pointer.value is not None
        self._owned.append(("cudaFreeHost", pointer))
        memory = (ctypes.c_byte * size).from_address(pointer.value)
        memory.owner = self  # the array keeps its memory alive
        array = np.frombuffer(memory, dtype).reshape(shape)
        array[...] = 0
        return array

    def device_memory(self, size: int) -> int:
        """Allocates `size` bytes on the GPU; returns the address."""
        pointer = ctypes.c_void_p()
        self.call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(size))
        assert pointer.value is not None
        self._owned.append(("cudaFree", pointer))
        return pointer.value

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Copies to the GPU, in the stream."""
        self._copy(address, array.ctypes.data, array.nbytes, _HOST_TO_DEVICE)

    def download(self, array: NDArray[Any], address: int) -> None:
        """Copies from the GPU, in the stream."""
        self._copy(array.ctypes.data, address, array.nbytes, _DEVICE_TO_HOST)

    def _copy(self, to: int, source: int, size: int, kind: int) -> None:
        self.call(
            "cudaMemcpyAsync", ctypes.c_void_p(to), ctypes.c_void_p(source), ctypes.c_size_t(size),
            ctypes.c_int(kind), self.stream,
        )  # fmt: skip

    def synchronize(self) -> None:
        """Waits for the stream."""
        self.call("cudaStreamSynchronize", self.stream)

    def begin_capture(self) -> None:
        """From now on the stream's work is captured, not executed."""
        self.call("cudaStreamBeginCapture", self.stream, ctypes.c_int(_RELAXED))

    def end_capture(self) -> ctypes.c_void_p:
        """Returns the captured work, ready to `launch`."""
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cudaStreamEndCapture", self.stream, ctypes.byref(graph))
        self.call("cudaGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        self.call("cudaGraphDestroy", graph)
        self._owned.append(("cudaGraphExecDestroy", executable))
        return executable

    def launch(self, executable: ctypes.c_void_p) -> None:
        """Executes captured work in the stream."""
        self.call("cudaGraphLaunch", executable, self.stream)
