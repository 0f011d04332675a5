"""`sartm rig init --from-bag`: a commented rig file from what a recording holds."""

import math
from dataclasses import dataclass, replace

import yaml

from sartm_core.checked_yaml import check
from sartm_core.errors import SartmError
from sartm_core.kinds import COMPRESSED_IMAGE, EVENT_PACKET, IMAGE, POINT_CLOUD
from sartm_core.rig import ClassSpec, Rig
from sartm_ros.bag.order import header_of
from sartm_ros.bag.reader import Bag
from sartm_ros.bag.recorded_calibration import TF_STATIC
from sartm_ros.bag.sensor_kinds import without_transport
from sartm_ros.bag.survey import Survey, TopicSurvey
from sartm_ros.bag.topic_choice import ANY, Choice, Selection, Wishes, choose
from sartm_ros.bag.unread_types import UNREAD_TYPES
from sartm_ros.decoding.calibration import Calibrator

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
LEAST_TOLERANCE_S = 0.01
TOLERANCE_MARGIN = 1.25
OTHER_CLOCK_S = 1.0
"""Stamps this much farther from the time of recording than the reference's come from another clock."""
_ENCODINGS = {"thermal": "percentile", "depth": "metres", "lidar": "projected", "event": "counts", "nir": "image"}


@dataclass(frozen=True, slots=True)
class _Chosen:
    name: str
    kind: str
    topic: TopicSurvey
    camera_info: str | None
    choice: Choice


def draft_rig(
    bag: Bag, survey: Survey, name: str, classes: tuple[ClassSpec, ...], wishes: Wishes = ANY
) -> tuple[str, list[str]]:
    """Writes the text of a valid rig file.

    Args:
        bag: the recording.
        survey: of it.
        name: of the rig.
        classes: its classes.
        wishes: those that the survey was made with; its reference is the survey's.

    Returns:
        YAML with comments, and what the user should check or know of the choice of topics, one line each.

    Raises:
        SartmError: the recording has no such sensor.
    """
    named = survey.reference in wishes.topics.values()
    if survey.reference and not named and not survey.topics[survey.reference].kinds:
        known = ", ".join(topic.topic for topic in survey.sensors()) or "none"
        raise SartmError(f"{survey.reference}: is not a sensor topic, so it cannot be the reference. Sensors: {known}.")
    selection = choose(survey.candidates(), wishes)
    if survey.reference and selection.choices[:1] and selection.choices[0].taken.topic != survey.reference:
        selection = choose(survey.candidates(), replace(wishes, reference=survey.reference))  # the user's
    chosen = _chosen(bag, survey, selection, wishes)
    calibrated = _calibratable(bag, chosen, classes)
    reference = chosen[0]
    lines = [
        f"# Drafted from {_one_line(bag.name)}: {survey.seconds:.1f} s of recording. Review it, then run:",
        f"#   sartm rig check <this file> --bag {_one_line(bag.name)}",
        f"name: {_text(name)}",
        f"reference: {reference.name}   # masks have this camera's geometry; the others are aligned to it",
        "modalities:",
    ]
    remarks = _choice_remarks(survey, selection)
    for one in chosen:
        lines += _modality_lines(one, reference, one.name in calibrated, remarks)
    used = {one.topic.topic for one in chosen}
    for topic in survey.sensors():
        if topic.topic not in used:
            found = f"{topic.topic} ({topic.message_type}) could be {' or '.join(topic.kinds)}."
            lines.append(f"  # {_one_line(found)}")
    slowest = max((1 / one.topic.rate_hz for one in chosen if one.topic.rate_hz), default=0.1)
    stale_s = max(0.5, math.ceil(30 * slowest) / 10)
    lines += [
        "synchronizer:",
        "  max_wait_s: 0.1        # how long a set waits for a late sensor",
        f"  stale_after_s: {stale_s:g}     # a sensor silent for this long is not waited for",
        "classes:                 # in the order of the labels; the id is the position in this list",
        *(f"  - {{name: {_text(spec.name)}, color: {list(spec.color)}}}" for spec in classes),
    ]
    text = "\n".join(lines) + "\n"
    check(yaml.safe_load(text), Rig, "the drafted rig file")
    return text, [_one_line(remark) for remark in remarks]


def suggested_tolerance_s(topic: TopicSurvey) -> float:
    """Covers 99 % of the nearest stamps, with a margin; at most half a period, where the next stamp is as near."""
    largest_s = 0.0 if topic.skew is None else topic.skew.largest_ms / 1e3
    half_period_s = 0.5 / topic.rate_hz if topic.rate_hz else 1.0
    return max(_ceil(min(largest_s * TOLERANCE_MARGIN, half_period_s)), LEAST_TOLERANCE_S)


def suggested_offset_s(topic: TopicSurvey) -> float:
    """The offset that maps stamps of another clock to the reference's; 0 for the same clock.

    A distance of less than a second is a phase or a transport delay, which a recording cannot tell from a wrong stamp.
    """
    clock_s = (topic.clock_ms or 0.0) / 1e3
    return round(clock_s, 3) if abs(clock_s) > OTHER_CLOCK_S else 0.0


