from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sartm_core.deploy.bundle import check_serves
from sartm_core.errors import SartmError
from sartm_core.resources import config_names
from sartm_core.rig import Rig, load_rig, rig_from_dict

SHIPPED = {
    "sim",
    "rgbt",
    "rgbd",
    "deliver",
    "muses",
    "mcubes",
    "pst900",
    "mfnet",
    "fmb",
    "simrig5",
    "simrobot",
    "simdemo",
}

MINIMAL = """
name: mine
reference: rgb
modalities:
  rgb: {kind: rgb, size: [48, 64], topic: /camera/image_raw}
  heat: {kind: thermal, size: [24, 32], topic: /heat/image_raw, encoding: kelvin}
classes:
  - {name: floor, color: [1, 2, 3]}
  - {name: wall, color: [4, 5, 6]}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_shipped_rigs_are_valid_and_complete() -> None:
    assert set(config_names("rigs")) == SHIPPED
    # Numbers of classes and modalities as the data sets' papers state them.
    facts = {"deliver": (4, 25), "muses": (3, 19), "mcubes": (3, 20), "pst900": (3, 5), "mfnet": (2, 9), "fmb": (2, 14)}
    for name in SHIPPED:
        rig = load_rig(name)
        assert rig.name == name
        if name in facts:
            assert (len(rig.modalities), len(rig.classes)) == facts[name]


def test_order_dtype_and_palette(tmp_path: Path) -> None:
    rig = load_rig(write(tmp_path, MINIMAL))
    assert rig.names == ("rgb", "heat")
    assert rig.class_names == ("floor", "wall")
    assert rig.dtype == np.float32  # kelvin do not fit into 8 bit
    np.testing.assert_array_equal(rig.palette[:2], [[1, 2, 3], [4, 5, 6]])
    assert rig.palette.shape == (256, 3)
    assert rig.palette[255].tolist() == [0, 0, 0]
    eight_bit = load_rig(write(tmp_path, MINIMAL.replace("kelvin", "percentile")))
    assert eight_bit.dtype == np.uint8


def test_a_rig_survives_the_bundle(tmp_path: Path) -> None:
    rig = load_rig(write(tmp_path, MINIMAL))
    assert rig_from_dict(rig.model_dump(mode="json"), "bundle.json") == rig


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("kind: thermal", "kind: sonar", ["modalities.1", "sonar", "'thermal'"]),
        ("topic: /heat", "topik: /heat", ["modalities.1.thermal.topik", "Did you mean 'topic'"]),
        ("reference: rgb", "reference: lidar", ["reference", "'lidar'", "rgb, heat"]),
        ("size: [48, 64], ", "", ["modalities.0.rgb.size", "required"]),
        ("size: [48, 64]", "size: [0, 64]", ["modalities.0.rgb.size.0", "greater than 0"]),
        ("[4, 5, 6]", "[4, 5, 600]", ["classes.1.color", "0 to 255"]),
        ("name: wall", "name: floor", ["'floor' is used twice"]),
        ("/heat/image_raw", "/camera/image_raw", ["topic '/camera/image_raw' is used twice"]),
        ("  heat:", "  rgb:", ["duplicate key 'rgb'"]),
        ("topic: /heat/image_raw", 'topic: "/heat image"', ["modalities.1.thermal.topic", "'/heat image'"]),
        ("size: [48, 64]", "size: 48x64", ["modalities.0.rgb.size", "expected a list", "'48x64'"]),
        ("encoding: kelvin", "encoding: window, window_k: [300, 200]", ["window_k", "low < high"]),
    ],
)
def test_faults_are_named(tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    path = write(tmp_path, MINIMAL.replace(old, new, 1))
    with pytest.raises(SartmError) as caught:
        load_rig(path)
    for text in [str(path), *expected]:
        assert text in str(caught.value)


def test_all_faults_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL.replace("kind: thermal", "kind: sonar").replace("[1, 2, 3]", "[1, 2]"))
    with pytest.raises(SartmError, match=r"(?s)sonar.*classes\.0\.color"):
        load_rig(path)


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(SartmError, match="no rig is called 'nosuch'. Known: deliver, fmb"):
        load_rig("nosuch")


def test_empty_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(SartmError, match="the file is empty"):
        load_rig(write(tmp_path, ""))
    with pytest.raises(SartmError, match="is a folder; expected a YAML file"):
        load_rig(tmp_path)


def test_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(SartmError, match="is not a YAML file"):
        load_rig(write(tmp_path, "a: [1"))


class TestCheckServes:
    def test_fewer_modalities_are_fine(self, sim_rig: Rig) -> None:
        check_serves(sim_rig, load_rig("rgbt"))
        check_serves(sim_rig, load_rig("rgbd"))

    def test_other_classes(self, sim_rig: Rig) -> None:
        with pytest.raises(SartmError, match="trained for the classes road, .* lists unlabeled, car"):
            check_serves(sim_rig, load_rig("mfnet"))

    def test_unknown_modality(self) -> None:
        with pytest.raises(SartmError, match="not trained with a modality 'depth'; it knows rgb, thermal"):
            check_serves(load_rig("rgbt"), load_rig("sim"))

    def test_other_encoding(self, sim_rig: Rig) -> None:
        content = load_rig("rgbt").model_dump(mode="json")
        content["modalities"][1]["encoding"] = "image"
        with pytest.raises(SartmError, match="encoding 'percentile', the rig file says 'image'"):
            check_serves(sim_rig, rig_from_dict(content, "test"))

    @pytest.mark.parametrize(
        ("name", "field", "value", "expected"),
        [
            ("event", "window_s", 0.05, "window_s '0.03', the rig file says '0.05'. Set window_s: 0.03"),
            ("thermal", "percentiles", [5, 95], r"percentiles '\[1.0, 99.0\]', the rig file says '\[5.0, 95.0\]'"),
        ],
    )
    def test_what_else_the_network_sees_otherwise(self, name: str, field: str, value: Any, expected: str) -> None:
        content = load_rig("simrig5").model_dump(mode="json")
        next(m for m in content["modalities"] if m["name"] == name)[field] = value
        with pytest.raises(SartmError, match=expected):
            check_serves(load_rig("simrig5"), rig_from_dict(content, "test"))


def test_a_folder_does_not_hide_a_shipped_rig_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "simrig5").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_rig("simrig5").name == "simrig5"
