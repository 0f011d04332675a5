"""`sartm rig check --bag`: what would go wrong with a rig file on the robot that made a recording."""

import difflib
from collections import Counter
from dataclasses import dataclass

from sartm_core.rig import Modality, Rig
from sartm_ros.bag.reader import Bag
from sartm_ros.bag.rehearsal import Rehearsed, rehearse
from sartm_ros.bag.replay import Replay
from sartm_ros.bag.rig_draft import suggested_offset_s, suggested_tolerance_s
from sartm_ros.bag.rig_hints import better_topics, unread_instead
from sartm_ros.bag.survey import Survey, TopicSurvey
from sartm_ros.bag.unread_types import unread

TRIED_SETS = 100
MATCHED_SHARE = 0.9
"""A sensor that joins a smaller share of the sets that need it has a wrong tolerance."""
SLOW_SHARE = 0.8
OTHER_TIME_MS = 3_600_000.0
"""Stamps farther from the time of recording come from a clock that was never set."""
LARGE_SHIFT = 0.5
"""A median distance of this share of the tolerance suggests a delay rather than jitter."""


@dataclass(frozen=True, slots=True)
class RigFindings:
    """What was found.

    Attributes:
        faults: must be fixed.
        remarks: worth checking, possibly intended.
        tried: frame sets matched.
        complete: those that had every sensor.
        rehearsed: what becomes of the sets without each of the sensors.
    """

    faults: list[str]
    remarks: list[str]
    tried: int
    complete: int
    rehearsed: tuple[Rehearsed, ...] = ()


def check_rig(rig: Rig, bag: Bag, survey: Survey) -> RigFindings:
    """Compares a rig with a recording, then matches the first frame sets as the node would.

    Args:
        rig: to be checked.
        bag, survey: the recording.
    """
    faults: list[str] = []
    remarks = [*survey.losses, *better_topics(rig, survey)]
    wrong_type = False
    reference = survey.topics.get(rig.modality(rig.reference).topic)
    for modality in rig.modalities:
        topic = survey.topics.get(modality.topic)
        if topic is None or not topic.count:
            faults.append(f"{modality.name}: the recording has no topic {modality.topic}.{_instead(modality, survey)}")
            continue
        wrong_type |= topic.message_type != modality.message
        faults += _faults_of(modality, topic, reference)
        remarks += _remarks_of(modality, topic)
        if reference is not None and not _is_registered(modality, topic, reference):
            remarks.append(
                f"{modality.name}: nothing says how its images align with those of {rig.reference}; assumed to be "
                "aligned. Write a homography, or intrinsics and extrinsics (docs/node.md: Registration)."
            )
    if wrong_type or reference is None:
        return RigFindings(faults, remarks, 0, 0)
    return _try(rig, bag, survey, faults, remarks)


def _is_registered(modality: Modality, topic: TopicSurvey, reference: TopicSurvey) -> bool:
    """Whether the rig file registers its images, or the driver has: one frame and size."""
    if topic is reference or modality.kind == "lidar" or topic.content is None or reference.content is None:
        return True
    aligned = topic.frame_id == reference.frame_id and topic.content.size == reference.content.size
    return (
        aligned or modality.homography is not None or modality.intrinsics is not None or modality.calibration == "ros"
    )


def _instead(modality: Modality, survey: Survey) -> str:
    same_kind = [topic.topic for topic in survey.sensors() if modality.kind in topic.kinds]
    convertible = "" if same_kind else unread_instead(modality, survey)
    if convertible:
        return f" {convertible}"
    close = difflib.get_close_matches(modality.topic, same_kind or list(survey.topics), n=1, cutoff=0.3)
    if close:
        return f" Did you mean {close[0]}?"
    return f" Candidate topics: {', '.join(same_kind)}." if same_kind else " It would always be absent."


def _faults_of(modality: Modality, topic: TopicSurvey, reference: TopicSurvey | None) -> list[str]:
    name, faults = modality.name, []
    not_read = unread(topic.topic, topic.message_type)
    if not_read is not None:
        return [f"{name}: {not_read}"]
    if topic.message_type != modality.message:
        faults.append(
            f"{name}: {topic.topic} holds {topic.message_type}, the rig file says {modality.message}. Set message: "
            f"{topic.message_type}."
        )
    if topic.fault:
        faults.append(f"{name}: its first message cannot be read: {topic.fault}")
    size = topic.content.size if topic.content is not None else None
    if size is not None and size != modality.size:
        faults.append(
            f"{name}: images of {topic.topic} are {size[0]}x{size[1]} (height x width), the rig file says size: "
            f"{list(modality.size)}. Set size: {list(size)}, and correct the calibration, if there is one."
        )
    if topic.unstamped:
        faults.append(
            f"{name}: {topic.unstamped} of {topic.count} messages of {topic.topic} have stamp 0 and are rejected. Let "
            "the driver stamp them; for this recording use --stamps recorded."
        )
    if reference is not None and topic is not reference:
        needed = suggested_offset_s(topic)
        if abs(needed - modality.offset_s) > 1.0:
            faults.append(
                f"{name}: stamps of {topic.topic} and {reference.topic} are from different clocks, "
                f"{abs(needed):.3f} s apart. Synchronise the clocks (chrony, PTP); for this recording set offset_s: "
                f"{needed:.3f}, or use --stamps recorded."
            )
    return faults


