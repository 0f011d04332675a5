"""Messages of every kind, sound and broken, and what is promised of any set of them: what the fuzz tests share."""

import warnings
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from sartm_core.errors import SartmError
from sartm_core.rig import Rig, rig_from_dict
from sartm_core.segmentation import Segmentation
from sartm_core.sensing.events import EVENT
from sartm_core.sensing.evt3 import encode_evt3
from sartm_ros.decoding.images import stamp_ns
from sartm_ros.pipeline import Pipeline

EXAMPLES = 60
"""Of each property; a longer search raises it."""

PHASES = (Phase.explicit, Phase.generate)
"""Add Phase.shrink for the smallest example of a failure; with it a failing run takes minutes."""

fuzz = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=PHASES,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

PLAIN = {
    "rgb8": ("u1", 3), "bgr8": ("u1", 3), "rgba8": ("u1", 4), "bgra8": ("u1", 4), "mono8": ("u1", 1),
    "mono16": ("u2", 1), "8UC1": ("u1", 1), "8UC2": ("u1", 2), "8UC3": ("u1", 3), "16UC1": ("u2", 1),
    "16SC1": ("i2", 1), "32FC1": ("f4", 1), "32FC2": ("f4", 2), "32FC3": ("f4", 3),
}  # fmt: skip
OTHER = {
    "rgb16": ("u2", 3), "bgr16": ("u2", 3), "bgra16": ("u2", 4), "16UC3": ("u2", 3), "8SC1": ("i1", 1),
    "32SC1": ("i4", 1), "64FC1": ("f8", 1), "64FC3": ("f8", 3), "8UC5": ("u1", 5), "32FC4": ("f4", 4),
    "bayer_rggb8": ("u1", 1), "bayer_gbrg16": ("u2", 1), "yuv422": ("u1", 2), "yuv422_yuy2": ("u1", 2),
}  # fmt: skip
JUNK_ENCODINGS = ("", "nv12", "8UC0", "8UC999999999", "64SC1", "rgb", "RGB8", "mono8\0", "\ud800", "{}%s")
COLOURS = {"bgr8": (2, 1, 0), "rgba8": (0, 1, 2), "bgra8": (2, 1, 0)}

seeds = st.integers(0, 2**32 - 1)
contents = st.sampled_from(["random", "random", "zeros", "ones", "nan", "ramp"])
uint32 = st.sampled_from([0, 1, 2, 3, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)
sides = st.integers(1, 9)


def some_array(shape: tuple[int, ...], kind: str, content: str, seed: int) -> np.ndarray:
    """Random bits (of floats also NaN, infinities and huge numbers), or one of the images that break statistics."""
    count = int(np.prod(shape))
    if content == "random":
        bits = np.random.default_rng(seed).bytes(count * np.dtype(kind).itemsize)
        return np.frombuffer(bits, kind).reshape(shape)
    if content == "nan" and kind[0] == "f":
        return np.full(shape, np.nan, kind)
    if content == "ramp":
        return np.arange(count).astype(kind).reshape(shape)
    return np.full(shape, content == "ones", kind)


def image_message(array: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False) -> SimpleNamespace:
    height, width = array.shape[:2]
    data = np.ascontiguousarray(array.astype(array.dtype.newbyteorder(">" if big_endian else "<")))
    rows = np.pad(data.view(np.uint8).reshape(height, -1), ((0, 0), (0, padding)), constant_values=0xA5)
    return SimpleNamespace(
        header=None, height=height, width=width, encoding=encoding, is_bigendian=int(big_endian),
        step=rows.shape[1], data=rows.tobytes(),
    )  # fmt: skip


@st.composite
def images(draw: Any, sizes: Any, encodings: list[str]) -> tuple[SimpleNamespace, np.ndarray]:
    """A message that is right, and its array."""
    encoding = draw(st.sampled_from(encodings))
    kind, channels = (PLAIN | OTHER)[encoding]
    height, width = draw(sizes)
    shape = (height, width) if channels == 1 else (height, width, channels)
    array = some_array(shape, kind, draw(contents), draw(seeds))
    return image_message(array, encoding, draw(st.integers(0, 9)), draw(st.booleans())), array


@st.composite
def cuts(draw: Any, data: bytes) -> bytes:
    """The data cut, extended, with bits flipped, or others altogether."""
    how = draw(st.sampled_from(["same", "cut", "cut", "flip", "flip", "more", "other"]))
    if how == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if how == "flip" and data:
        changed = bytearray(data)
        for at, value in draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(1, 255)), max_size=6)):
            changed[at] ^= value
        return bytes(changed)
    return data + draw(st.binary(max_size=9)) if how == "more" else data if how == "same" else draw(st.binary())


