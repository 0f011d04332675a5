"""The TensorRT backend's calls, checked by mypy against NVIDIA's own Python bindings of TensorRT 10 and 11.

The bindings are real (`make setup` installs them); the libraries below them, which are gigabytes and want a GPU, are
empty stand-ins, compiled here, so nothing of TensorRT can run. What is checked: every name, argument and type that
engine.py and tensorrt_segmenter.py use, and that the stand-in of test_tensorrt.py has no name that NVIDIA's lacks.
"""

import ast
import functools
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fake_tensorrt as fake
import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
ENGINE, SEGMENTER = (REPOSITORY / "sartm_core" / "deploy" / name for name in ("engine.py", "tensorrt_segmenter.py"))
MAJORS = (10, 11)

UNDEFINED = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry",
    "getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins",
)  # fmt: skip
"""What tensorrt.so of 10.16 and 11.4 wants from the libraries: nm -D --undefined-only, without Python's and libc's."""

LOOK = r"""
import ctypes, inspect, json, sys
import numpy as np
import tensorrt_bindings as trt
from mypy.stubgen import main

sys.path.insert(0, sys.argv[2])
from sartm_core.deploy import engine

main(["--quiet", "--inspect-mode", "-m", "tensorrt_bindings.tensorrt", "-o", sys.argv[1]])
classes = {name: value for name, value in vars(trt).items() if inspect.isclass(value)}
documented = {
    f"{name}.{member}": getattr(value, member).__doc__ or ""
    for name, value in classes.items() for member in dir(value)
    if not member.startswith("_") and callable(getattr(value, member))
}
has_buffer = ctypes.pythonapi.PyObject_CheckBuffer
has_buffer.argtypes = [ctypes.py_object]
described = trt.PluginTensorDesc()
described.dims = (-1, 3, 64, 96)  # a tuple where Dims are wanted
said = []
monitor = engine._progress(trt, said.append)
monitor.phase_start("Building", None, 20)
for step in range(20):
    monitor.phase_start("layer", "Building", 1)
    assert monitor.step_complete("layer", 0) and monitor.step_complete("Building", step)
    monitor.phase_finish("layer")
monitor.phase_finish("Building")
print(json.dumps({
    "version": trt.__version__,
    "names": {"": sorted(vars(trt)), **{name: dir(value) for name, value in classes.items()}},
    "documented": documented,
    "buffers": [name for name in ("IHostMemory", "ITimingCache", "ICudaEngine")
                if has_buffer(classes[name].__new__(classes[name]))],
    "dims": [tuple(described.dims), list(iter(trt.Dims((2, 3)))), described.dims[0]],
    "numpy": {name: str(np.dtype(trt.nptype(getattr(trt.DataType, name))))
              for name in ("FLOAT", "HALF", "INT32", "INT64", "UINT8")},
    "flags": engine._network_flags(trt),
    "strong": 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED),
    "logger": type(trt.Logger(trt.Logger.WARNING)).__name__,
    "progress": said,
}))
"""

NONE_WITHOUT_A_WORD = {
    "Builder.build_serialized_network",
    "ICudaEngine.create_execution_context",
    "ICudaEngine.create_execution_context_without_device_memory",
}
"""Null in C++ when they fail, which pybind11 gives as None; the docstrings of others say so themselves."""

PARAMETERS = {"logger": "trt.Logger", "engine": "trt.ICudaEngine", "context": "trt.IExecutionContext"}
RESULTS = {
    "load_or_build": "trt.ICudaEngine",
    "load_engines": "list[trt.ICudaEngine]",
    "_logger": "trt.Logger",
    "_progress": "trt.IProgressMonitor",
    "_numpy": "np.dtype[Any]",
    "_context": "trt.IExecutionContext",
    "_without_scratch": "trt.IExecutionContext | None",
}
"""In place of the sources' Any."""

OLD_ONLY = {
    '"type[NetworkDefinitionCreationFlag]" has no attribute "EXPLICIT_BATCH"',
    '"type[BuilderFlag]" has no attribute "FP16"',
    '"ICudaEngine" has no attribute "create_execution_context_without_device_memory"',
    '"ICudaEngine" has no attribute "device_memory_size"; maybe "device_memory_size_v2"?',
}
"""What TensorRT 11 lacks and the sources use: only where `_is_strongly_typed` or `_says_sizes` is false, in 8.6."""

