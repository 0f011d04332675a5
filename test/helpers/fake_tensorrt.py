"""A stand-in for NVIDIA's Python package: no name that the real one lacks, plans that wrap the ONNX graph, and
execution by ONNX Runtime on the addresses and in the stream that it is given.

`test_tensorrt_bindings.py` compares its names with the real ones. It is stricter than they are where that shows
mistakes: nothing may be captured that has not run once, a context that is gone makes its captured work fail, and
engines scribble over all of their scratch memory.
"""

import ctypes
import dataclasses
import enum
import importlib.machinery
import json
import math
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime

NAMES_BEFORE_11 = {
    ("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH"),
    ("BuilderFlag", "FP16"),
    ("ICudaEngine", "create_execution_context_without_device_memory"),
    ("ICudaEngine", "device_memory_size"),
}
"""What only a module of version 8 offers; TensorRT 10 still has them, 11 has not."""

_MAGIC = b"fake plan\n"
_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@dataclasses.dataclass
class Control:
    """What tests set and look at. `runtime`: the library of fake_cudart.c; `gpu`: part of plans and timing caches."""

    runtime: Any
    version: str
    gpu: str = "8.7"
    parse_errors: list[str] = dataclasses.field(default_factory=list)
    build_fails: bool = False
    context_fails: bool = False
    execution_fails: bool = False
    capture_fails: bool = False
    refuse_plans: int = 0
    builds: list["IBuilderConfig"] = dataclasses.field(default_factory=list)
    network_flags: list[int] = dataclasses.field(default_factory=list)
    plans_read: list[bytes] = dataclasses.field(default_factory=list)
    timing_known: list[bytes] = dataclasses.field(default_factory=list)
    contexts: int = 0
    executions: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)
    kernels: list[Any] = dataclasses.field(default_factory=list)

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


_control: Control


def make(runtime: Any, version: str) -> tuple[types.ModuleType, Control]:
    """A module to be put into `sys.modules` as `tensorrt`, and the control of everything it does."""
    global _control
    _control = Control(runtime, version)
    runtime.fake_device_room.restype = ctypes.c_size_t
    module = types.ModuleType("tensorrt")
    module.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)  # find_spec wants one
    module.__version__ = version  # type: ignore[attr-defined]
    old = _control.major < 10
    flags = _OldNetworkFlag if old else _NetworkFlag10 if _control.major == 10 else _NetworkFlag11
    for value in _PUBLIC:
        setattr(module, value.__name__, value)
    setattr(module, "NetworkDefinitionCreationFlag", flags)  # noqa: B010
    setattr(module, "BuilderFlag", _OldBuilderFlag if old else _NewBuilderFlag)  # noqa: B010
    if old:
        del module.IProgressMonitor  # came with TensorRT 9
        del module.ExecutionContextAllocationStrategy  # with 10
    return module, _control


class _Strict:
    """Unknown names raise AttributeError, also where they are set, as in pybind11's classes."""

    __slots__ = ("__weakref__",)


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class TensorIOMode(enum.Enum):
    NONE, INPUT, OUTPUT = range(3)


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class DataType(enum.Enum):
    FLOAT, HALF, INT8, INT32, BOOL, UINT8, FP8, BF16, INT64 = range(9)


class _NetworkFlag10(enum.IntEnum):
    STRONGLY_TYPED = 1


class _NetworkFlag11(enum.IntEnum):
    STRONGLY_TYPED = 0


class _OldNetworkFlag(enum.IntEnum):
    EXPLICIT_BATCH = 0


class _NewBuilderFlag(enum.Enum):
    TF32 = 7


class _OldBuilderFlag(enum.Enum):
    FP16 = 0


_NUMPY: dict[DataType, Any] = {
    DataType.FLOAT: np.float32,
    DataType.HALF: np.float16,
    DataType.INT8: np.int8,
    DataType.INT32: np.int32,
    DataType.INT64: np.int64,
    DataType.BOOL: np.bool_,
    DataType.UINT8: np.uint8,
}
_OF_ONNX = {
    "tensor(float)": DataType.FLOAT,
    "tensor(float16)": DataType.HALF,
    "tensor(int64)": DataType.INT64,
    "tensor(uint8)": DataType.UINT8,
}


def nptype(trt_type: DataType) -> Any:
    return _NUMPY[trt_type]


class Logger(_Strict):
    WARNING = 2

    def __init__(self, min_severity: int = WARNING) -> None:
        assert min_severity == Logger.WARNING


class Dims(_Strict):
    """Iterable, no tuple."""

    __slots__ = ("_sides",)

    def __init__(self, shape: Any) -> None:
        self._sides = tuple(shape)

    def __len__(self) -> int:
        return len(self._sides)

    def __getitem__(self, index: int) -> int:
        return self._sides[index]


class IHostMemory(_Strict):
    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __bytes__(self) -> bytes:  # the real one has the buffer protocol, which Python classes have from 3.12 on
        return self._content

    @property
    def nbytes(self) -> int:
        return len(self._content)


