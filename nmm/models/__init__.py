"""The architectures of the study, one file each; `build` makes the one a configuration names."""

import importlib
import pkgutil

from nmm.models.registry import build

__all__ = ["build"]

for _file in pkgutil.iter_modules(__path__):
    if not _file.ispkg:
        importlib.import_module(f"{__name__}.{_file.name}")
