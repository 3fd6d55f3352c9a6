"""The architectures of the study as frozen configurations, and whatever other file stands in this folder. No torch
here.

A file is one architecture: its configuration, its parameters by group and its FLOPs by part.
"""

import importlib
import pkgutil

from nmm.architectures.contrast import ContrastConfig
from nmm.architectures.early import EarlyFusionConfig
from nmm.architectures.late import LateFusionConfig
from nmm.architectures.moba import MoBAConfig
from nmm.architectures.moe import MoEConfig
from nmm.config.model import MODELS, ModelConfig

__all__ = ["MODELS", "ContrastConfig", "EarlyFusionConfig", "LateFusionConfig", "MoBAConfig", "MoEConfig", "ModelConfig"]

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")
