"""What a run is: frozen configurations and the content hash that names one. No torch here."""

from nmm.config.modalities import GENERATED, INPUTS, KINDS, MODALITIES, TASKS, Modality
from nmm.config.run import (
    DataConfig,
    ExecutionConfig,
    InitConfig,
    OptimConfig,
    Origin,
    RunConfig,
    content_hash,
    flat,
    from_dict,
    to_dict,
)

__all__ = [
    "GENERATED", "INPUTS", "KINDS", "MODALITIES", "TASKS", "DataConfig", "ExecutionConfig", "InitConfig", "Modality", "OptimConfig",
    "Origin",
    "RunConfig", "content_hash", "flat", "from_dict", "to_dict",
]
