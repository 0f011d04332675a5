"""Better topics than a rig's own that stand in the same recording."""

from sartm_core.rig import Modality, Rig
from sartm_ros.bag.sensor_kinds import without_transport
from sartm_ros.bag.survey import Survey
from sartm_ros.bag.topic_choice import advice
from sartm_ros.bag.topic_traits import Candidate, Scene
from sartm_ros.bag.unread_types import UNREAD_TYPES


def better_topics(rig: Rig, survey: Survey) -> list[str]:
    """A line for each modality that another topic of the recording would serve better.

    Only where no intention explains the rig's choice: points before the scan's pictures, a LiDAR's before a depth
    camera's, aligned and rectified images before raw ones of the same camera.
    """
    candidates = survey.candidates()
    by_topic = {one.topic: one for one in candidates}
    scene = Scene(tuple(candidates), by_topic.get(rig.modality(rig.reference).topic))
    lines = []
    for modality in rig.modalities:
        own = by_topic.get(modality.topic)
        if own is None or own.fault:
            continue
        found = advice(modality.kind, own, _rivals(rig, modality, own, candidates), scene)
        if found is not None:
            lines.append(
                f"{modality.name}: {found[0].topic} stands in the recording, too, and is better than {modality.topic}: "
                f"{found[1]}. Set topic: {found[0].topic}."
            )
    return lines


def unread_instead(modality: Modality, survey: Survey) -> str:
    """What could become the modality's topic where the recording has none; "" for nothing."""
    image_kinds = (modality.kind,) if modality.kind in ("lidar", "event") else (modality.kind, None)
    return " ".join(
        topic.fault
        for topic in survey.topics.values()
        if topic.message_type in UNREAD_TYPES and UNREAD_TYPES[topic.message_type].kind in image_kinds
    )


def _rivals(rig: Rig, modality: Modality, own: Candidate, candidates: list[Candidate]) -> list[Candidate]:
    """Other streams of the kind that no modality of the rig takes."""
    taken = {without_transport(one.topic).lower() for one in rig.modalities} | {own.name}
    return [one for one in candidates if one.is_likely(modality.kind) and one.name not in taken]
