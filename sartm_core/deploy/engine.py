"""TensorRT engines: built on the machine that runs them, cached under a key of everything they depend on.

Supports TensorRT 8.6, 10 and 11 by their common names, except where they differ (`_network_flags`). A plan is only
loaded if its side file says that this TensorRT built it for this GPU from this graph, and its bytes are unchanged.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sartm_core.deploy.bundle import Shapes
from sartm_core.deploy.cuda import Cuda
from sartm_core.errors import SartmError
from sartm_core.files import atomic_path, sha256, write_text
from sartm_core.resources import cache_folder

log = logging.getLogger("sartm")

Say = Callable[[str], None]

DEFAULT_WORKSPACE_MB = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class EngineKey:
    """Everything a plan depends on. The field names appear in messages.

    Attributes:
        graph: SHA-256 of the ONNX file.
        tensorrt: version.
        gpu: name, compute capability, number of multiprocessors, memory.
        shapes: of the inputs, as text.
    """

    graph: str
    tensorrt: str
    gpu: str
    shapes: str

    @property
    def digest(self) -> str:
        """16 hexadecimal digits."""
        return _digest(dataclasses.asdict(self))


def cache_directory() -> Path:
    """Where engines are kept: `engines` in the cache folder."""
    return cache_folder() / "engines"


def tensorrt() -> Any:
    """NVIDIA's Python package.

    Raises:
        SartmError: it is not installed, or its libraries are missing.
    """
    try:
        import tensorrt as package
    except Exception as error:  # libraries of another CUDA may raise anything
        raise SartmError(
            f"TensorRT's Python package cannot be imported ({error}). On a Jetson it comes with JetPack: use a virtual "
            "environment with --system-site-packages. On a desktop: pip install tensorrt. Or use backend onnx."
        ) from error
    return package


class EngineCache:
    """Plans and their side files in one folder.

    Args:
        directory: created if needed.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, name: str, key: EngineKey) -> Path:
        """Path of the plan; the side file has `.json` in place of `.engine`."""
        return self.directory / f"{name}-{key.digest}.engine"

    def why_rebuild(self, name: str, key: EngineKey) -> str | None:
        """Why there is no plan to load; None if there is one."""
        try:
            return self._why_rebuild(name, key)
        except OSError as error:
            raise self._unusable(error) from error

    def _why_rebuild(self, name: str, key: EngineKey) -> str | None:
        path = self.path(name, key)
        side = path.with_suffix(".json")
        if not path.is_file() or not side.is_file():
            return self._what_changed(name, key)
        try:
            described = json.loads(side.read_text(encoding="utf-8"))
            expected = described["engine_sha256"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            return f"{side} is damaged ({error!r})"
        if described.get("key") != dataclasses.asdict(key):
            return f"{side} describes another engine"
        if sha256(path) != expected:
            return f"{path} is damaged: its SHA-256 differs from the recorded one"
        return None

    def _what_changed(self, name: str, key: EngineKey) -> str:
        """Describes the difference from the newest engine of that name."""
        sides = sorted(self.directory.glob(f"{name}-*.json"), key=lambda side: side.stat().st_mtime, reverse=True)
        wanted = dataclasses.asdict(key)
        for side in sides:
            try:
                before = json.loads(side.read_text(encoding="utf-8"))["key"]
                changed = [field for field in wanted if before.get(field) != wanted[field]]
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue
            if not changed:
                return "its file is gone"
            shown = (f"{field} was {_display(field, before)}, is {_display(field, wanted)}" for field in changed)
            return f"the newest cached engine of '{name}' differs: {', '.join(shown)}"
        return f"no engine of '{name}' is cached in {self.directory}"

    def check_writable(self) -> None:
        """Raises SartmError if nothing can be stored, before minutes of building."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with atomic_path(self.directory / ".writable") as probe:
                probe.write_bytes(b"")
            (self.directory / ".writable").unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> SartmError:
        return SartmError(
            f"{self.directory}: engines cannot be stored there ({error.strerror}). Make it readable and writable, or "
            "set SARTM_CACHE to another folder."
        )

    def remove(self, name: str, key: EngineKey) -> None:
        """Removes an engine, so that it is not loaded."""
        for path in (self.path(name, key).with_suffix(".json"), self.path(name, key)):
            path.unlink(missing_ok=True)

    def store(self, name: str, key: EngineKey, plan: bytes, seconds: float, workspace_mb: int) -> None:
        """Writes plan and side file, the side file last."""
        path = self.path(name, key)
        with atomic_path(path) as temporary:
            temporary.write_bytes(plan)
        described = {
            "key": dataclasses.asdict(key),
            "engine_sha256": hashlib.sha256(plan).hexdigest(),
            "build_seconds": round(seconds, 1),
            "workspace_mb": workspace_mb,
        }
        write_text(path.with_suffix(".json"), json.dumps(described, indent=2) + "\n")


def key_of(graph: Path, shapes: Shapes, cuda: Cuda) -> EngineKey:
    """The key of a graph on this machine."""
    return EngineKey(
        graph=sha256(graph),
        tensorrt=str(tensorrt().__version__),
        gpu=cuda.description,
        shapes=json.dumps(shapes, sort_keys=True),
    )


def load_or_build(graph: Path, shapes: Shapes, cuda: Cuda, cache: EngineCache, workspace_mb: int, say: Say) -> Any:
    """The engine of a graph, cached or newly built.

    Args:
        graph: ONNX file; its stem names the engine.
        shapes: of its inputs.
        say: called with a line for each slow step.

    Raises:
        SartmError: TensorRT refuses the graph, or the cache cannot be written.
    """
    trt = tensorrt()
    logger = _logger(trt)
    runtime = trt.Runtime(logger)
    name, key = graph.stem, key_of(graph, shapes, cuda)
    reason = cache.why_rebuild(name, key)
    if reason is None:
        engine = runtime.deserialize_cuda_engine(cache.path(name, key).read_bytes())
        if engine is not None:
            return engine
        reason = f"TensorRT {key.tensorrt} cannot load the cached one"
    cache.check_writable()
    say(f"building the TensorRT engine of '{name}' (minutes): {reason}")
    started = time.monotonic()
    timings = cache.directory / f"timing-{_digest([key.tensorrt, key.gpu])}.cache"
    plan = build(trt, logger, graph, shapes, workspace_mb, timings, say)
    seconds = time.monotonic() - started
    try:
        cache.store(name, key, plan, seconds, workspace_mb)
        say(f"engine of '{name}' built in {seconds:.0f} s: {cache.path(name, key)}")
    except OSError as error:
        say(f"engine of '{name}' built, but not stored ({error.strerror}): the next start builds it again")
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise SartmError(f"TensorRT {key.tensorrt} cannot load the engine it has just built from {graph}.")
    return engine


def build(trt: Any, logger: Any, graph: Path, shapes: Shapes, workspace_mb: int, timing_cache: Path, say: Say) -> bytes:
    """Builds a plan.

    Args:
        trt: the package.
        timing_cache: measurements of earlier builds; read and written.

    Raises:
        SartmError: TensorRT cannot parse or build the graph.
    """
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph.read_bytes()):
        errors = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise SartmError(
            f"{graph}: TensorRT {trt.__version__} cannot parse it: {errors}. Opset 23 needs TensorRT 10.14 or newer: "
            "export with --opset 20."
        )
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb << 20)
    if not _is_strongly_typed(trt):
        config.set_flag(trt.BuilderFlag.FP16)
    profile = builder.create_optimization_profile()
    for name, (smallest, largest) in shapes.items():
        profile.set_shape(name, smallest, largest, largest)
    config.add_optimization_profile(profile)
    known = timing_cache.read_bytes() if timing_cache.is_file() else b""
    if not config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)  # possibly of another driver
    if hasattr(trt, "IProgressMonitor"):
        config.progress_monitor = _progress(trt, say)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise SartmError(
            f"{graph}: TensorRT {trt.__version__} built no engine; its log says why. Out of memory? Lower "
            "--workspace-mb, or close other programs."
        )
    timings = config.get_timing_cache()
    if timings is not None:
        try:
            with atomic_path(timing_cache) as temporary:
                temporary.write_bytes(bytes(timings.serialize()))
        except OSError as error:
            log.warning("the timing cache was not stored: %s", error)
    return bytes(plan)


@functools.cache
def _logger(trt: Any) -> Any:
    """One for the whole process: TensorRT keeps the first logger and complains about others."""
    return trt.Logger(trt.Logger.WARNING)


def _is_strongly_typed(trt: Any) -> bool:
    """TensorRT 10 and 11 take the precision from the graph; 8.6 needs a flag."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def _network_flags(trt: Any) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED if _is_strongly_typed(trt) else flags.EXPLICIT_BATCH)


def _progress(trt: Any, say: Say) -> Any:
    """Reports each tenth of the outermost phase."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            total = self._steps.get(phase_name, 0)
            if total and step * 10 // total != (step - 1) * 10 // total:
                say(f"  {phase_name}: {100 * step // total} %")
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _display(field: str, key: dict[str, Any]) -> str:
    value = str(key.get(field))
    return f"{value[:12]}..." if field == "graph" else value
