"""Studies by name, one file each, and the pipeline from a name to its records. Every file of this folder is read: a study is
there as soon as its file is.
"""

import importlib
import pkgutil

from nmm.studies.pipeline import WORK, WORLD_SEED, prepare_corpus, run_study, sources, write_study
from nmm.studies.study import LISTED, MIXTURE, STUDIES, Arm, Study, find_study, register

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "LISTED", "MIXTURE", "STUDIES", "WORK", "WORLD_SEED", "Arm", "Study", "find_study", "prepare_corpus", "register", "run_study",
    "sources", "write_study",
]
