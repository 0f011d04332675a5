"""From a configuration to its network."""

from sartm_core.model.early_fusion import EarlyFusionNetwork
from sartm_core.model.mm_sam_adapter import MMSamAdapter
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import AnyConfig, NetworkConfig

Network = MultiModalNetwork | MMSamAdapter
"""What training, evaluation and export take: both have the same methods."""


def build_network(config: AnyConfig, form: str = "training") -> Network:
    """The network with random weights; `form` is `training` or `inference`, see the classes."""
    if not isinstance(config, NetworkConfig):
        return MMSamAdapter(config, form)
    return EarlyFusionNetwork(config, form) if config.fusion == "early" else MultiModalNetwork(config, form)
