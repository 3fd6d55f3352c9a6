"""What a run is: frozen configurations and the content hash that names one. No torch here."""

from nmm.config.run import (
    MODALITIES,
    TASKS,
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
    "MODALITIES", "TASKS", "DataConfig", "ExecutionConfig", "InitConfig", "OptimConfig", "Origin", "RunConfig", "content_hash", "flat",
    "from_dict", "to_dict",
]
