"""Many runs: families of runs as job files, trained by an executor, resumed after a kill."""

from nmm.sweep.executors import EXECUTORS, Executor
from nmm.sweep.grid import Summary, sweep, write_jobs
from nmm.sweep.job import Family, Report, read_family, train_family
from nmm.sweep.locks import SCRATCH

__all__ = ["EXECUTORS", "SCRATCH", "Executor", "Family", "Report", "Summary", "read_family", "sweep", "train_family", "write_jobs"]