OBJECTS = {
    "builder": "Builder", "parser": "OnnxParser", "config": "IBuilderConfig", "profile": "IOptimizationProfile",
    "runtime": "Runtime", "engine": "ICudaEngine", "context": "IExecutionContext",
}  # fmt: skip
"""Names of the sources that mypy has to know."""

UNTYPED = {"described", "before", "side.stat()", "self._batch[0]"}
"""Receivers of attributes that mypy does not see through: the side files' JSON, an element of an array."""

WRONG = [
    (ENGINE, "network = builder", "builder.max_batch_size = 1; network = builder", '"Builder" has no attribute'),
    (ENGINE, "ignore_mismatch=False", "ignore_mismatches=False", 'Unexpected keyword argument "ignore_mismatches"'),
    (ENGINE, "trt.MemoryPoolType.WORKSPACE, ", "", "Missing positional argument"),
    (ENGINE, "trt.MemoryPoolType.WORKSPACE", "trt.MemoryPoolType.SCRATCH", 'no attribute "SCRATCH"'),
    (ENGINE, "smallest, largest, largest", "smallest, largest", 'Missing positional argument "max"'),
    (ENGINE, "parser.num_errors", "parser.num_errors()", '"int" not callable'),
    (ENGINE, ".desc()", ".description()", '"ParserError" has no attribute "description"'),
    (ENGINE, "runtime.deserialize_cuda_engine(plan)", "runtime.deserialize(plan)", '"Runtime" has no attribute'),
    (ENGINE, "trt.OnnxParser(network, logger)", "trt.OnnxParser(logger, network)", 'has incompatible type "Logger"'),
    (ENGINE, "phase_finish(self, phase_name: str)", "phase_finish(self)", '"phase_finish" incompatible with supertype'),
    (ENGINE, "trt.IProgressMonitor.__init__(self)", "trt.IProgressMonitor.start(self)", 'no attribute "start"'),
    (SEGMENTER, "execute_async_v3", "execute_async_v2", '"IExecutionContext" has no attribute "execute_async_v2"'),
    (SEGMENTER, "self._cuda.stream.value or 0", "", "Missing positional argument"),
    (SEGMENTER, "engine.num_io_tensors", "engine.num_bindings", '"ICudaEngine" has no attribute "num_bindings"'),
    (SEGMENTER, "if context is None", "if False", 'Item "None" of "IExecutionContext | None" has no attribute'),
    (SEGMENTER, "Strategy.USER_MANAGED", "Strategy.USER", 'no attribute "USER"'),
    (SEGMENTER, "set_device_memory(self._scratch, ", "set_device_memory(", 'Missing positional argument "size"'),
    (SEGMENTER, "engine.device_memory_size_v2 if", "engine.scratch_size if", '"ICudaEngine" has no attribute'),
    (SEGMENTER, "TensorIOMode.INPUT", "TensorIOMode.IN", 'no attribute "IN"'),
    (SEGMENTER, "trt.nptype(", "trt.numpy_type(", 'Module has no attribute "numpy_type"'),
]
"""File, text, what it is changed to, what has to be said about it."""


@dataclass
class Bindings:
    """What was seen of one version. `stub`: folder with package `tensorrt`, for MYPYPATH."""

    facts: dict[str, Any]
    stub: Path


@functools.cache
def look(major: int, work: Path) -> Bindings:
    """Imports the real bindings in another process and writes their stub."""
    installed = Path(sys.prefix) / "tensorrt-bindings" / str(major)
    if not installed.is_dir():
        pytest.skip(f"NVIDIA's bindings are not in {installed}: make setup installs them (Linux, x86-64)")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (cc, gcc) for the empty libraries below the bindings: apt install gcc")
    source = work / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in UNDEFINED))
    for library in ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser"):
        name = f"{library}.so.{major}"
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-w", f"-Wl,-soname,{name}", source, "-o", work / name], check=True
        )
    environment = {**os.environ, "LD_LIBRARY_PATH": str(work), "PYTHONPATH": str(installed)}
    seen = subprocess.run(
        [sys.executable, "-c", LOOK, work / "raw", REPOSITORY], env=environment, capture_output=True, text=True
    )
    assert seen.returncode == 0, seen.stderr
    facts = json.loads(seen.stdout.splitlines()[-1])
    package = work / "stub" / "tensorrt"
    package.mkdir(parents=True)
    raw = (work / "raw" / "tensorrt_bindings" / "tensorrt.pyi").read_text()
    (package / "__init__.pyi").write_text(mend(raw, facts))
    return Bindings(facts, work / "stub")