def camera_info_of(bag: Bag, topic: str) -> str | None:
    """The CameraInfo topic beside an image's, as image_transport names it."""
    found = f"{topic.rsplit('/', 1)[0]}/camera_info"
    above = f"{topic.rsplit('/', 2)[0]}/camera_info"  # .../image_raw/compressed
    names = [name for name in (found, above) if name in bag.topics and bag.topics[name].message_type == CAMERA_INFO]
    return names[0] if names else None


def _chosen(bag: Bag, survey: Survey, selection: Selection, wishes: Wishes) -> list[_Chosen]:
    if not survey.sensors():
        hints = [topic.fault for topic in survey.topics.values() if topic.message_type in UNREAD_TYPES and topic.fault]
        has = ", ".join(survey.topics) or "none"
        raise SartmError(" ".join([f"{bag.path}: has no sensor topic. It has: {has}.", *hints]))
    if not selection.choices:
        found = ", ".join(f"{topic.topic} ({topic.kinds[0]})" for topic in survey.sensors())
        unusable = [f"{topic}: {reason}" for topic, reason in selection.left_out.items()]
        lacking = f"{bag.path}: has no usable sensor of kind {', '.join(wishes.kinds)}. It has: {found}."
        raise SartmError(" ".join([lacking, *unusable]))
    return [
        _Chosen(one.kind, one.kind, survey.topics[one.taken.topic], camera_info_of(bag, one.taken.topic), one)
        for one in selection.choices
    ]


def _choice_remarks(survey: Survey, selection: Selection) -> list[str]:
    """What the user may want otherwise: other topics of a kind, topics left out, types that are not read."""
    remarks = [
        f"{one.kind}: chose {one.taken.topic} over {one.over.topic}: {one.reason}. "
        f"--topic {one.kind}={one.over.topic} takes the other."
        for one in selection.choices
        if one.over is not None
    ]
    remarks += [f"{topic} is left out: {reason}." for topic, reason in selection.left_out.items()]
    kinds = {one.kind for one in selection.choices}
    streams = {one.taken.name for one in selection.choices}
    for topic in survey.topics.values():
        found = UNREAD_TYPES.get(topic.message_type)
        is_needed = found is not None and found.kind not in kinds
        if is_needed and topic.fault and without_transport(topic.topic).lower() not in streams:
            remarks.append(topic.fault)
    return remarks


def _calibratable(bag: Bag, chosen: list[_Chosen], classes: tuple[ClassSpec, ...]) -> set[str]:
    """The modalities whose CameraInfo and transforms connect them with the reference, by the node's own code."""
    with_info = [one for one in chosen if one.camera_info is not None or one.kind == "lidar"]
    if chosen[0] not in with_info:
        return set()
    modalities = {}
    for one in with_info:
        info = {"camera_info": one.camera_info} if one.camera_info is not None else {}
        base = {"kind": one.kind, "size": _size(one, chosen[0]), "topic": one.topic.topic, "calibration": "ros"}
        modalities[one.name] = {**base, **info, "message": one.topic.message_type}
    content = {
        "name": "draft",
        "reference": chosen[0].name,
        "modalities": modalities,
        "classes": [spec.model_dump() for spec in classes],
    }
    calibrator = Calibrator(check(content, Rig, "the drafted rig file"))
    _teach(calibrator, bag, with_info)
    found = set()
    for one in with_info:
        modality = calibrator.rig.modality(one.name)
        has_camera = modality.intrinsics is not None or one.kind == "lidar"
        if has_camera and (modality.extrinsics is not None or one is chosen[0]):
            found.add(one.name)
    return found if chosen[0].name in found else set()


def _teach(calibrator: Calibrator, bag: Bag, chosen: list[_Chosen]) -> None:
    """Feeds it the transforms and the first CameraInfo and message of each sensor."""
    infos = {one.camera_info: one.name for one in chosen if one.camera_info is not None}
    sensors = {one.topic.topic: one.name for one in chosen}
    missing = {*infos, *sensors}
    transforms = bag.topics[TF_STATIC].count if TF_STATIC in bag.topics else 0
    for message in bag.messages(missing | {TF_STATIC}):
        if message.topic == TF_STATIC:
            calibrator.transforms(bag.deserialize(message))
            transforms -= 1
        elif message.topic in missing:
            missing.discard(message.topic)
            if message.topic in sensors:
                calibrator.frame(sensors[message.topic], header_of(message.data)[1])
                continue
            try:
                calibrator.camera_info(infos[message.topic], bag.deserialize(message))
            except SartmError:
                continue  # all zeros: the camera was not calibrated
        if not missing and transforms <= 0:
            return


