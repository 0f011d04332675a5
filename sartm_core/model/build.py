"""From a configuration to its network."""

from sartm_core.model.mm_sam_adapter import MMSamAdapter
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import AnyConfig, NetworkConfig

Network = MultiModalNetwork | MMSamAdapter
"""What training, evaluation and export take: both have the same methods."""


def build_network(config: AnyConfig, form: str = "training") -> Network:
    """The network with random weights; `form` is `training` or `inference`, see the classes."""
    return MultiModalNetwork(config, form) if isinstance(config, NetworkConfig) else MMSamAdapter(config, form)