@st.composite
def changed(draw: Any, message: SimpleNamespace, fields: dict[str, Any]) -> SimpleNamespace:
    """Up to three fields that say something else."""
    names = draw(st.sets(st.sampled_from(sorted(fields)), max_size=3))
    return SimpleNamespace(**vars(message) | {name: draw(fields[name]) for name in sorted(names)})


@st.composite
def any_images(draw: Any, sizes: Any = st.tuples(sides, sides)) -> SimpleNamespace:  # noqa: B008
    message, _ = draw(images(sizes, [*PLAIN, *OTHER]))
    encodings = st.sampled_from([*PLAIN, *OTHER, *JUNK_ENCODINGS]) | st.text(max_size=8)
    fields = {
        "height": uint32, "width": uint32, "step": uint32, "encoding": encodings,
        "is_bigendian": st.integers(0, 255), "data": cuts(message.data),
    }  # fmt: skip
    return draw(changed(message, fields))


FORMATS = (
    "", "jpeg", "png", "rgb8; jpeg compressed bgr8", "bgr8; png compressed bgr8", "16UC1; compressedDepth",
    "16UC1; compressedDepth png", "32FC1; compressedDepth png", "16UC1; compressedDepth rvl", "32FC1",
)  # fmt: skip


def compressed_depth(counts: np.ndarray, kind: str, a: float, b: float) -> SimpleNamespace:
    header = np.array([0], "<i4").tobytes() + np.array([a, b], "<f4").tobytes()
    data = header + cv2.imencode(".png", counts)[1].tobytes()
    return SimpleNamespace(header=None, format=f"{kind}; compressedDepth png", data=data)


@st.composite
def any_compressed(draw: Any, sizes: Any = st.tuples(sides, sides)) -> SimpleNamespace:  # noqa: B008
    height, width = draw(sizes)
    shape = draw(st.sampled_from([(height, width), (height, width, 3), (height, width, 4)]))
    suffix = draw(st.sampled_from([".png", ".png", ".jpg", ".bmp", ".tiff", ".webp", ".pgm"]))
    kind = draw(st.sampled_from(["u1", "u2"])) if suffix == ".png" else "u1"
    shape = {".jpg": (height, width, 3), ".pgm": (height, width)}.get(suffix, shape)
    data = cv2.imencode(suffix, some_array(shape, kind, draw(contents), draw(seeds)))[1].tobytes()
    if draw(st.booleans()):
        data = draw(st.binary(min_size=12, max_size=12)) + data
    fields = {"format": st.sampled_from(FORMATS) | st.text(max_size=12), "data": cuts(data)}
    return draw(changed(SimpleNamespace(header=None, format=draw(st.sampled_from(FORMATS)), data=data), fields))


CLOUD_KINDS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}


@st.composite
def clouds(draw: Any) -> tuple[SimpleNamespace, np.ndarray]:
    """A cloud that is right, in any layout, and the float32 [N, 4] that were put in."""
    height, width = draw(st.integers(0, 4)), draw(st.integers(0, 9))
    intensity = draw(st.sampled_from([None, "intensity", "intensities", "reflectivity", "i"]))
    names = ["x", "y", "z", *([intensity] if intensity else []), *draw(st.sets(st.sampled_from(["ring", "t", "rgb"])))]
    big = draw(st.booleans())
    values, fields, offset = {}, [], draw(st.integers(0, 5))
    for name in draw(st.permutations(names)):
        datatype = draw(st.sampled_from([7, 7, 7, *CLOUD_KINDS]))
        values[name] = some_array((height, width), CLOUD_KINDS[datatype], draw(contents), draw(seeds))
        fields.append(SimpleNamespace(name=name, offset=offset, datatype=datatype, count=1))
        offset += values[name].dtype.itemsize + draw(st.sampled_from([0, 0, 3]))
    layout = {
        "names": [field.name for field in fields],
        "formats": [(">" if big else "<") + CLOUD_KINDS[field.datatype] for field in fields],
        "offsets": [field.offset for field in fields],
        "itemsize": offset + draw(st.integers(0, 4)),
    }
    rows = np.zeros((height, width), np.dtype(layout))
    for name, column in values.items():
        rows[name] = column
    padding = draw(st.integers(0, 5))
    message = SimpleNamespace(
        header=None, height=height, width=width, fields=fields, is_bigendian=big, point_step=rows.itemsize,
        row_step=rows.itemsize * width + padding, data=b"".join(row.tobytes() + b"\x7f" * padding for row in rows),
    )  # fmt: skip
    columns = [values[name].ravel() if name else np.zeros(height * width) for name in ("x", "y", "z", intensity)]
    with np.errstate(all="ignore"):
        points = np.stack([column.astype(np.float32) for column in columns], axis=1)
    return message, points[np.isfinite(points).all(axis=1) & points[:, :3].any(axis=1)]