def mend(stub: str, facts: dict[str, Any]) -> str:
    """What stubgen does not see in pybind11's signatures; each has its reason in `facts`."""
    # The module's own `bool` is a DataType and hides Python's.
    stub = re.sub(r"(: |-> |\[)bool\b(?! =)", r"\1builtins.bool", stub).replace("\nbool: DataType", "")
    # pybind11 allows defaults before parameters without.
    stub = re.sub(
        r"^    def .*= \.\.\., \w+: [^=,]*[,)].*", lambda line: line[0].replace(" = ...", ""), stub, flags=re.MULTILINE
    )
    assert "-> nvonnxparser::IParserError" in facts["documented"]["OnnxParser.get_error"]
    stub = stub.replace("def get_error(self, *args, **kwargs)", "def get_error(self, index: int) -> ParserError")
    # Dims convert from tuples and can be iterated.
    stub = re.sub(r"def set_shape\(self, input.*", lambda line: line[0].replace(": Dims", ": _AnyDims"), stub)
    stub = _add(stub, "Dims", "def __iter__(self) -> collections.abc.Iterator[int]: ...")
    for name in facts["buffers"]:
        stub = _add(stub, name, "def __buffer__(self, flags: int, /) -> memoryview: ...")
    # TensorRT calls these, always with int.
    monitor = re.search(r"^class IProgressMonitor:\n(?:    .*\n)+", stub, re.MULTILINE)
    assert monitor is not None
    stub = stub.replace(monitor[0], monitor[0].replace("typing.SupportsInt", "int"))
    for name, words in facts["documented"].items():
        if name in NONE_WITHOUT_A_WORD or re.search(r":returns:[^:]*\bNone\b", words):
            stub = _may_be_none(stub, *name.split("."))
    return (
        "import builtins\n" + stub + "\n_AnyDims = Dims | collections.abc.Sequence[int]\n__version__: str\n"
        "def nptype(trt_type: DataType) -> type[numpy.generic]: ...\n"
    )


def _class(stub: str, name: str) -> re.Match[str]:
    found = re.search(rf"^class {name}\b.*:\n(?:(?:    .*)?\n)+", stub, re.MULTILINE)
    assert found is not None, name
    return found


def _add(stub: str, name: str, line: str) -> str:
    head = _class(stub, name)[0].split("\n", 1)[0]
    return stub.replace(f"{head}\n", f"{head}\n    {line}\n", 1)


def _may_be_none(stub: str, name: str, method: str) -> str:
    body = _class(stub, name)
    mended = re.sub(rf"(def {method}\(.*\) -> (?!None)[\w.]+): \.\.\.", r"\1 | None: ...", body[0])
    return stub[: body.start()] + mended + stub[body.end() :]


