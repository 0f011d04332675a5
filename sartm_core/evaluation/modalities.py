"""Modalities shared by a model and a data set."""

from sartm_core.errors import SartmError
from sartm_core.rig import Rig


def common_modalities(model: Rig, data: Rig) -> tuple[str, ...]:
    """The modalities of equal name, kind and encoding, in the model's order.

    Raises:
        SartmError: there are none.
    """
    shared = tuple(
        own.name
        for own in model.modalities
        for other in data.modalities
        if (own.name, own.kind, getattr(own, "encoding", None))
        == (other.name, other.kind, getattr(other, "encoding", None))
    )
    if not shared:
        raise SartmError(
            f"the model's modalities ({', '.join(model.names)}) and those of '{data.name}' ({', '.join(data.names)}) "
            "have none in common: name, kind and encoding must match."
        )
    return shared
