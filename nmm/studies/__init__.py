"""Studies by name, and the pipeline from a name to its records."""

from nmm.studies.pipeline import WORK, WORLD_SEED, prepare_corpus, run_study, sources, write_study
from nmm.studies.presets import STUDIES, Study, study

__all__ = ["STUDIES", "WORK", "WORLD_SEED", "Study", "prepare_corpus", "run_study", "sources", "study", "write_study"]