class _Typed(ast.NodeTransformer):
    """The sources with types in place of Any: `trt`, argument or variable, becomes the module itself."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        self.generic_visit(node)
        node.body.insert(1, ast.parse("import tensorrt as trt").body[0])  # after the docstring
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        if node.module == "sartm_core.deploy.engine":
            node.module = "checked_engine"
            node.names = [name for name in node.names if name.name != "tensorrt"]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef | None:
        if node.name == "tensorrt":
            return None
        self.generic_visit(node)
        for argument in node.args.args:
            if argument.arg in PARAMETERS:
                argument.annotation = ast.parse(PARAMETERS[argument.arg], mode="eval").body
            if argument.arg == "trt":
                argument.arg = "_trt"
        if node.name in RESULTS:
            node.returns = ast.parse(RESULTS[node.name], mode="eval").body
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.stmt:
        self.generic_visit(node)
        return ast.Pass() if ast.unparse(node) == "trt = trt" else node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        return ast.Name("trt") if ast.unparse(node) == "tensorrt()" else node


class _Revealed(ast.NodeTransformer):
    """Every object whose attribute is taken inside `reveal_type(...)`, but modules and self."""

    def __init__(self, modules: set[str]) -> None:
        self._known = {"self", *modules}

    def visit_Attribute(self, node: ast.Attribute) -> ast.Attribute:
        self.generic_visit(node)
        if not (isinstance(node.value, ast.Name) and node.value.id in self._known):
            node.value = ast.Call(ast.Name("reveal_type"), [node.value], [])
        return node


def typed(source: str) -> str:
    return ast.unparse(ast.fix_missing_locations(_Typed().visit(ast.parse(source))))


def revealed(source: str) -> str:
    tree = ast.parse(typed(source))
    imports = [node for node in tree.body if isinstance(node, ast.Import)]
    modules = {(name.asname or name.name).split(".")[0] for node in imports for name in node.names}
    return ast.unparse(ast.fix_missing_locations(_Revealed(modules).visit(tree)))


@functools.cache
def mypy(major: int, work: Path, cache: Path) -> dict[str, list[str]]:
    """Runs mypy once over the right sources and all wrong ones; module -> what is said."""
    bindings = look(major, work)
    folder = work / "sources"
    folder.mkdir(exist_ok=True)
    sources = {"checked_engine": typed(ENGINE.read_text()), "checked_segmenter": typed(SEGMENTER.read_text())}
    sources |= {"seen_engine": revealed(ENGINE.read_text()), "seen_segmenter": revealed(SEGMENTER.read_text())}
    for number, (file, text, change, _) in enumerate(WRONG):
        assert text in file.read_text(), text
        sources[f"wrong_{number}"] = typed(file.read_text().replace(text, change))
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source + "\n")
    environment = {**os.environ, "MYPYPATH": os.pathsep.join(map(str, (bindings.stub, folder, REPOSITORY)))}
    options = [
        "--config-file=", f"--cache-dir={cache}", "--check-untyped-defs", "--follow-imports=silent",
        "--ignore-missing-imports", "--no-error-summary", "--hide-error-codes", "--show-column-numbers",
        "--no-color-output",
    ]  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *sorted(str(folder / f"{name}.py") for name in sources)],
        env=environment, cwd=work, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode in (0, 1), run.stdout + run.stderr
    said: dict[str, list[str]] = {name: [] for name in sources}
    for line in run.stdout.splitlines():
        path, rest = line.split(":", 1)
        if Path(path).suffix == ".py":  # the stub's overloads are not as mypy wants them
            said[Path(path).stem].append(rest)
    return said


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    return {major: tmp_path_factory.mktemp(f"tensorrt{major}") for major in MAJORS}


@pytest.fixture(scope="module")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")  # the second version finds NumPy's types here


@pytest.fixture(params=MAJORS)
def major(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def real(major: int, work: dict[int, Path]) -> dict[str, Any]:
    return look(major, work[major]).facts


@pytest.fixture
def said(major: int, work: dict[int, Path], mypy_cache: Path) -> dict[str, list[str]]:
    return mypy(major, work[major], mypy_cache)


def _argument_at(source: str, line: int, column: int) -> str:
    """What stands inside `reveal_type(...)` there, without the reveal_types within."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) == "reveal_type":
            inside = node.args[0]
            if (inside.lineno, inside.col_offset + 1) == (line, column):
                return re.sub(r"reveal_type\((\w+)\)", r"\1", ast.unparse(inside))
    raise AssertionError(f"no reveal_type at {line}:{column}")


def complaints(lines: list[str]) -> set[str]:
    return {line.split(" error: ", 1)[1] for line in lines if " error: " in line}