def _remarks_of(modality: Modality, topic: TopicSurvey) -> list[str]:
    name, remarks = modality.name, []
    if topic.kinds and modality.kind not in topic.kinds:
        remarks.append(
            f"{name}: {topic.topic} looks like {' or '.join(topic.kinds)}, the rig file says {modality.kind}."
        )
    if modality.rate_hz is not None and topic.rate_hz is not None and topic.rate_hz < SLOW_SHARE * modality.rate_hz:
        remarks.append(
            f"{name}: {topic.topic} arrives at {topic.rate_hz:g} Hz, the rig file says {modality.rate_hz:g}."
        )
    if topic.lag_ms is not None and abs(topic.lag_ms) > OTHER_TIME_MS:
        remarks.append(
            f"{name}: stamps of {topic.topic} are {abs(topic.lag_ms) / 86_400_000:.1f} days off the time of "
            "recording: its clock is not set. It matches no sensor with another clock."
        )
    if topic.backwards:
        remarks.append(f"{name}: stamps of {topic.topic} run backwards {topic.backwards} times.")
    if topic.gaps:
        at, length = topic.gaps[0]
        count = "" if len(topic.gaps) == 1 else f"{len(topic.gaps)} times, the longest "
        remarks.append(f"{name}: {topic.topic} was silent {count}{length:.2f} s from {at:.1f} s on.")
    return remarks


def _try(rig: Rig, bag: Bag, survey: Survey, faults: list[str], remarks: list[str]) -> RigFindings:
    replay = Replay(bag, rig, rig)
    tried = complete = 0
    missed: Counter[str] = Counter()
    broken: dict[str, Counter[str]] = {name: Counter() for name in rig.names}
    empty: Counter[str] = Counter()
    emptiness: dict[str, str] = {}
    for found in replay:
        if found.frames.states[rig.reference] in ("absent", "stale"):  # others lead: no message of this one is expected
            continue
        tried += 1
        complete += len(found.frames.planes) == len(rig.names)
        at_s = (found.recorded_ns - bag.start_ns) / 1e9
        missed.update(
            m.name
            for m in rig.modalities
            if m.name not in found.frames.planes
            and m.name not in found.frames.broken
            and m.name not in found.frames.empty
            and not _silent(survey.topics.get(m.topic), at_s)
        )
        for name, reason in found.frames.broken.items():
            broken[name][reason] += 1
        empty.update(list(found.frames.empty))  # their names: the values are reasons
        emptiness = found.frames.empty | emptiness
        if tried == TRIED_SETS:
            break
    if not tried:
        return RigFindings([*faults, f"{rig.reference}: no frame set can be matched."], remarks, 0, 0)
    reported = {fault.split(":")[0] for fault in faults} | _mostly_unusable(replay)
    faults += _broken(broken, tried) + _unusable(replay, broken)
    for name, count in empty.items():
        line = f"{name}: in {count} of {tried} frame sets it is empty and counts as absent: {emptiness[name]}."
        (faults if 2 * count > tried else remarks).append(line)
    for modality in rig.modalities:
        topic = survey.topics.get(modality.topic)
        if topic is not None and modality.name not in reported and missed[modality.name] > (1 - MATCHED_SHARE) * tried:
            faults.append(_unmatched(modality, topic, rig.reference, missed[modality.name], tried))
    rehearsed = rehearse(rig, bag)
    remarks += [*replay.calibration_remarks, *_left_behind(rehearsed)]
    return RigFindings(faults, remarks, tried, complete, tuple(rehearsed))


def _left_behind(rehearsed: list[Rehearsed]) -> list[str]:
    """Healthy sensors that leave the sets when another one falls silent."""
    if not rehearsed:
        return []
    whole, *others = rehearsed
    return [
        f"without {one.lost}, only {100 * share:.0f} % of the sets have {name}, whose stamps are too far from those of "
        f"{one.leader}. Raise its tolerance_s, or list a faster sensor in the rig."
        for one in others
        for name, share in one.shares.items()
        if share < MATCHED_SHARE <= whole.shares[name]
    ]


def _silent(topic: TopicSurvey | None, at_s: float) -> bool:
    """Whether a topic was silent around a time of the recording."""
    return topic is None or any(begin <= at_s <= begin + length for begin, length in topic.gaps)


def _unmatched(modality: Modality, topic: TopicSurvey, reference: str, missed: int, tried: int) -> str:
    suggested = suggested_tolerance_s(topic)
    fix = f"Set tolerance_s: {suggested:g}."
    if suggested <= modality.tolerance_s:
        fix = "It has gaps: `sartm bag info` shows them. A larger tolerance_s accepts older images instead."
    if topic.skew is not None and abs(topic.skew.median_ms) > LARGE_SHIFT * modality.tolerance_s * 1e3:
        fix += f" If the driver has a constant delay, set offset_s: {-topic.skew.median_ms / 1e3:.3f} instead."
    return (
        f"{modality.name}: {missed} of {tried} frame sets lack it, because its stamps are farther than tolerance_s "
        f"{modality.tolerance_s:g} from those of {reference}. {fix}"
    )


def _broken(found: dict[str, Counter[str]], tried: int) -> list[str]:
    return [
        f"{name}: in {count} of {tried} frame sets it is unusable: {reason}"
        for name, reasons in found.items()
        for reason, count in reasons.items()
    ]


def _unusable(replay: Replay, reported: dict[str, Counter[str]]) -> list[str]:
    """What the replay counted before it matched anything: packets that cannot be decoded are in no frame set."""
    return [
        f"{name}: {count} of its messages are unusable: {reason}"
        for name, found in replay.report()["modalities"].items()
        for reason, count in found["broken"].items()
        if reason not in reported[name]
    ]


def _mostly_unusable(replay: Replay) -> set[str]:
    """The modalities that a tolerance cannot be the reason for."""
    counts = replay.report()["modalities"]
    return {name for name, found in counts.items() if sum(found["broken"].values()) > found["received"]}
