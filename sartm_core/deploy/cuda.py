"""The few CUDA runtime calls an engine needs, so that a robot with TensorRT does not need torch.

Names and signatures are those of CUDA 11.4 to 13; every call is checked.
"""

import ctypes
import ctypes.util
import functools
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError

LIBRARIES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")
PIP_LIBRARIES = ("nvidia/cu13/lib/libcudart.so.13", "nvidia/cuda_runtime/lib/libcudart.so.12")
"""Of NVIDIA's packages nvidia-cuda-runtime and nvidia-cuda-runtime-cu12, below a folder that Python imports from."""

_HOST_TO_DEVICE, _DEVICE_TO_HOST = 1, 2
_INSUFFICIENT_DRIVER, _NO_DEVICE = 35, 100  # cudaError...
_MULTIPROCESSORS, _MAJOR, _MINOR = 16, 75, 76  # cudaDevAttr: MultiProcessorCount, ComputeCapability...
_NON_BLOCKING, _RELAXED = 1, 2  # a stream's flag; cudaStreamCaptureModeRelaxed


@functools.cache
def _library() -> Any:
    """The first runtime that the driver serves; else the first one; else None."""
    first = None
    for library in _found():
        if _devices(library)[0] != _INSUFFICIENT_DRIVER:
            return library
        first = first or library
    return first


def _found() -> Iterator[Any]:
    """The runtimes on this machine, the system's own before those of pip's packages."""
    packaged = (str(Path(folder, file)) for file in PIP_LIBRARIES for folder in sys.path)
    for name in (*LIBRARIES, *packaged):
        try:
            yield ctypes.CDLL(name)
        except OSError:
            continue


def _devices(library: Any) -> tuple[int, int]:
    """CUDA's status, and the number of GPUs."""
    count = ctypes.c_int()
    return library.cudaGetDeviceCount(ctypes.byref(count)), count.value


def why_unusable() -> str | None:
    """Why no GPU can be used, and what helps; None if one can."""
    library = _library()
    if library is None:
        return f"the CUDA runtime was not found ({', '.join(LIBRARIES)}; pip install nvidia-cuda-runtime-cu12)"
    status, count = _devices(library)
    if status == _INSUFFICIENT_DRIVER:
        return _without_driver(library)
    if status not in (0, _NO_DEVICE):
        return f"no NVIDIA GPU responds: {_words(library, status)}"
    return None if count else "no NVIDIA GPU responds"


def _without_driver(library: Any) -> str:
    """A driver that is too old, or none at all: CUDA has one status for both."""
    driver, runtime = (_version(library, f"cuda{which}GetVersion") for which in ("Driver", "Runtime"))
    if driver == (0, 0):
        return "no NVIDIA driver is loaded (a container needs --gpus all, or --runtime nvidia on a Jetson)"
    package = f"nvidia-cuda-runtime{f'-cu{driver[0]}' if driver[0] < 13 else ''}"
    return (
        f"the CUDA runtime is {runtime[0]}.{runtime[1]}, and the NVIDIA driver serves {driver[0]}.{driver[1]} at most: "
        f"update the driver, or install a runtime of CUDA {driver[0]} (with pip: {package})"
    )


def _version(library: Any, function: str) -> tuple[int, int]:
    """Major and minor; CUDA says 12020 for 12.2, and 0 for a driver that is not there."""
    version = ctypes.c_int()
    getattr(library, function)(ctypes.byref(version))
    return version.value // 1000, version.value % 1000 // 10


def _words(library: Any, status: int) -> str:
    explain = library.cudaGetErrorString
    explain.restype = ctypes.c_char_p
    return f"{explain(status).decode(errors='replace')} ({status})"


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
            raise SartmError(f"CUDA: {name} failed: {_words(self._library, status)}.")

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
        return f"{self._attribute(_MAJOR)}.{self._attribute(_MINOR)}"

    @property
    def description(self) -> str:
        """All that an engine depends on: an AGX Orin and an Orin NX differ in multiprocessors and memory alone."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        memory = f"{round(total.value / 2**30)} GiB"
        return f"{self.device_name}, {self.compute_capability}, {self._attribute(_MULTIPROCESSORS)} SMs, {memory}"

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self.call("cudaDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(number), ctypes.c_int(0))
        return value.value

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
