"""The bond to a lifecycle manager, with a stand-in for bondpy that has its interface (ros/bond_core@e6d0fc2)."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from sartm_ros.node.bond import ManagerBond

NODE_LOG: list[str] = []


class Bond:
    """bondpy.bondpy.Bond: what `nav2_lifecycle_manager` needs of it happens on a topic under an id."""

    made: list["Bond"] = []  # noqa: RUF012

    def __init__(self, node: Any, topic: str, bond_id: str, on_broken: Any = None, on_formed: Any = None) -> None:
        self.topic, self.id, self.calls = topic, bond_id, []
        Bond.made.append(self)

    def set_heartbeat_period(self, seconds: float) -> None:
        assert "start" not in self.calls  # bondpy asserts it
        self.calls.append(f"period {seconds}")

    def set_heartbeat_timeout(self, seconds: float) -> None:
        assert "start" not in self.calls
        self.calls.append(f"timeout {seconds}")

    def start(self) -> None:
        self.calls.append("start")

    def shutdown(self) -> None:
        self.calls.append("shutdown")


@pytest.fixture
def node() -> Any:
    NODE_LOG.clear()
    logger = SimpleNamespace(warning=NODE_LOG.append)
    return SimpleNamespace(get_name=lambda: "perception", get_logger=lambda: logger)


def test_the_manager_finds_the_bond_under_the_nodes_name(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """LifecycleManager::createBondConnection: bond::Bond("bond", node_name), heartbeats every 0.1 s (navigation2)."""
    module = ModuleType("bondpy.bondpy")
    module.Bond = Bond  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bondpy", ModuleType("bondpy"))
    monkeypatch.setitem(sys.modules, "bondpy.bondpy", module)
    Bond.made.clear()
    bond = ManagerBond(node)
    for _ in range(2):  # active, inactive, active, inactive
        bond.form()
        bond.dissolve()
        bond.dissolve()
    for made in Bond.made:
        assert (made.topic, made.id) == ("bond", "perception")
        assert made.calls == ["period 0.1", "timeout 4.0", "start", "shutdown"]
    assert len(Bond.made) == 2
    assert NODE_LOG == []


@pytest.mark.parametrize("failing", ["start", "shutdown"])
def test_what_bondpy_raises_does_not_stop_the_node(node: Any, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def fail(self: Bond) -> None:
        raise AttributeError("sub")

    module = ModuleType("bondpy.bondpy")
    module.Bond = type("Odd", (Bond,), {failing: fail})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bondpy", ModuleType("bondpy"))
    monkeypatch.setitem(sys.modules, "bondpy.bondpy", module)
    bond = ManagerBond(node)
    bond.form()
    bond.dissolve()
    assert len(NODE_LOG) == 1
    assert "AttributeError('sub')" in NODE_LOG[0]


def test_without_bondpy_the_log_says_what_to_set(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bondpy", None)
    bond = ManagerBond(node)
    bond.form()
    bond.dissolve()
    assert len(NODE_LOG) == 1
    assert "set its bond_timeout: 0.0" in NODE_LOG[0]