class ITimingCache(_Strict):
    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> IHostMemory:
        return IHostMemory(self._content)


class IOptimizationProfile(_Strict):
    __slots__ = ("_shapes",)

    def __init__(self) -> None:
        self._shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # the real names
        self._shapes[input] = [list(min), list(opt), list(max)]


class INetworkDefinition(_Strict):
    __slots__ = ("_graph",)

    def __init__(self) -> None:
        self._graph: bytes | None = None


class ParserError(_Strict):
    __slots__ = ("_words",)

    def __init__(self, words: str) -> None:
        self._words = words

    def desc(self) -> str:
        return self._words


class OnnxParser(_Strict):
    __slots__ = ("_errors", "_network")

    def __init__(self, network: INetworkDefinition, logger: Logger) -> None:
        self._network, self._errors = network, list(_control.parse_errors)

    def parse(self, model: bytes, path: str | None = None) -> bool:
        opset = max(entry.version for entry in onnx.load_model_from_string(model).opset_import)
        if opset > 22 and tuple(int(part) for part in _control.version.split(".")[:2]) < (10, 14):
            self._errors.append(f"opset {opset} is too new")
        self._network._graph = bytes(model)
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return ParserError(self._errors[index])


class IProgressMonitor(_Strict):
    __slots__ = ()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None: ...

    def step_complete(self, phase_name: str, step: int) -> bool: ...

    def phase_finish(self, phase_name: str) -> None: ...


class IBuilderConfig(_Strict):
    __slots__ = ("_cache", "_flags", "_monitor", "_pools", "_profiles")

    def __init__(self) -> None:
        self._pools: dict[Any, int] = {}
        self._flags: list[Any] = []
        self._profiles: list[IOptimizationProfile] = []
        self._cache: ITimingCache | None = None
        self._monitor: Any = None

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self._pools[pool] = pool_size

    def set_flag(self, flag: Any) -> None:
        self._flags.append(flag)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        _control.timing_known.append(bytes(serialized_timing_cache))
        return ITimingCache(bytes(serialized_timing_cache) or _control.gpu.encode() + b" timings:")

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if not (ignore_mismatch or cache._content.startswith(_control.gpu.encode())):
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache

    def _get_monitor(self) -> Any:
        return self._monitor

    def _set_monitor(self, monitor: Any) -> None:
        if _control.major < 10:  # slots would allow it
            raise AttributeError("progress_monitor")
        self._monitor = monitor

    progress_monitor = property(_get_monitor, _set_monitor)


class Builder(_Strict):
    __slots__ = ()

    def __init__(self, logger: Logger) -> None: ...

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        _control.network_flags.append(flags)
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        _control.builds.append(config)
        if config._monitor is not None:
            _report(config._monitor)
        if _control.build_fails or network._graph is None:
            return None
        if config._cache is not None:
            config._cache._content += b"+"
        head = {"version": _control.version, "gpu": _control.gpu, "profile": config._profiles[0]._shapes}
        return IHostMemory(_MAGIC + json.dumps(head).encode() + b"\n" + network._graph)


def _report(monitor: Any) -> None:
    """Phases as the real builder reports them: nested, in small steps."""
    monitor.phase_start("Building", None, 40)
    for step in range(40):
        monitor.phase_start(f"layer {step}", "Building", 2)
        assert monitor.step_complete(f"layer {step}", 0) is True
        monitor.phase_finish(f"layer {step}")
        assert monitor.step_complete("Building", step) is True
    monitor.phase_finish("Building")


class Runtime(_Strict):
    __slots__ = ()

    def __init__(self, logger: Logger) -> None: ...

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "ICudaEngine | None":
        _control.plans_read.append(serialized_engine)
        if _control.refuse_plans:
            _control.refuse_plans -= 1
            return None
        if not serialized_engine.startswith(_MAGIC):
            raise AssertionError("the real TensorRT may crash with this plan")
        head, graph = serialized_engine.removeprefix(_MAGIC).split(b"\n", 1)
        described = json.loads(head)
        if (described["version"], described["gpu"]) != (_control.version, _control.gpu):
            return None
        return ICudaEngine(described["profile"], graph)


@dataclasses.dataclass
class _Tensor:
    mode: TensorIOMode
    shape: tuple[int, ...]
    dtype: DataType
    inner: Any
    """The graph's own type, as NumPy has it."""


