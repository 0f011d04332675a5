"""The protocols of an evaluation, and the variations of every frame that each of them scores."""

from collections.abc import Iterable, Sequence

from sartm_core.errors import SartmError
from sartm_core.evaluation import variations
from sartm_core.evaluation.variations import Variation
from sartm_core.kinds import Modality

OWN = ("clean", "subsets", "noise", "conditions", "faults")
"""What `all` stands for."""
BENCHMARK = ("emm", "rmm", "nm")
"""Of `robustness_benchmark`."""
PROTOCOLS = (*OWN, *BENCHMARK)


def expand(asked: Iterable[str]) -> tuple[str, ...]:
    """The protocols that a user names; `all` is those of `OWN`.

    Raises:
        SartmError: unknown ones.
    """
    names = tuple(dict.fromkeys(name for one in asked for name in (OWN if one == "all" else (one,))))
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown:
        raise SartmError(f"protocol '{unknown[0]}' is unknown. Known: {', '.join(PROTOCOLS)}, all.")
    return names


def need_float_planes(protocols: Iterable[str]) -> bool:
    """Whether what they present is not whole numbers from 0 to 255, even of 8-bit sensors."""
    return not set(BENCHMARK).isdisjoint(protocols)


def variations_of(protocols: Iterable[str], modalities: Sequence[Modality]) -> list[Variation]:
    """Every variation of the protocols; the clean one comes first.

    Args:
        modalities: that data and model share, as the data's rig describes them.

    Raises:
        SartmError: noise on a modality whose scale the rig does not state.
    """
    asked, names = set(protocols), tuple(modality.name for modality in modalities)
    result = [Variation("clean", "+".join(names), lambda planes, rng: planes)]
    if "subsets" in asked:
        result += variations.missing(names)
    if "noise" in asked:
        result += variations.noisy(modalities)
    if asked.isdisjoint(BENCHMARK):
        return result
    from sartm_core.evaluation import robustness_benchmark as benchmark  # needs torch, which a robot has not

    makers = {"emm": benchmark.entirely_missing, "rmm": benchmark.randomly_missing, "nm": benchmark.noisy}
    for protocol in BENCHMARK:
        if protocol in asked:
            result += makers[protocol](modalities)
    return result
