"""The architectures of the study, one file each; `build` makes the one a configuration names."""

from torch import nn

from nmm.config import EarlyFusionConfig
from nmm.models.early_fusion import EarlyFusion


def build(config: EarlyFusionConfig) -> nn.Module:
    """The model of a configuration, initialised from torch's global generator.

    Raises:
        ValueError: the configuration is of no known architecture.
    """
    if isinstance(config, EarlyFusionConfig):
        return EarlyFusion(config)
    raise ValueError(f"no model for a {type(config).__name__}: known are EarlyFusionConfig")
