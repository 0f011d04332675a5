"""The QoS that a recorded topic is played with: what its publishers offered when it was recorded."""

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Qos, QosHistory, QosReliability

from sartm_ros.bag.topics import FoundTopic

LATCHED_BY_CONVENTION = ("/tf_static", "/robot_description")
"""Their subscribers ask for latched ones, and receive nothing else, whatever the recording says (rviz#916)."""
LEAST_DEPTH = 10
MOST_KEPT = 1000


def qos_of(topic: str, found: FoundTopic) -> QoSProfile:
    """Best effort only if all publishers were; latched if one was; as deep as all of them together."""
    unreliable = bool(found.offered) and all(qos.reliability == QosReliability.BEST_EFFORT for qos in found.offered)
    latched = found.latched or topic.endswith(LATCHED_BY_CONVENTION)
    return QoSProfile(
        depth=_depth(found, latched),
        reliability=ReliabilityPolicy.BEST_EFFORT if unreliable and not latched else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _depth(found: FoundTopic, latched: bool) -> int:
    """Of a latched topic exactly what its publishers kept: one player stands for them all."""
    depths = [_kept(qos) for qos in found.offered if latched == found.latched]
    if not latched:
        return max(LEAST_DEPTH, min(sum(depths), MOST_KEPT))
    if not found.latched or not all(depths):  # by convention, or discovery did not tell: everything
        return min(max(found.count, 1), MOST_KEPT)
    return min(sum(depths), MOST_KEPT)


def _kept(qos: Qos) -> int:
    """Messages; 0 where it is not known, or all are kept."""
    return 0 if qos.history == QosHistory.KEEP_ALL else max(int(qos.depth), 0)
