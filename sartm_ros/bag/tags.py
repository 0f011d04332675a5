"""What a recording says about its times: a topic of std_msgs/String with JSON, such as the simulator's phases."""

import json
from typing import Any


class TagTimes:
    """Tags, each valid until the next ones."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, dict[str, str]]] = []

    def add(self, message: Any, from_ns: int) -> None:
        """Reads the strings of a JSON object such as `{"condition": "night", "faults": {"thermal": "frozen"}}`.

        Args:
            message: a std_msgs/String; anything but a JSON object ends the tags before it.
            from_ns: the stamp from which they hold, unless the message itself has `start_ns`.
        """
        try:
            content = json.loads(message.data)
        except (ValueError, AttributeError, RecursionError):
            content = None
        content = content if isinstance(content, dict) else {}
        tags = {key: value for key, value in content.items() if isinstance(value, str)}
        faults, start = content.get("faults"), content.get("start_ns")
        if isinstance(faults, dict):
            tags["faulty"], tags["fault"] = "+".join(faults) or "none", "+".join(map(str, faults.values())) or "none"
        self._entries.append((start if isinstance(start, int) else from_ns, tags))

    def at(self, stamp_ns: int) -> dict[str, str]:
        """The tags of an instant."""
        return next((tags for from_ns, tags in reversed(self._entries) if from_ns <= stamp_ns), {})
