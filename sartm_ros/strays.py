"""Messages of one stream whose stamps do not go on from those before. No ROS import."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

LEAP_NS = 1_000_000_000
"""Stamps this far behind the newest one, or this far ahead of what the time since then explains, are of another clock:
time jumped (a looping bag), the driver's clock was set, or two drivers publish one topic."""
CONVINCING = 3
"""A stream that no other one confirms follows its stamps when so many more of them leapt than went on as before."""


class Held(NamedTuple):
    """A message that is kept back until it is clear whether its stream follows it."""

    arrival_ns: int
    stamp_ns: int
    message: Any


@dataclass(slots=True)
class Strays:
    """What is kept back of one stream.

    Attributes:
        held: follow one another; the newest last.
        doubt: by how many messages that leapt exceed those that went on as before; at least 0.
        leap_ns: how far the last one leapt, negative: back.
    """

    held: list[Held] = field(default_factory=list)
    doubt: int = 0
    leap_ns: int = 0

    def hold(self, one: Held, leap_ns: int) -> int:
        """Keeps a message back; returns how many it replaces, since they are of yet another clock."""
        gone = 0
        if self.held and not self.near(one.stamp_ns, one.arrival_ns - self.held[-1].arrival_ns):
            gone, self.doubt = self.drop(), 0
        self.held.append(one)
        self.doubt += 1
        self.leap_ns = leap_ns
        return gone

    def near(self, stamp_ns: int, later_ns: int = 0) -> bool:
        """Whether a stamp may be of the clock of what is held, `later_ns` later."""
        return bool(self.held) and abs(stamp_ns - self.held[-1].stamp_ns) <= LEAP_NS + max(later_ns, 0)

    def drop(self) -> int:
        """A message went on as before, so these are not followed; returns how many."""
        count = len(self.held)
        self.held.clear()
        self.doubt = max(self.doubt - 1, 0)
        return count

    def release(self) -> list[Held]:
        """The stream follows them."""
        released, self.held, self.doubt = self.held, [], 0
        return released
