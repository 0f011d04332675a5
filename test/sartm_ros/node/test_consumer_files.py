"""config/consumers/*.yaml as ROS reads them: its parser knows fewer types than YAML."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from rclpy.node import Node

from sartm_ros.node.parameters import Parameters
from sartm_ros.outputs import read_parameters

FILES = sorted((Path(__file__).parents[3] / "config" / "consumers").glob("*.yaml"))
FILES = [path for path in FILES if "ros__parameters" in path.read_text()]


@pytest.fixture
def parameters(request: pytest.FixtureRequest) -> Iterator[Parameters]:
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", "--params-file", str(request.param)], context=context)
    node = Node("perception", context=context)
    yield Parameters(node, lambda tuning: None)
    node.destroy_node()
    context.try_shutdown()


@pytest.mark.parametrize(
    ("parameters", "path"), [(path, path) for path in FILES], indirect=["parameters"], ids=[p.stem for p in FILES]
)
def test_the_node_and_replays_read_the_same(middleware: dict[str, str], parameters: Parameters, path: Path) -> None:
    outputs = parameters.outputs()
    assert outputs
    assert outputs == read_parameters(path).outputs
    assert parameters.settings().rig == "simrig5"
    assert parameters.unknown() == []
