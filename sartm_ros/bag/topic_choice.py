"""Which topic of a recording serves as which modality: what the user says first, then the best topic of each kind."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sartm_core.errors import SartmError
from sartm_ros.bag.sensor_kinds import KINDS_IN_ORDER, possible_kinds
from sartm_ros.bag.topic_traits import Candidate, Scene, Trait, camera_of, is_of_a_depth_camera, traits_of
from sartm_ros.bag.unread_types import unread

_TOPIC = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user wants.

    Attributes:
        reference: topic of the camera whose geometry the masks have; None: the likeliest.
        kinds: only sensors of these.
        topics: kind -> its topic, whatever `kinds` says.
    """

    reference: str | None = None
    kinds: tuple[str, ...] = KINDS_IN_ORDER
    topics: Mapping[str, str] = field(default_factory=dict)


ANY = Wishes()


@dataclass(frozen=True, slots=True)
class Choice:
    """One modality.

    Attributes:
        kind: of the modality.
        taken: its topic.
        over: the next best; None where there was no choice.
        reason: why not that one.
    """

    kind: str
    taken: Candidate
    over: Candidate | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a rig is made of.

    Attributes:
        choices: the reference first, then in the order of `KINDS_IN_ORDER`.
        left_out: topic -> why it is not used although no other of its kind is.
    """

    choices: tuple[Choice, ...]
    left_out: dict[str, str]


def parse_topics(values: list[str]) -> dict[str, str]:
    """Reads options such as `lidar=/ouster/points`.

    Raises:
        SartmError: another form, an unknown kind, or one that is given twice.
    """
    topics: dict[str, str] = {}
    for value in values:
        kind, _, topic = (part.strip() for part in value.partition("="))
        if not kind or not topic.startswith("/"):
            raise SartmError(f"--topic '{value}': expected KIND=TOPIC, such as lidar=/ouster/points.")
        if kind not in KINDS_IN_ORDER:
            raise SartmError(f"--topic {value}: '{kind}' is unknown; expected one of {', '.join(KINDS_IN_ORDER)}.")
        for known, its_topic in topics.items():
            if kind == known or topic == its_topic:
                twice = kind if kind == known else topic
                raise SartmError(f"--topic {value}: {twice} is already given by --topic {known}={its_topic}.")
        topics[kind] = topic
    return topics


def check_wishes(wishes: Wishes, candidates: list[Candidate], types: Mapping[str, str]) -> None:
    """Refuses topics that cannot be what the user says.

    Args:
        wishes: of the user.
        candidates: the recording's topics with a sensor's messages.
        types: message type of every topic of the recording.

    Raises:
        SartmError: a topic is missing or holds something else, or reference and topics contradict each other.
    """
    by_topic = {one.topic: one for one in candidates}
    for kind, topic in wishes.topics.items():
        option = f"--topic {kind}={topic}"
        if topic not in types:
            sensors = ", ".join(f"{one.topic} ({one.kinds[0]})" for one in candidates if one.kinds) or "none"
            raise SartmError(f"{option}: the recording has no topic {topic}. Its sensors: {sensors}.")
        one = by_topic.get(topic)
        if one is None:
            what = unread(topic, types[topic]) or f"{topic} holds {types[topic]}, which is no sensor's message."
            raise SartmError(f"{option}: {what}")
        if one.fault:
            raise SartmError(f"{option}: its first message cannot be read: {one.fault}")
        possible = possible_kinds(one.content)
        if kind not in possible:
            raise SartmError(
                f"{option}: {topic} holds {one.content.message_type} ({one.content.text}), which can be "
                f"{' or '.join(possible)}, not {kind}."
            )
    reference = by_topic.get(wishes.reference or "")
    if reference is not None and reference.kinds and reference.topic not in wishes.topics.values():
        kind = reference.kinds[0]
        if kind in wishes.topics:
            raise SartmError(
                f"--reference {reference.topic}: it would be the {kind} camera, but --topic "
                f"{kind}={wishes.topics[kind]} names another. Name one topic in both."
            )


def _why_unusable(one: Candidate) -> str:
    if not _TOPIC.fullmatch(one.topic):
        return "its name is not that of a topic of ROS 2"
    return f"its first message cannot be read: {one.fault}" if one.fault else ""


def choose(candidates: list[Candidate], wishes: Wishes = ANY) -> Selection:
    """The best topic of each kind.

    Args:
        candidates: the recording's topics with a sensor's messages.
        wishes: checked by `check_wishes`.
    """
    left_out = {one.topic: _why_unusable(one) for one in candidates if _why_unusable(one)}
    usable = [one for one in candidates if one.topic not in left_out]
    fixed = _fixed(usable, wishes)
    choices = {kind: Choice(kind, one) for kind, one in fixed.items()}
    named = {one.topic for one in fixed.values()}
    for kind in KINDS_IN_ORDER:
        open_ones = [one for one in usable if one.is_likely(kind) and one.topic not in named]
        reference = next((one for one in usable if one.topic == wishes.reference), _first(choices))
        scene = Scene(tuple(usable), reference)
        if kind == "lidar" and "depth" in choices:
            # Its cloud would measure the same thing once more.
            of_cameras = [one for one in open_ones if is_of_a_depth_camera(one, scene)]
            open_ones = [one for one in open_ones if one not in of_cameras]
            if not open_ones and kind in wishes.kinds and kind not in fixed:
                left_out |= {
                    one.topic: f"it repeats what the depth camera measures; --topic lidar={one.topic} takes it"
                    for one in of_cameras
                }
        if kind in wishes.kinds and kind not in fixed and open_ones:
            choices[kind] = _best(kind, open_ones, scene)
    found = sorted(choices.values(), key=lambda one: KINDS_IN_ORDER.index(one.kind))
    # The order decides which modality leads when the reference falls silent: cameras first.
    return Selection(tuple(sorted(found, key=lambda one: one.taken.topic != wishes.reference)), left_out)


def advice(kind: str, own: Candidate, rivals: list[Candidate], scene: Scene) -> tuple[Candidate, str] | None:
    """A rival that is better than a rig's own topic, and why; None where the own one is as good as any."""
    better = []
    for rival in rivals:
        reason = _advantage(kind, rival, own, scene)
        if reason is not None and rival.topic != own.topic and not rival.fault:
            better.append((_rank(kind, rival, scene), rival, reason))
    if not better:
        return None
    _, best, reason = min(better, key=lambda one: one[0])
    return best, reason


