"""Many runs: families of runs as job files, trained by an executor, resumed after a kill."""

from nmm.sweep.executors import EXECUTORS, Executor, make, parse_options
from nmm.sweep.grid import CHECKPOINT_SECONDS, Summary, sweep, write_jobs
from nmm.sweep.job import Family, Report, read_family, train_family
from nmm.sweep.locks import SCRATCH

__all__ = [
    "CHECKPOINT_SECONDS", "EXECUTORS", "SCRATCH", "Executor", "Family", "Report", "Summary", "make", "parse_options", "read_family",
    "sweep", "train_family", "write_jobs",
]