def _modality_lines(one: _Chosen, reference: _Chosen, calibrated: bool, remarks: list[str]) -> list[str]:
    topic, is_reference = one.topic, one is reference
    content = topic.content
    assert content is not None  # it was classified as a sensor
    others = [kind for kind in topic.kinds if kind != one.kind]
    fields: list[tuple[str, str, str]] = [
        ("kind", one.kind, f"or {', '.join(others)}" if others else ""),
        ("size", str(list(_size(one, reference))), "height, width" if content.size else "the reference's"),
        ("topic", _text(topic.topic), " ".join(part for part in (content.encoding, content.detail) if part)),
    ]
    if topic.message_type != {"lidar": POINT_CLOUD, "event": EVENT_PACKET}.get(one.kind, IMAGE):
        fields.append(("message", topic.message_type, ""))
    if one.camera_info is not None:
        fields.append(("camera_info", _text(one.camera_info), ""))
    if one.choice.over is not None:
        fields.append((f"# chosen over {_one_line(one.choice.over.topic)}", one.choice.reason, ""))
    encoding = _encoding(one)
    if encoding is not None:
        fields.append(("encoding", encoding, ""))
    fields += _calibration_fields(one, reference, calibrated, remarks)
    if topic.rate_hz is not None and one.kind != "event":
        fields.append(("rate_hz", f"{topic.rate_hz:g}", "diagnostics warn when it is more than 20 % slower"))
    if not is_reference:
        fields += _matching_fields(topic, reference.topic, remarks)
    if topic.unstamped:
        remarks.append(
            f"{one.name}: {topic.unstamped} of its {topic.count} messages have stamp 0 and will be rejected. Let the "
            "driver stamp them; for this recording use --stamps recorded."
        )
    return [f"  {one.name}:", *(_line(*field) for field in fields)]


def _calibration_fields(
    one: _Chosen, reference: _Chosen, calibrated: bool, remarks: list[str]
) -> list[tuple[str, str, str]]:
    assert one.topic.content is not None
    assert reference.topic.content is not None
    aligned = one.topic.frame_id == reference.topic.frame_id and one.topic.content.size == reference.topic.content.size
    if one is reference:
        return [("calibration", "ros", "P of its CameraInfo: points are projected with it")] if calibrated else []
    if aligned:
        return []
    if calibrated:
        fields = [("calibration", "ros", "from CameraInfo and /tf_static")]
        return fields if one.kind == "lidar" else [*fields, ("plane_m", "10.0", "images are warped for this distance")]
    what = "extrinsics: {translation_m: [...], rotation_xyzw: [...]}"
    needed = what if one.kind == "lidar" else f"intrinsics: {{fx, fy, cx, cy}} and {what}, or a homography"
    if one.kind not in ("lidar", "depth"):
        needed += "; depth_from: depth warps it by a depth camera"
    consequence = "nothing can be projected" if one.kind == "lidar" else "its images are assumed to be aligned"
    remarks.append(f"{one.name}: the recording does not calibrate it; {consequence}. Write {needed}.")
    return [("# not calibrated", f"write {needed}", "")]


def _matching_fields(topic: TopicSurvey, reference: TopicSurvey, remarks: list[str]) -> list[tuple[str, str, str]]:
    offset = suggested_offset_s(topic)
    if offset:
        side = "behind" if offset > 0 else "ahead"
        remarks.append(
            f"{topic.topic}: its stamps come from another clock, {abs(offset):.3f} s {side}. "
            "offset_s aligns this recording; synchronise the clocks (chrony, PTP) before the next one."
        )
        return [("tolerance_s", "0.05", ""), ("offset_s", f"{offset:.3f}", "its stamps come from another clock")]
    distance = "" if topic.skew is None else f"99 % are within {topic.skew.largest_ms:g} ms of {reference.topic}"
    return [("tolerance_s", f"{suggested_tolerance_s(topic):g}", distance)]


def _size(one: _Chosen, reference: _Chosen) -> tuple[int, int]:
    for candidate in (one, reference):
        if candidate.topic.content is not None and candidate.topic.content.size is not None:
            return candidate.topic.content.size
    return (480, 640)


def _encoding(one: _Chosen) -> str | None:
    assert one.topic.content is not None
    if one.topic.message_type in (IMAGE, COMPRESSED_IMAGE) and one.kind not in ("rgb", "thermal"):
        deep = "uint8" not in one.topic.content.detail
        return {"depth": "metres", "nir": "counts"}.get(one.kind, "image") if deep else "image"
    return _ENCODINGS.get(one.kind)


def _line(key: str, value: str, comment: str) -> str:
    line, comment = f"    {key}: {value}", _one_line(comment)
    return f"{line:<44} # {comment}" if comment else line


def _one_line(text: str) -> str:
    """What a recording says, for a comment: a line feed in it would begin a field of the rig file."""
    return "".join(character if character.isprintable() else " " for character in text)


def _text(value: str) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).splitlines()[0]


def _ceil(seconds: float) -> float:
    """Rounded to whole milliseconds."""
    return math.ceil(seconds * 1e3) / 1e3
