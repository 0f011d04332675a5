"""Files that are damaged, or made to be: a message that names the file, never a traceback, within bounds."""

import json
import shutil
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sartm_core.checked_yaml import load_yaml, read_yaml
from sartm_core.datasets.files import class_ids, read_image
from sartm_core.datasets.frame_folder import FrameFolder
from sartm_core.datasets.png import png_bytes
from sartm_core.deploy.bundle import Bundle, read_bundle
from sartm_core.deploy.onnx_files import external_files
from sartm_core.deploy.torch_segmenter import network_of
from sartm_core.errors import SartmError
from sartm_core.evaluation.comparison import _read as read_metrics
from sartm_core.files import sha256
from sartm_core.learning.checkpoints import load_initial_weights
from sartm_core.model.presets import build_network, preset
from sartm_core.resources import resolve_bundle
from sartm_core.rig import Rig

LAUGHS = "\n".join(
    ["a: &a [x,x,x,x,x,x,x,x,x]"]
    + [f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]" for before, name in zip("abcdefgh", "bcdefghi", strict=True)]
)
YAMLS = {
    "laughs": f"{LAUGHS}\nname: sim\n",
    "laughs as name": f"{LAUGHS}\nname: *i\nreference: rgb\n",
    "deep": "name: " + "[" * 20_000 + "]" * 20_000,
    "many digits": "name: x\nreference: " + "9" * 5000,
    "many keys": "".join(f"k{number}: 1\n" for number in range(20_000)),
    "no day": "name: x\ndescription: 2024-13-45\n",
    "no number": "name: !!float abc\n",
    "no integer": "name: !!int abc\n",
    "no truth": "name: !!bool maybe\n",
    "no map": "name: !!omap [a]\n",
    "holds itself": "name: x\nmodalities: &m {a: *m}\n",
    "key of keys": "? {a: b}\n: 1\n",
    "not UTF-8": "name: \udcff",
    "two keys": "name: a\nname: b\n",
    "long": "# " + "x" * (5 << 20),
}


