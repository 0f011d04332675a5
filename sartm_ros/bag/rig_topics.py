"""Which of a rig's topics a recording has."""

from sartm_core.errors import SartmError
from sartm_core.rig import Rig
from sartm_ros.bag.reader import Bag


def check_topics(bag: Bag, rig: Rig, others: tuple[str | None, ...] = ()) -> None:
    """Checks that some of the rig's topics are there, with the rig's message types, and all of the others.

    Raises:
        SartmError: names the topic, what was expected and what the recording has.
    """
    here = [m for m in rig.modalities if m.topic in bag.topics]
    if not here:
        topics = ", ".join(sorted(bag.topics)) or "none"
        raise SartmError(
            f"{bag.path}: has no topic of rig '{rig.name}' ({', '.join(m.topic for m in rig.modalities)}). "
            f"It has: {topics}. `sartm rig init --from-bag` writes a rig file for it."
        )
    for modality in here:
        found, encoding = bag.topics[modality.topic].message_type, bag.topics[modality.topic].encoding
        if encoding != "cdr":
            raise SartmError(
                f"{bag.path}: {modality.topic} holds {found}, which is not a ROS 2 message; rig '{rig.name}', modality "
                f"'{modality.name}' expects {modality.message}. Record the driver's topic with ros2 bag record."
            )
        if found != modality.message:
            raise SartmError(
                f"{bag.path}: {modality.topic} holds {found}; rig '{rig.name}', modality '{modality.name}' expects "
                f"{modality.message}. Set message: {found} in the rig file, or name another topic."
            )
    for topic in filter(None, others):
        if topic not in bag.topics:
            raise SartmError(f"{bag.path}: has no topic {topic}. It has: {', '.join(sorted(bag.topics))}.")


def topics_without_messages(bag: Bag, rig: Rig) -> list[str]:
    """A line for each modality without messages in the recording."""
    return [
        f"{modality.name}: the recording has no messages on {modality.topic}."
        for modality in rig.modalities
        if modality.topic not in bag.topics or not bag.topics[modality.topic].count
    ]