class TestCalls:
    def test_the_bindings_are_of_the_named_version(self, real: dict[str, Any], major: int) -> None:
        assert real["version"].startswith({10: "10.16.1", 11: "11.4.0"}[major])

    @pytest.mark.parametrize("module", ["checked_engine", "checked_segmenter"])
    def test_every_call_is_one_of_nvidias(self, said: dict[str, list[str]], major: int, module: str) -> None:
        allowed = OLD_ONLY if major == 11 else set()
        assert complaints(said[module]) <= allowed

    def test_what_version_11_lacks_is_used_only_for_older_ones(self, said: dict[str, list[str]], major: int) -> None:
        found = complaints(said["checked_engine"]) | complaints(said["checked_segmenter"])
        assert found == (OLD_ONLY if major == 11 else set())

    def test_no_object_of_tensorrt_is_untyped(
        self, said: dict[str, list[str]], work: dict[int, Path], major: int
    ) -> None:
        """Else mypy would look away."""
        types: dict[str, set[str]] = {}
        for module in ("seen_engine", "seen_segmenter"):
            source = (work[major] / "sources" / f"{module}.py").read_text()
            for line in said[module]:
                if found := re.match(r'(\d+):(\d+): note: Revealed type is "(.*)"$', line):
                    types.setdefault(found[3], set()).add(_argument_at(source, int(found[1]), int(found[2])))
        assert types["Any"] == UNTYPED
        for name, kind in OBJECTS.items():
            assert name in types[f"tensorrt.{kind}"]

    @pytest.mark.parametrize("number", range(len(WRONG)), ids=[change for _, _, change, _ in WRONG])
    def test_a_call_that_nvidia_does_not_have_is_noticed(self, said: dict[str, list[str]], number: int) -> None:
        expected = WRONG[number][3]
        assert any(expected in line for line in complaints(said[f"wrong_{number}"])), said[f"wrong_{number}"]


class TestRun:
    """The few parts of the bindings that do something without TensorRT's libraries."""

    def test_the_network_is_strongly_typed(self, real: dict[str, Any], major: int) -> None:
        assert real["flags"] == real["strong"] == {10: 2, 11: 1}[major]

    def test_plans_and_timings_have_bytes(self, real: dict[str, Any]) -> None:
        assert real["buffers"] == ["IHostMemory"]

    def test_shapes_are_given_as_tuples_and_read_as_sequences(self, real: dict[str, Any]) -> None:
        assert real["dims"] == [[-1, 3, 64, 96], [2, 3], -1]

    def test_types_of_the_graphs_have_numpy_types(self, real: dict[str, Any]) -> None:
        assert real["numpy"] == {
            "FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64", "UINT8": "uint8",
        }  # fmt: skip

    def test_the_progress_monitor_is_one_of_theirs(self, real: dict[str, Any]) -> None:
        assert real["progress"] == [f"  Building: {tenth}0 %".replace("00 %", "0 %") for tenth in range(10)]


class TestStandIn:
    """fake_tensorrt.py promises nothing that NVIDIA's bindings do not have."""

    @pytest.fixture(params=["8.6.1", "11.4.0.106"])
    def offered(self, request: pytest.FixtureRequest) -> Any:
        class NoRuntime:
            class fake_device_room:  # noqa: N801
                pass

        return fake.make(NoRuntime, request.param)[0]

    def test_its_names_are_nvidias(self, offered: Any, real: dict[str, Any], major: int) -> None:
        missing = set()
        for name, value in vars(offered).items():
            if name.startswith("_"):
                continue
            assert name in real["names"][""]
            if inspect.isclass(value):
                missing |= {(name, member) for member in public(value) if member not in real["names"][name]}
        assert missing <= (fake.NAMES_BEFORE_11 if major == 11 else set())

    def test_its_arguments_are_nvidias(self, offered: Any, real: dict[str, Any]) -> None:
        compared = 0
        for name, value in vars(offered).items():
            if name.startswith("_") or not inspect.isclass(value):
                continue
            for member in public(value):
                words = real["documented"].get(f"{name}.{member}", "")
                if inspect.isfunction(vars(value).get(member)) and "(self: " in words:
                    compared += 1
                    arguments = list(inspect.signature(vars(value)[member]).parameters)
                    signatures = [line for line in words.splitlines() if f"{member}(self: " in line]
                    named = [re.findall(r"[(, ](\w+): ", line) for line in signatures]
                    assert any(names[: len(arguments)] == arguments for names in named), (name, member, signatures)
        assert compared > 20

    def test_a_name_of_its_own_would_be_noticed(self, offered: Any, real: dict[str, Any]) -> None:
        class ICudaEngine(offered.ICudaEngine):
            def num_bindings(self) -> int:
                return 2

        old = {member for name, member in fake.NAMES_BEFORE_11 if name == "ICudaEngine"}
        assert public(ICudaEngine) - set(real["names"]["ICudaEngine"]) - old == {"num_bindings"}


def public(value: type) -> set[str]:
    """Names that a class of the stand-in offers, without what enum.Enum brings."""
    inherited = {"name", "value", *dir(int)}
    return {name for name in dir(value) if not name.startswith("_")} - inherited
