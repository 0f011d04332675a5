"""Takes the packets of event cameras in a thread of its own: a thousand a second are too many for an executor."""

import threading
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.subscription import Subscription

from sartm_core.errors import SartmError
from sartm_ros.decoding.event_arrays import event_array
from sartm_ros.node.worker import STOP_S

POLL_S = 0.005
"""The executor takes one message each time it wakes, at most some 900 a second, and would do nothing else."""


class _Unattended(CallbackGroup):
    """The executor does not wait for these subscriptions."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        """Nothing: none began."""


class PacketReceiver:
    """Takes everything that has arrived on its subscriptions, every 5 ms.

    Args:
        on_packets: called in this object's thread with a modality's name and its packets; must not raise.
        on_fault: called with a modality's name and why what came is not a packet.
    """

    def __init__(self, on_packets: Callable[[str, list[Any]], None], on_fault: Callable[[str, str], None]) -> None:
        self._on_packets, self._on_fault = on_packets, on_fault
        self._subscriptions: dict[str, Subscription[Any]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, name: str, subscription: Any) -> None:
        """Takes over a subscription from the executor."""
        subscription.callback_group = _Unattended()
        with self._lock:
            self._subscriptions[name] = subscription
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="sartm-packets", daemon=True)
            self._thread.start()

    def remove(self, name: str) -> None:
        """Lets go of a subscription, which may then be destroyed."""
        with self._lock:
            self._subscriptions.pop(name, None)

    def stop(self) -> None:
        """Ends the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def _loop(self) -> None:
        while not self._stopping.wait(POLL_S):
            for name in tuple(self._subscriptions):
                with self._lock:
                    subscription = self._subscriptions.get(name)
                    messages = [] if subscription is None else _waiting(subscription)
                if packets := self._read(name, messages):
                    self._on_packets(name, packets)

    def _read(self, name: str, messages: list[Any]) -> list[Any]:
        """What comes serialised (`raw`) is a dvs_msgs/EventArray."""
        packets = []
        for message in messages:
            try:
                packets.append(event_array(message) if isinstance(message, bytes) else message)
            except SartmError as error:
                self._on_fault(name, str(error))
        return packets


def _waiting(subscription: Any) -> list[Any]:
    """All messages in a subscription's queue."""
    messages = []
    with subscription.handle:
        while (taken := subscription.handle.take_message(subscription.msg_type, subscription.raw)) is not None:
            messages.append(taken[0])
    return messages