class ICudaEngine(_Strict):
    __slots__ = ("_profile", "_scratch", "_session", "_tensors")

    def __init__(self, profile: dict[str, list[list[int]]], graph: bytes) -> None:
        self._scratch = len(graph) // 64  # another for each engine
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._profile = profile
        self._tensors: dict[str, _Tensor] = {}
        sides = ((TensorIOMode.INPUT, self._session.get_inputs()), (TensorIOMode.OUTPUT, self._session.get_outputs()))
        for mode, tensors in sides:
            for tensor in tensors:
                shape = tuple(side if isinstance(side, int) else -1 for side in tensor.shape)
                dtype = _OF_ONNX[tensor.type]
                outside = DataType.INT32 if dtype == DataType.INT64 and _control.major < 10 else dtype
                self._tensors[tensor.name] = _Tensor(mode, shape, outside, _NUMPY[dtype])

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(self._tensors[name].shape)

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return self._tensors[name].mode

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._tensors[name].dtype

    @property
    def device_memory_size(self) -> int:
        return self._scratch

    @property
    def device_memory_size_v2(self) -> int:
        if _control.major < 10:
            raise AttributeError("device_memory_size_v2")
        return self._scratch

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy.STATIC
    ) -> "IExecutionContext | None":
        context = _new_context(self)
        if context is not None and strategy == ExecutionContextAllocationStrategy.STATIC:
            address = ctypes.c_void_p()
            assert _control.runtime.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(self._scratch)) == 0
            context._memory = address.value or 0, self._scratch
        return context

    def create_execution_context_without_device_memory(self) -> "IExecutionContext | None":
        if _control.major >= 11:
            raise AttributeError("create_execution_context_without_device_memory")
        return _new_context(self)


def _new_context(engine: ICudaEngine) -> "IExecutionContext | None":
    if _control.context_fails:
        return None
    _control.contexts += 1
    return IExecutionContext(engine)


class IExecutionContext(_Strict):
    __slots__ = ("_addresses", "_engine", "_memory", "_ready", "_shapes")

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._ready = engine, False
        self._memory = (0, 0)
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {
            name: tensor.shape
            for name, tensor in engine._tensors.items()
            if tensor.mode == TensorIOMode.INPUT and -1 not in tensor.shape
        }

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._engine._profile[name]
        if not all(low <= side <= high for low, side, high in zip(least, shape, most, strict=True)):
            return False
        self._shapes[name], self._ready = tuple(shape), False
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self._engine._tensors:
            return False
        self._addresses[name] = memory
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        if _control.major < 10:
            raise AttributeError("set_device_memory")
        self._memory = memory, size

    def _set_memory(self, address: int) -> None:
        self._memory = address, self._engine._scratch

    device_memory = property(None, _set_memory)

    def execute_async_v3(self, stream_handle: int) -> bool:
        runtime, stream = _control.runtime, ctypes.c_void_p(stream_handle)
        capturing = bool(runtime.fake_is_capturing(stream))
        inputs = {name for name, tensor in self._engine._tensors.items() if tensor.mode == TensorIOMode.INPUT}
        complete = set(self._shapes) == inputs and set(self._addresses) == set(self._engine._tensors)
        complete = complete and self._memory[0] != 0 and self._memory[1] >= self._engine._scratch
        if _control.execution_fails or not complete or (capturing and (_control.capture_fails or not self._ready)):
            return False
        self._ready = True
        kernel = _KERNEL(_kernel(weakref.ref(self), dict(self._shapes), dict(self._addresses), self._memory[0]))
        _control.kernels.append(kernel)  # the stream holds no reference
        runtime.fake_enqueue(stream, kernel, None)
        return True


def _kernel(
    owner: Callable[[], IExecutionContext | None],
    shapes: dict[str, tuple[int, ...]],
    addresses: dict[str, int],
    scratch: int,
) -> Callable[[Any], None]:
    """Shapes and addresses as they were when it was enqueued, as in a captured graph."""
    control = _control

    def run(_: Any) -> None:
        try:
            context = owner()
            assert context is not None, "an execution context is gone whose work was captured"
            control.executions += 1
            _device_array(scratch, (context._engine._scratch,), np.uint8)[...] = 0xA5
            _compute(context._engine, shapes, addresses)
        except BaseException as error:  # nothing may leave a callback
            control.faults.append(repr(error))

    return run


def _compute(engine: ICudaEngine, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
    fed = {
        name: _device_array(addresses[name], shape, nptype(engine._tensors[name].dtype)).astype(
            engine._tensors[name].inner
        )
        for name, shape in shapes.items()
    }
    for name, value in zip(_outputs(engine), engine._session.run(None, fed), strict=True):
        _device_array(addresses[name], value.shape, nptype(engine._tensors[name].dtype))[...] = value


def _outputs(engine: ICudaEngine) -> Iterator[str]:
    return (tensor.name for tensor in engine._session.get_outputs())


def _device_array(address: int, shape: tuple[int, ...], dtype: Any) -> Any:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = _control.runtime.fake_device_room(ctypes.c_void_p(address))
    assert room >= size, f"{size} bytes do not fit into the {room} of device memory at {address:#x}"
    return np.frombuffer((ctypes.c_byte * size).from_address(address), dtype).reshape(shape)


_PUBLIC = (
    MemoryPoolType, TensorIOMode, ExecutionContextAllocationStrategy, DataType, nptype, Logger, Dims, IHostMemory,
    ITimingCache, IOptimizationProfile, INetworkDefinition, ParserError, OnnxParser, IProgressMonitor, IBuilderConfig,
    Builder, Runtime, ICudaEngine, IExecutionContext,
)  # fmt: skip
