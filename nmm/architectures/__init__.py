"""The architectures of the study as frozen configurations: early fusion, late fusion, sparse early fusion. No torch here."""

from nmm.architectures.early import EarlyFusionConfig
from nmm.architectures.late import LateFusionConfig
from nmm.architectures.moe import MoEConfig
from nmm.config.model import MODELS

__all__ = ["MODELS", "EarlyFusionConfig", "LateFusionConfig", "MoEConfig", "ModelConfig"]

ModelConfig = EarlyFusionConfig     # what every architecture is: a decoder with its inputs
