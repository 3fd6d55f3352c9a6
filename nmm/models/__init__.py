"""The architectures of the study, one file each; `build` makes the one a configuration names."""

from torch import nn

from nmm.architectures import ModelConfig
from nmm.models.early_fusion import EarlyFusion
from nmm.models.late_fusion import LateFusion
from nmm.models.moe import SparseEarlyFusion

ARCHITECTURES: dict[str, type[EarlyFusion]] = {"early": EarlyFusion, "late": LateFusion, "moe": SparseEarlyFusion}


def build(config: ModelConfig) -> nn.Module:
    """The model of a configuration, initialised from torch's global generator.

    Raises:
        ValueError: the configuration is of no known architecture.
    """
    arch = getattr(config, "arch", type(config).__name__)
    if arch not in ARCHITECTURES:
        raise ValueError(f"no model of architecture {arch}: known are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[arch](config)
