"""Fields written into a rig file: the rest of it stays as it is."""

import pytest
import yaml

from sartm_core.calibrate.rig_text import with_fields
from sartm_core.errors import SartmError

RIG = """\
# our robot
name: r
reference: rgb
modalities:
  rgb: {kind: rgb, size: [256, 320], topic: /rgb}
  thermal:
    kind: thermal
    size: [192, 256]      # height, width
    topic: /thermal
    # calibrated 2020-01-01 from old: 3 frames
    homography:
      - [1, 0, 5]
      - [0, 1, 0]
      - [0, 0, 1]
    tolerance_s: 0.02     # mind this

classes:
  - {name: road, color: [1, 2, 3]}
"""
FIELDS = {"homography": "[[1, 0, 7], [0, 1, 0], [0, 0, 1]]", "offset_s": "-0.0110"}


def test_fields_are_replaced_and_comments_stay() -> None:
    text = with_fields(RIG, "thermal", FIELDS, "today", "rig.yaml")
    thermal = yaml.safe_load(text)["modalities"]["thermal"]
    assert thermal["homography"][0] == [1, 0, 7]
    assert thermal["offset_s"] == -0.011
    assert thermal["tolerance_s"] == 0.02
    assert "# height, width" in text
    assert "# mind this" in text
    assert "# our robot" in text
    assert "2020-01-01" not in text
    assert text.count("# calibrated today") == 1
    again = with_fields(text, "thermal", FIELDS, "today", "rig.yaml")
    assert again == text


def test_a_block_on_one_line_is_refused_with_the_lines_to_write() -> None:
    with pytest.raises(SartmError, match=r"rig.yaml.*cannot be changed(?s:.*)modalities.rgb(?s:.*)offset_s: 0.1"):
        with_fields(RIG, "rgb", {"offset_s": "0.1"}, "today", "rig.yaml")


def test_a_field_that_the_rig_does_not_take_is_an_error() -> None:
    with pytest.raises(SartmError, match="homography"):
        with_fields(RIG, "thermal", {"homography": "[[0, 0, 0], [0, 0, 0], [0, 0, 0]]"}, "today", "rig.yaml")
