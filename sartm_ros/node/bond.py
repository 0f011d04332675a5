"""The bond by which a Nav2 lifecycle manager sees that the node lives (bondpy, where it is installed)."""

import importlib
from typing import Any

from rclpy.lifecycle import LifecycleNode

HEARTBEAT_PERIOD_S, HEARTBEAT_TIMEOUT_S = 0.1, 4.0
"""As nav2_util::LifecycleNode::createBond and nav2_lifecycle_manager set them."""


class ManagerBond:
    """Held while the node is active.

    A manager waits for it at most half its `bond_timeout` after activation, on the topic `bond`, under the node's name;
    a bond that breaks makes it shut down all that it manages.

    Args:
        node: whose life it tells.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._bond: Any = None

    def form(self) -> None:
        """Begins to send heartbeats; without bondpy it says what to set in place of a bond."""
        try:
            kind = importlib.import_module("bondpy.bondpy").Bond
        except ImportError:
            self._node.get_logger().warning(
                "bondpy is not installed: under a Nav2 lifecycle manager set its bond_timeout: 0.0, or apt install "
                "ros-$ROS_DISTRO-bondpy; it aborts the bring-up otherwise"
            )
            return
        try:
            bond = kind(self._node, "bond", self._node.get_name())
            bond.set_heartbeat_period(HEARTBEAT_PERIOD_S)
            bond.set_heartbeat_timeout(HEARTBEAT_TIMEOUT_S)
            bond.start()
            self._bond = bond
        except Exception as error:  # whatever bondpy raises costs the bond, not the node
            self._node.get_logger().warning(f"no bond to a lifecycle manager: {error!r}")

    def dissolve(self) -> None:
        """Tells the manager that the node ends its work, not that it died."""
        bond, self._bond = self._bond, None
        if bond is not None:
            try:
                bond.shutdown()
            except Exception as error:  # as above: what stops after it must be stopped
                self._node.get_logger().warning(f"the bond to the lifecycle manager was not ended: {error!r}")