@pytest.mark.parametrize("name", YAMLS)
def test_yaml(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text(YAMLS[name], encoding="utf-8", errors="surrogateescape")
    started = time.monotonic()
    with pytest.raises(SartmError) as error:
        read_yaml(path, Rig)
    assert str(error.value).startswith(f"{path}:")
    assert len(str(error.value)) < 10_000
    assert time.monotonic() - started < 30


def test_aliases_that_are_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("base: &base {a: 1}\none: {<<: *base, b: 2}\ntwo: *base\n")
    assert load_yaml(path) == {"base": {"a": 1}, "one": {"a": 1, "b": 2}, "two": {"a": 1}}


JSONS = [
    "",
    "[" * 100_000,
    "5" * 5000,
    '{"format": ' + "5" * 5000 + "}",
    "[]",
    "null",
    '"text"',
    '{"format": 6}',
    "\udcff",
    "NaN",
]


@pytest.mark.parametrize("content", JSONS, ids=lambda content: content[:9])
def test_json(tmp_path: Path, content: str) -> None:
    for name in ("bundle.json", "manifest.json", "metrics.json"):
        (tmp_path / name).write_text(content, encoding="utf-8", errors="surrogateescape")
    for read, argument in ((read_bundle, tmp_path), (FrameFolder, tmp_path), (read_metrics, tmp_path / "metrics.json")):
        with pytest.raises(SartmError, match=str(tmp_path)):
            read(argument)


def tensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
SAFETENSORS = [
    b"",
    b"\0" * 7,
    struct.pack("<Q", 1 << 60) + b"{}",
    tensors(b"{"),
    tensors({"mean": ONE}),
    tensors({"mean": ONE}, bytes(4)),
    tensors({"mean": {**ONE, "shape": [1 << 40, 1 << 40]}}, bytes(4)),
    tensors({"mean": {**ONE, "dtype": "F4"}}, bytes(4)),
    tensors({"mean": ONE, "std": ONE}, bytes(8)),
]


@pytest.fixture(scope="module")
def shipped() -> tuple[Path, Bundle]:
    folder = resolve_bundle("any_sensor_simrig5")
    return folder, read_bundle(folder)


@pytest.mark.parametrize("content", SAFETENSORS, ids=range(len(SAFETENSORS)))
def test_safetensors(tmp_path: Path, shipped: tuple[Path, Bundle], content: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(SartmError, match=r"weights.safetensors: does not fit bundle.json"):
        network_of(shipped[1], tmp_path)
    network = build_network(preset("any_sensor", "nano", ("rgb",), 2, 1))
    with pytest.raises(SartmError, match="weights.safetensors"):
        load_initial_weights(network, str(path))


def test_masks(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    whole = png_bytes(np.arange(200 * 30, dtype=np.uint8).reshape(200, 30) % 3)
    size = struct.pack(">IIBBBBB", 1 << 20, 1 << 20, 8, 0, 0, 0, 0)
    huge = b"\0\0\0\rIHDR" + size + struct.pack(">I", zlib.crc32(b"IHDR" + size))
    rng = np.random.default_rng(0)
    flips = [bytearray(whole) for _ in range(20)]
    for damaged in flips:
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
    for content in (b"", whole[:8], whole[:40], whole[:8] + huge + whole[33:], b"P5 99999999 99999999 255\n", *flips):
        path.write_bytes(content)
        with suppress(SartmError):  # a pixel may also just have another class
            class_ids(path, read_image(path), 3)
    for content in (b"", whole[:8], whole[:8] + huge + whole[33:]):
        path.write_bytes(content)
        with pytest.raises(SartmError, match="mask.png: is not a readable image"):
            read_image(path)


def model(inner: bool, location: str) -> onnx.ModelProto:
    """With a tensor of external data: an initializer, or a constant in a branch of an If."""
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("offset", "0"), ("location", location)):
        tensor.external_data.add(key=key, value=value)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    if not inner:
        nodes, initializers = [helper.make_node("Identity", ["w"], ["y"])], [tensor]
    else:
        branch = helper.make_graph([helper.make_node("Constant", [], ["y"], value=tensor)], "b", [], [output])
        condition = numpy_helper.from_array(np.array(True), "c")
        nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
        initializers = [condition]
    return helper.make_model(helper.make_graph(nodes, "g", [], [output], initializers))


class TestOnnx:
    @pytest.mark.parametrize("inner", [False, True], ids=["initializer", "in a branch"])
    def test_files_of_its_tensors_are_found(self, tmp_path: Path, inner: bool) -> None:
        path = tmp_path / "a.onnx"
        path.write_bytes(model(inner, "../secret.bin").SerializeToString())
        assert external_files(path) == {"../secret.bin"}
        plain = helper.make_model(helper.make_graph([], "location", [], [], [numpy_helper.from_array(np.ones(9), "x")]))
        path.write_bytes(plain.SerializeToString())
        assert external_files(path) == set()

    def test_what_is_none_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "a.onnx"
        whole = model(True, "x").SerializeToString()
        for content in (b"", b"\xff" * 100, whole[:-3], b"\x0b\x0c"):
            path.write_bytes(content)
            with pytest.raises(SartmError, match="a.onnx: is not an ONNX model"):
                external_files(path)

    def test_a_bundle_lists_them_with_their_hashes(self, tmp_path: Path, shipped: tuple[Path, Bundle]) -> None:
        folder = tmp_path / "bundle"
        shutil.copytree(shipped[0], folder)
        (folder / "head.onnx").write_bytes(model(False, "x.bin").SerializeToString())
        (folder / "x.bin").write_bytes(bytes(16))
        content = json.loads((folder / "bundle.json").read_text())
        content["files"]["head.onnx"] = sha256(folder / "head.onnx")
        (folder / "bundle.json").write_text(json.dumps(content))
        with pytest.raises(
            SartmError, match=r"head.onnx: takes tensors from 'x.bin', a file that bundle.json does not"
        ):
            read_bundle(folder)
        content["files"]["x.bin"] = sha256(folder / "x.bin")
        (folder / "bundle.json").write_text(json.dumps(content))
        assert "x.bin" in read_bundle(folder).files
