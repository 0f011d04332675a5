"""Parameters: one table, the documentation and the file that robots copy."""

from pathlib import Path

import yaml

from sartm_ros.node.parameters import TABLE, markdown

ROOT = Path(__file__).parents[3]


def test_the_documentation_holds_the_table() -> None:
    assert markdown() in (ROOT / "docs" / "node.md").read_text(), "python -m sartm_ros.node.parameters prints it"


def test_node_yaml_lists_every_parameter_with_its_default() -> None:
    text = (ROOT / "config" / "node.yaml").read_text()
    parameters = yaml.safe_load(text)["/**"]["ros__parameters"]
    fixed = {spec.name: spec.default for spec in TABLE if spec.default is not None and "<" not in spec.name}
    assert parameters == fixed | {"use_sim_time": False}
    for spec in TABLE:
        assert spec.doc in text, spec.name
