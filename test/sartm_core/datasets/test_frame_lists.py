"""Lists of frames: lines in the forms in which authors publish them, found on other machines."""

from pathlib import Path

import pytest

from sartm_core.datasets.dataset import DataSet
from sartm_core.datasets.frame_lists import read_frame_lists
from sartm_core.datasets.layouts import open_data
from sartm_core.errors import SartmError

PLACES = (  # weather, split, place, number; the same number and the same place occur in several folders
    ("fog", "test", "MAP_7_point4_lidarjitter", "120150"),
    ("night", "test", "MAP_7_point4_lidarjitter", "120150"),
    ("night", "test", "MAP_10_point5", "120150"),
    ("sun", "test", "MAP_10_point1_underexposure", "031550"),
    ("sun", "val", "MAP_1_point1", "045050"),
)
IDS = [f"{weather}/{place}/{number}" for weather, _, place, number in PLACES]


@pytest.fixture(scope="module")
def deliver(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Empty files: lists are about names."""
    root = tmp_path_factory.mktemp("lists") / "img" / "test" / "fog"  # folders of the layout also above the root
    for weather, split, place, number in PLACES:
        for folder, kind in (("img", "rgb"), ("semantic", "semantic")):
            path = root / folder / weather / split / place / f"{number}_{kind}_front.png"
            path.parent.mkdir(parents=True)
            path.touch()
    return open_data(root)


@pytest.fixture(scope="module")
def fmb(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    root = tmp_path_factory.mktemp("fmb")
    for folder, number in (("train", 1), ("train", 2), ("test", 85), ("test", 86)):
        path = root / folder / "Visible" / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return open_data(root)


@pytest.fixture(scope="module")
def muses(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    root = tmp_path_factory.mktemp("muses")
    for below in ("val/fog/night/REC0011_frame_000001", "val/snow/day/REC0033_frame_000003"):
        path = root / "frame_camera" / f"{below}_frame_camera.png"
        path.parent.mkdir(parents=True)
        path.touch()
    return open_data(root)


def members(data: DataSet, split: str, path: Path, content: str | bytes, limit: int | None = None) -> list[str]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return sorted(read_frame_lists([f"hard={path}"], data, split, data.frames(split)[:limit]))


@pytest.mark.parametrize(
    "form",
    [
        "{weather}_{place}_{number}_rgb_front.png",  # the published lists, of a converted data set
        "samples/images/test/{weather}_{place}_{number}_rgb_front.png",
        "/media/data4/DELIVER/img/{weather}/test/{place}/{number}_rgb_front.png",
        "{weather}/test/{place}/{number}_lidar_front.png",
        "D:\\My Data\\DELIVER\\semantic\\{weather}\\test\\{place}\\{number}_semantic_front.png",
        "DELIVER/event/{weather}/test/{place}/{number}_event_front.jpg",
        "{weather}/{place}/{number}",
        "img/{weather}/test/{place}/{number}_rgb_front.png semantic/{weather}/test/{place}/{number}_semantic_front.png",
        "a/{weather}/{place}/{number}.png,b/{weather}/{place}/{number}.png",
    ],
)
def test_a_line_is_found_whatever_its_prefix(deliver: DataSet, tmp_path: Path, form: str) -> None:
    for weather, split, place, number in PLACES[:4]:
        line = form.format(weather=weather, place=place, number=number)
        assert members(deliver, split, tmp_path / "list.txt", line) == [f"{weather}/{place}/{number}"]


def test_names_without_folders(fmb: DataSet, muses: DataSet, tmp_path: Path) -> None:
    for line in ("00085.png", "00085", "/data/FMB/test/Visible/00085.png", "test\\Infrared\\00085.png"):
        assert members(fmb, "test", tmp_path / "list.txt", line) == ["00085"]
    for line in (
        "REC0011_frame_000001",
        "REC0011_frame_000001_frame_camera.png",
        "muses/gt_semantic/val/fog/night/REC0011_frame_000001_gt_labelTrainIds.png",
        "fog_night_REC0011_frame_000001_event_camera.npz",
    ):
        assert members(muses, "val", tmp_path / "list.txt", line) == ["fog/night/REC0011_frame_000001"]


def test_lists_as_editors_leave_them(deliver: DataSet, tmp_path: Path) -> None:
    text = "\r\n".join(["", *IDS[:2], "", IDS[1] + "  "])
    assert members(deliver, "test", tmp_path / "list.txt", b"\xef\xbb\xbf" + text.encode()) == IDS[:2]
    with pytest.raises(SartmError, match="list.txt: is not UTF-8 text"):
        members(deliver, "test", tmp_path / "list.txt", text.encode("utf-16"))


def test_frames_of_another_split_are_no_fault(deliver: DataSet, fmb: DataSet, tmp_path: Path) -> None:
    """MM SAM-adapter's validation lists of FMB name frames of train."""
    assert members(deliver, "test", tmp_path / "list.txt", f"{IDS[0]}\n{IDS[4]}\n") == [IDS[0]]
    assert members(fmb, "test", tmp_path / "list.txt", "00001.png\n00086.png\n") == ["00086"]
    with pytest.raises(SartmError, match=f"list.txt: names no frame of test; an id looks like {IDS[0]}"):
        members(deliver, "test", tmp_path / "list.txt", IDS[4])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "night_MAP_7_point4_motionblur_120150_rgb_front.png",  # another place has the same number
            "line 2: 'night_MAP_7_point4_motionblur_120150_rgb_front.png' is no frame of deliver; the nearest is "
            "night/MAP_7_point4_lidarjitter/120150",
        ),
        ("/x/rain/test/MAP_10_point5/120150_rgb_front.png", "line 2: .* is no frame of deliver"),
        (
            "120150_rgb_front.png",
            "line 2: '120150_rgb_front.png' can be 3 frames of test: fog/MAP_7.*, night/MAP_10_point5/120150, night",
        ),
        ("/", "line 2: '/' is no frame of deliver"),
    ],
)
def test_a_line_that_fits_no_frame_or_several_is_named(
    deliver: DataSet, tmp_path: Path, line: str, message: str
) -> None:
    with pytest.raises(SartmError, match=message):
        members(deliver, "test", tmp_path / "list.txt", f"{IDS[0]}\n{line}\n")


def test_lines_beyond_a_limit_are_no_fault(deliver: DataSet, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    assert members(deliver, "test", path, "\n".join(IDS[:4]), limit=2) == sorted(
        f.id for f in deliver.frames("test")[:2]
    )
    with pytest.raises(SartmError, match="none of its 1 frames of test is among the 1 that are scored"):
        members(deliver, "test", path, deliver.frames("test")[3].id, limit=1)