def _fixed(usable: list[Candidate], wishes: Wishes) -> dict[str, Candidate]:
    """The modalities that the user names."""
    by_topic = {one.topic: one for one in usable}
    fixed = {kind: by_topic[topic] for kind, topic in wishes.topics.items()}
    reference = by_topic.get(wishes.reference or "")
    if reference is not None and reference.kinds and reference not in fixed.values():
        fixed[reference.kinds[0]] = reference
    return fixed


def _first(choices: dict[str, Choice]) -> Candidate | None:
    return next((choices[kind].taken for kind in KINDS_IN_ORDER if kind in choices), None)


def _best(kind: str, open_ones: list[Candidate], scene: Scene) -> Choice:
    taken, *others = sorted(open_ones, key=lambda one: _rank(kind, one, scene))
    over = next((one for one in others if one.name != taken.name), None)
    return Choice(kind, taken) if over is None else Choice(kind, taken, over, _reason(kind, taken, over, scene))


def _rank(kind: str, one: Candidate, scene: Scene) -> tuple[tuple[int, ...], int, str]:
    return tuple(trait.penalty(one, scene) for trait in traits_of(kind)), -one.count, one.topic


def _reason(kind: str, taken: Candidate, over: Candidate, scene: Scene) -> str:
    decisive = next((t for t in traits_of(kind) if t.penalty(taken, scene) != t.penalty(over, scene)), None)
    if decisive is not None:
        return decisive.reason
    return "it has more messages" if taken.count > over.count else "nothing tells them apart but their names"


def _advantage(kind: str, rival: Candidate, own: Candidate, scene: Scene) -> str | None:
    def decides(trait: Trait) -> bool:
        return trait.advised and (not trait.same_camera or camera_of(rival) == camera_of(own))

    for trait in filter(decides, traits_of(kind)):
        gain = trait.penalty(own, scene) - trait.penalty(rival, scene)
        if gain:
            return trait.reason if gain > 0 else None
    likely = kind in rival.kinds and kind not in own.kinds
    return f"by its content and name it is {kind}; the other is not" if likely else None
