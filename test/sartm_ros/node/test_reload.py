"""Another model while the node runs: ~/reload, in the node of the test's own process, over real DDS."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger

from sartm_core.deploy.bundle import Bundle, read_bundle
from sartm_core.errors import SartmError
from sartm_core.resources import resolve_bundle
from sartm_core.segmentation import Segmentation
from sartm_ros.decoding.images import raw_array
from sartm_ros.node import session
from sartm_ros.node.lifecycle import PerceptionNode

MASKS, LABELS = "/perception/mask", "/perception/labels"
ALL = ("rgb", "thermal", "depth")


class Constant:
    """Every pixel has one class."""

    def __init__(self, bundle: Bundle, name: str, class_id: int) -> None:
        self.bundle = bundle.model_copy(update={"name": name})
        self.backend, self.class_id, self.frames = name, class_id, 0

    def segment(self, planes: dict[str, Any], size: tuple[int, int] | None = None) -> Segmentation:
        self.frames += 1
        size = size or self.bundle.size
        routing = np.full((3, len(self.bundle.rig.names)), 1 / len(self.bundle.rig.names), np.float32)
        return Segmentation(np.full(size, self.class_id, np.uint8), np.full(size, 0.5, np.float32), routing)


class Shelf:
    """What `load` finds: the first model, then the next one, or an error."""

    def __init__(self) -> None:
        self.bundle = read_bundle(resolve_bundle("any_sensor_simrig5"))
        self.next: Any = Constant(self.bundle, "first", 1)
        self.may_load = threading.Event()
        self.may_load.set()

    def load(self, *arguments: Any, say: Any) -> Any:
        self.may_load.wait(20)
        if isinstance(self.next, Exception):
            raise self.next
        return self.next


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    result = Shelf()
    yield result
    result.may_load.set()


@pytest.fixture
def perception(host, shelf, monkeypatch: pytest.MonkeyPatch) -> Iterator[PerceptionNode]:
    """Active, spun by the host."""
    monkeypatch.setattr(session, "DIAGNOSTICS_S", 0.2)
    node = PerceptionNode(load=shelf.load)
    node.set_parameters([Parameter("rig", value="sim")])
    host.executor.add_node(node)
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    yield node
    node.stop()
    host.executor.remove_node(node)
    node.destroy_node()


def provenance(host) -> dict[str, str]:
    return json.loads(host.heard[LABELS][-1].data)["provenance"]


def classes(host) -> set[int]:
    return set(np.unique(raw_array(host.heard[MASKS][-1])))


def reload(host) -> Any:
    return host.call(Trigger, "/perception/reload", Trigger.Request())


def test_the_new_model_takes_over_between_two_sets_and_says_so(host, perception, shelf, feed) -> None:
    feed(4, *ALL)
    assert classes(host) == {1}
    assert (provenance(host)["bundle"], provenance(host)["backend"]) == ("first", "first")
    assert host.set_parameter("bundle", str(resolve_bundle("any_sensor_simrig5"))).successful
    shelf.next, shelf.may_load = Constant(shelf.bundle, "second", 2), threading.Event()
    client = host.node.create_client(Trigger, "/perception/reload")
    assert host.until(client.service_is_ready, 10)
    answer, again = (client.call_async(Trigger.Request()) for _ in range(2))
    assert host.until(lambda: answer.done() or again.done(), 10)  # one of them is refused while the other loads
    before = len(host.heard[MASKS])
    feed(5, *ALL)
    assert len(host.heard[MASKS]) > before  # masks of the old one while the new one loads
    assert classes(host) == {1}
    shelf.may_load.set()
    assert host.until(lambda: answer.done() and again.done(), 10)
    assert sorted(one.result().success for one in (answer, again)) == [False, True]
    assert shelf.next.frames >= 2  # warm before it took over
    feed(4, *ALL)
    assert classes(host) == {2}
    assert provenance(host)["bundle"] == "second"
    assert host.until(lambda: host.diagnostics()["perception: pipeline"]["bundle"] == "second", 5)
    assert host.diagnostics()["perception: pipeline"]["sha256"] == provenance(host)["sha256"]
    assert float(host.diagnostics()["perception: pipeline"]["memory_mb"]) > 10


def test_a_model_that_cannot_be_used_leaves_the_old_one(host, perception, shelf, feed) -> None:
    kept = provenance(host) if host.until(lambda: host.heard[LABELS] != [], 5) else None
    shelf.next = SartmError("bundle.json is damaged")
    answer = reload(host)
    assert (answer.success, answer.message) == (False, "the model is not exchanged: bundle.json is damaged")
    shelf.next = Constant(read_bundle(resolve_bundle("any_sensor_simrig5")), "foreign", 3)
    rig = shelf.bundle.rig.model_copy(update={"classes": shelf.bundle.rig.classes[:-1]})
    shelf.next.bundle = shelf.next.bundle.model_copy(update={"rig": rig})
    answer = reload(host)
    assert not answer.success
    assert "the bundle was trained for the classes" in answer.message
    assert host.set_parameter("bundle", "nosuch").successful
    answer = reload(host)
    assert not answer.success
    assert "bundle 'nosuch' was not found" in answer.message
    feed(4, *ALL)
    assert classes(host) == {1}
    assert provenance(host) == kept


def test_a_node_that_pauses_takes_the_new_model_too(host, perception, shelf, feed) -> None:
    assert perception.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    shelf.next = Constant(shelf.bundle, "second", 2)
    assert reload(host).success
    assert perception.trigger_activate() == TransitionCallbackReturn.SUCCESS
    feed(4, *ALL)
    assert classes(host) == {2}
    assert provenance(host)["bundle"] == "second"


def test_a_model_that_comes_after_cleaning_up_is_not_used(host, perception, shelf) -> None:
    shelf.next, shelf.may_load = Constant(shelf.bundle, "second", 2), threading.Event()
    client = host.node.create_client(Trigger, "/perception/reload")
    assert host.until(client.service_is_ready, 10)
    answer = client.call_async(Trigger.Request())
    assert host.until(perception.is_loading, 5)
    assert perception.trigger_deactivate() == perception.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    shelf.may_load.set()
    assert host.until(answer.done, 5)
    assert answer.result().message == "the model is not exchanged: the node was cleaned up meanwhile."
    assert reload(host).message.endswith("the node is not configured; configuring it loads the bundle.")
    assert perception.trigger_configure() == TransitionCallbackReturn.SUCCESS


def test_the_overlay_is_there_as_jpeg_as_well(host, perception, feed) -> None:
    host.listen("/perception/overlay/compressed", CompressedImage, 10)
    feed(6, *ALL)
    assert host.until(lambda: host.heard["/perception/overlay/compressed"] != [], 5)
    message = host.heard["/perception/overlay/compressed"][-1]
    assert message.format == "rgb8; jpeg compressed bgr8"  # what image_transport's subscribers look for
    raw: Image = next(one for one in host.heard["/perception/overlay"] if one.header == message.header)
    difference = np.abs(raw_array(message).astype(int) - raw_array(raw).astype(int))
    assert difference.mean() < 6  # red and blue not exchanged
