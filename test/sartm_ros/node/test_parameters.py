"""Parameters: one table, the documentation and the file that robots copy."""

from pathlib import Path
from types import SimpleNamespace

import yaml

from sartm_ros.node.parameters import TABLE, Parameters, markdown

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


def test_parameters_of_other_nodes_in_a_shared_file_are_one_line() -> None:
    """`/**:` gives every node the parameters of all."""
    foreign = {f"controller.gain_{number}": 1.0 for number in range(40)}
    given = {**foreign, "bundel": "x", "use_sim_time": True, "qos_overrides./a.subscription.depth": 1, "rig": "sim"}
    specs = {spec.name: spec for spec in TABLE}
    node = SimpleNamespace(_node=SimpleNamespace(_parameter_overrides=given), _specs=specs)
    lines = Parameters.unknown(node)  # type: ignore[arg-type]
    assert lines == [
        "parameter 'bundel': unknown, ignored. Did you mean 'bundle'?",
        "ignored, since they are not parameters of this node (see docs/node.md): 'controller.gain_0', "
        "'controller.gain_1', 'controller.gain_10' and 37 more",
    ]
