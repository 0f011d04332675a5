from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from sartm_core.errors import SartmError
from sartm_core.rig import load_rig
from sartm_ros.bag.from_images import find_images, make_bag
from sartm_ros.bag.reader import read_messages
from sartm_ros.bag.writer import BagWriter
from sartm_ros.decoding.images import raw_array, stamp_ns


@pytest.fixture
def images(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Three pairs: colour and 16-bit thermal."""
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}_vi.png"), rng.integers(0, 256, (24, 32, 3), np.uint8))
        cv2.imwrite(str(tmp_path / f"{index}_ir.png"), rng.integers(28000, 31000, (24, 32)).astype(np.uint16))
    return tmp_path


def test_a_bag_from_images_holds_their_pixels(images: Path) -> None:
    out = images / "bag"
    sources = {"rgb": str(images / "*_vi.png"), "thermal": str(images / "*_ir.png")}
    assert make_bag(load_rig("rgbt"), sources, out, rate_hz=4.0) == 3
    assert (out / "bag.mcap").is_file()
    read: dict[str, list] = {}
    for topic, time_ns, message in read_messages(out):
        assert stamp_ns(message) == time_ns
        read.setdefault(topic, []).append((time_ns, raw_array(message)))
    assert set(read) == {"/camera/image_raw", "/thermal/image_raw"}
    for index in range(3):
        colours = cv2.imread(str(images / f"{index}_vi.png"))[..., ::-1]
        np.testing.assert_array_equal(read["/camera/image_raw"][index][1], colours)
        thermal = cv2.imread(str(images / f"{index}_ir.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(read["/thermal/image_raw"][index][1], thermal)
    times = [time for time, _ in read["/camera/image_raw"]]
    assert np.diff(times).tolist() == [250_000_000] * 2


def test_files_are_paired_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """openMVG#665: by letters 10.png would come before 2.png, and RGB and thermal would be of different instants."""
    for index in (1, 2, 10, 11, 100):
        cv2.imwrite(str(tmp_path / f"vi_{index}.png"), np.full((8, 8, 3), index, np.uint8))
        cv2.imwrite(str(tmp_path / f"{index:04}_ir.png"), np.full((8, 8), index, np.uint16))
    make_bag(
        load_rig("rgbt"),
        {"rgb": str(tmp_path / "vi_*.png"), "thermal": str(tmp_path / "*_ir.png")},
        tmp_path / "bag",
        2.0,
    )
    values: dict[str, list[int]] = {}
    for topic, _, message in read_messages(tmp_path / "bag"):
        values.setdefault(topic, []).append(int(raw_array(message).flat[0]))
    assert list(values.values()) == [[1, 2, 10, 11, 100]] * 2


@pytest.mark.parametrize(
    "names",
    [
        ["1700000000.25.png", "1700000000.5.png", "1700000000.75.png", "1700000001.0.png"],  # Python leaves out zeros
        ["1700000000.050000000.png", "1700000000.200000000.png", "1700000001.png"],
        ["1700000000000000100.png", "1700000000000000101.png", "1700000000000000102.png"],  # closer than a float tells
        ["ir_999999999.9.png", "ir_1000000000.1.png", "ir_1000000000.11.png"],
        ["2024-05-01T09-59-59.png", "2024-05-01T10-00-00.png", "2024-05-01T10-00-07.png"],
        ["cam_1_1700000000_5000000.png", "cam_1_1700000000_200000000.png", "cam_1_1700000001_1.png"],
    ],
    ids=["fractions", "nine digits", "nanoseconds", "prefix", "dates", "seconds_nanoseconds"],
)
def test_stamps_in_names_are_sorted_by_time(tmp_path: Path, names: list[str]) -> None:
    for name in reversed(names):
        (tmp_path / name).touch()
    assert [path.name for path in find_images(str(tmp_path))] == names
    assert [path.name for path in find_images(f"{tmp_path}/*.png")] == names


def test_the_same_files_give_the_same_messages(images: Path) -> None:
    sources = {"rgb": str(images / "*_vi.png")}
    for name in ("one", "two"):
        make_bag(load_rig("rgbt"), sources, images / name, rate_hz=2.0)
    contents = []
    for name in ("one", "two"):
        with AnyReader([images / name]) as reader:
            contents.append([(c.topic, t, bytes(raw)) for c, t, raw in reader.messages()])
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"rgb": "*_vi.png", "thermal": "0_ir.png"}, "same number of files for every modality, got rgb: 3, thermal: 1"),
        ({"rgb": "*_nosuch.png"}, "no image files found"),
        ({"rgb": "*_vi.png", "depth": "*_ir.png"}, "rig 'rgbt' has no modality 'depth'. It has: rgb, thermal"),
    ],
)
def test_wrong_sources_are_named_and_leave_nothing(images: Path, sources: dict[str, str], expected: str) -> None:
    full = {name: str(images / pattern) for name, pattern in sources.items()}
    with pytest.raises(SartmError, match=expected):
        make_bag(load_rig("rgbt"), full, images / "bag", rate_hz=2.0)
    assert not list(images.glob("*bag*"))


def test_an_unreadable_image_is_named(images: Path) -> None:
    (images / "1_vi.png").write_bytes(b"no image")
    with pytest.raises(SartmError, match="1_vi.png: is not a readable image"):
        make_bag(load_rig("rgbt"), {"rgb": str(images / "*_vi.png")}, images / "bag", rate_hz=2.0)
    assert not (images / "bag").exists()


def test_nothing_is_overwritten_without_being_asked(tmp_path: Path) -> None:
    for _ in range(2):
        with BagWriter(tmp_path / "bag", replace=True) as writer:
            writer.add_topic("/a", "std_msgs/msg/String")
    with pytest.raises(SartmError, match="already exists and is not overwritten"):
        BagWriter(tmp_path / "bag")
    (tmp_path / "precious").mkdir()
    with pytest.raises(SartmError, match="already exists"):
        BagWriter(tmp_path / "precious", replace=True)


def test_an_interrupted_recording_leaves_nothing_half_written(tmp_path: Path) -> None:
    def record() -> None:
        with BagWriter(tmp_path / "bag") as writer:
            writer.add_topic("/a", "std_msgs/msg/String")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record()
    assert not list(tmp_path.iterdir())


def test_what_is_no_bag(tmp_path: Path) -> None:
    with pytest.raises(SartmError, match="no such recording"):
        list(read_messages(tmp_path / "missing"))
