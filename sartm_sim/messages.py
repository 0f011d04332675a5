"""The simulated rig's measurements as ROS messages, for the live node and `sartm sim record`."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.calibration import LIDAR_LOOKS_AHEAD, Extrinsics, Intrinsics
from sartm_core.kinds import POINT_CLOUD
from sartm_core.rig import Modality, Rig
from sartm_core.sensing.evt3 import encode_evt3
from sartm_ros.decoding.images import MessageFactory, header, image_message
from sartm_ros.decoding.point_clouds import cloud_fields
from sartm_sim.simulation.scenario import Phase

ROBOT_FRAME = "base_link"
TRUTH_TOPIC, PHASE_TOPIC, TF_STATIC_TOPIC = "/sim/truth", "/sim/phase", "/tf_static"
EVENT_PACKET_S = 0.01
_ENCODINGS = {("uint8", 3): "rgb8", ("uint8", 2): "mono8"}
"""By dtype and number of axes; everything else is mono16."""


def frame_id(rig: Rig, name: str) -> str:
    """The tf frame of a sensor; cameras at the reference's position share its frame."""
    modality = rig.modality(name)
    own = modality.extrinsics is not None or modality.kind == "lidar"
    return f"sim_{name}" if modality.kind == "lidar" else f"sim_{name if own else rig.reference}_optical"


def sensor_messages(
    make: MessageFactory,
    rig: Rig,
    modality: Modality,
    raw: NDArray[Any],
    stamp_ns: int,
    drive_start_ns: int,
    sent: int = 0,
) -> list[tuple[int, Any]]:
    """The messages a driver would publish for one measurement, as (stamp, message).

    One message, but for events, which come in packets of 10 ms, stamped with their first event.

    Args:
        raw: of `SimulatedFrame.raw`.
        stamp_ns: of the measurement.
        drive_start_ns: the stamp at which the drive began: zero on the events' clock.
        sent: packets that this sensor has sent before; they are counted in `seq`.
    """
    frame = frame_id(rig, modality.name)
    if modality.kind == "lidar":
        fields = cloud_fields(raw, lambda **field: make("sensor_msgs/msg/PointField", **field))
        return [(stamp_ns, make(POINT_CLOUD, header=header(make, stamp_ns, frame), **fields))]
    if modality.kind == "event":
        return _event_packets(make, modality, raw, drive_start_ns, frame, sent)
    if modality.kind == "depth":
        encoding = "16UC1" if raw.dtype == np.uint16 else "32FC1"
    else:
        encoding = _ENCODINGS.get((str(raw.dtype), raw.ndim), "mono16")
    return [(stamp_ns, image_message(make, raw, encoding, header(make, stamp_ns, frame)))]


def _event_packets(
    make: MessageFactory, modality: Modality, events: NDArray[Any], drive_start_ns: int, frame: str, sent: int
) -> list[tuple[int, Any]]:
    packets: list[tuple[int, Any]] = []
    slots = events["t"] // round(EVENT_PACKET_S * 1e6)
    for part in np.split(events, np.flatnonzero(np.diff(slots)) + 1):
        if not len(part):
            continue
        stamp = drive_start_ns + int(part["t"][0]) * 1000
        packet = make(
            modality.message,
            header=header(make, stamp, frame),
            height=modality.size[0],
            width=modality.size[1],
            seq=sent + len(packets),
            time_base=drive_start_ns,
            encoding="evt3",
            is_bigendian=False,
            events=encode_evt3(part),
        )
        packets.append((stamp, packet))
    return packets


def phase_text(phase: Phase, start_ns: int) -> str:
    """The JSON of /sim/phase."""
    described = phase.model_dump(mode="json", include={"name", "condition", "unplugged", "faults"})
    return json.dumps({"start_ns": start_ns, **described})


def camera_info(make: MessageFactory, intrinsics: Intrinsics, size: tuple[int, int], stamped: Any) -> Any:
    """A sensor_msgs/CameraInfo without distortion."""
    k = intrinsics.matrix - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]  # CameraInfo has the centre of the first pixel at 0
    region = make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return make(
        "sensor_msgs/msg/CameraInfo",
        header=stamped,
        height=size[0],
        width=size[1],
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=k.ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack([k, np.zeros((3, 1))]).ravel(),
        binning_x=0,
        binning_y=0,
        roi=region,
    )


def static_transforms(make: MessageFactory, rig: Rig, camera_height_m: float, stamp_ns: int) -> Any:
    """A tf2_msgs/TFMessage: the reference camera on the robot, every other sensor in the reference's frame."""
    reference = frame_id(rig, rig.reference)
    optical = Extrinsics(translation_m=(0.0, 0.0, camera_height_m), rotation_xyzw=(-0.5, 0.5, -0.5, 0.5))
    transforms = [_transform(make, ROBOT_FRAME, reference, optical, stamp_ns)]
    for modality in rig.modalities:
        frame = frame_id(rig, modality.name)
        if frame != reference:
            pose = modality.extrinsics or LIDAR_LOOKS_AHEAD
            transforms.append(_transform(make, reference, frame, pose, stamp_ns))
    return make("tf2_msgs/msg/TFMessage", transforms=transforms)


def _transform(make: MessageFactory, parent: str, child: str, pose: Extrinsics, stamp_ns: int) -> Any:
    x, y, z = pose.translation_m
    qx, qy, qz, qw = pose.rotation_xyzw
    return make(
        "geometry_msgs/msg/TransformStamped",
        header=header(make, stamp_ns, parent),
        child_frame_id=child,
        transform=make(
            "geometry_msgs/msg/Transform",
            translation=make("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
            rotation=make("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
        ),
    )
