"""What a loss of sensors costs on average, by the public benchmark's definition: see `robustness_benchmark`."""

RATIOS = (0.25, 0.5, 0.75)
"""RMM: the probability that an element is 0."""
LOSS_PROBABILITIES = (0.2, 0.1, 0.05)
"""That one sensor is damaged, of the expectations over EMM's and RMM's cases."""


def expectation(scores: dict[str, float], names: tuple[str, ...], probability: float) -> float:
    """Expected score where each sensor fails on its own with this probability; that all do is left out.

    Args:
        scores: of every non-empty set of sound sensors, by its name, such as `rgb+depth`.
        names: all sensors.
    """
    lost = {case: len(names) - len(case.split("+")) for case in scores}
    weights = {case: probability**gone * (1 - probability) ** (len(names) - gone) for case, gone in lost.items()}
    return sum(scores[case] * weight for case, weight in weights.items()) / sum(weights.values())