@st.composite
def any_clouds(draw: Any) -> SimpleNamespace:
    message, _ = draw(clouds())
    field = st.builds(
        SimpleNamespace, name=st.sampled_from("xyzi") | st.text(max_size=3), offset=st.integers(0, 20) | uint32,
        datatype=st.integers(0, 255) | st.integers(1, 8), count=uint32,
    )  # fmt: skip
    fields = {
        "height": uint32, "width": uint32, "point_step": uint32, "row_step": uint32, "data": cuts(message.data),
        "fields": st.lists(field, max_size=5) | st.permutations(message.fields), "is_bigendian": st.booleans(),
    }  # fmt: skip
    return draw(changed(message, fields))


def stamped(stamp_ns: int) -> SimpleNamespace:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id="")


STAMP = 1_700_000_000_000_000_000
stamps = st.integers(STAMP - 40_000_000, STAMP) | st.sampled_from([0, STAMP - 10**10, STAMP + 10**10])


@st.composite
def any_packets(draw: Any, size: tuple[int, int]) -> SimpleNamespace:
    """Words that may mean something, and bytes that do not; rarely another size or encoding."""
    words = st.lists(st.integers(0, 0xFFFF), max_size=40).map(lambda many: np.array(many, "<u2").tobytes())
    message = SimpleNamespace(
        header=stamped(draw(stamps)), height=size[0], width=size[1], seq=draw(st.integers(0, 2**64 - 1)),
        encoding="evt3",
        events=draw(words | st.binary(max_size=41) | cuts(encode_evt3(some_events(draw(st.integers(0, 40)), 5_000)))),
    )  # fmt: skip
    if draw(st.integers(0, 4)):
        return message
    return draw(changed(message, {"height": uint32, "width": uint32, "encoding": st.text(max_size=5)}))


def some_events(count: int, span_us: int, seed: int = 0, begin_us: int = 4_090) -> np.ndarray:
    rng = np.random.default_rng(seed)
    events = np.zeros(count, EVENT)
    events["x"], events["y"] = rng.integers(0, 40, count), rng.integers(0, 30, count)
    events["t"], events["p"] = begin_us + np.sort(rng.integers(0, span_us, count)), rng.integers(0, 2, count)
    return events


def read(reader: Any, message: SimpleNamespace) -> np.ndarray | None:
    """What a reader returns; None where it refuses. Any other exception is the test's failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return reader(message)
        except SartmError:
            return None


def small_rig(modalities: dict[str, dict[str, Any]]) -> Rig:
    for name, fields in modalities.items():
        fields.setdefault("topic", f"/{name}")
        fields.setdefault("size", [24, 32])
    content = {"name": "small", "reference": next(iter(modalities)), "modalities": modalities}
    return rig_from_dict({**content, "classes": [{"name": "road", "color": [1, 2, 3]}]}, "test")


class Stub:
    """A segmenter that takes everything."""

    def __init__(self, rig: Rig) -> None:
        self.bundle = SimpleNamespace(rig=rig)

    def segment(self, planes: Any, size: Any = None) -> Segmentation:
        return Segmentation(np.zeros(size, np.uint8), np.ones(size, np.float32), np.zeros((3, 5), np.float32))


def run(pipeline: Pipeline, messages: dict[str, SimpleNamespace]) -> Any:
    """One set through the pipeline, with every guarantee that holds for any set."""
    for name, message in messages.items():
        if pipeline.processor.gathers(name):
            stamp = STAMP if message.header is None else stamp_ns(message)
            read(lambda one, of=name, at=stamp: pipeline.processor.gather(of, [one], [at]), message)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = pipeline.run(STAMP, messages)
    planes = result.frames.planes
    fates = [set(planes), set(result.frames.broken), set(result.frames.empty)]
    assert set.union(*fates) == set(messages)
    assert sum(map(len, fates)) == len(messages)
    assert all(result.frames.broken.values())
    assert all(result.frames.empty.values())
    for name, plane in planes.items():
        assert plane.ndim == 3, name
        assert plane.shape[0] == 3, name
        assert plane.size > 0, name
        assert plane.dtype == pipeline.segmenter.bundle.rig.dtype, name
        assert np.isfinite(plane).all(), name
    assert (result.segmentation is None) == (not planes)
    return result
