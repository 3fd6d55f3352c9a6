"""One big run from a file, in as many processes as it is launched in.

    composer -n 8 -m nmm.sweep.launch CONFIG.json
    torchrun --nproc-per-node 8 -m nmm.sweep.launch CONFIG.json

`write_jobs` writes such files for the runs of a grid. A finished run is not trained again; a killed one goes on from its
checkpoint, also with another number of processes. All processes must see the same folders. Sharding, precision and the rest of
`run.execution` are edited in the file: see `nmm.config.run.ExecutionConfig`.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nmm import record as records
from nmm.config import RunConfig, from_dict, to_dict
from nmm.data.corpus import store
from nmm.data.files import write_json
from nmm.sweep.locks import SCRATCH, lock


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run and where its parts are; paths are relative to where the command is called."""

    run: RunConfig
    corpus: str                                 # folder of the prepared corpus
    runs_dir: str                               # folder of the records; checkpoints go to .scratch in it
    entropy: dict[str, float] | None = None     # the generator's, by data type [nats per target token]
    weights: dict[str, str] = field(default_factory=dict)   # files that run.init names, by part: decoder, encoder
    save_weights: str | None = None             # where the trained model goes, as safetensors
    checkpoint_seconds: float = 600.0           # what a kill can cost [s]


def write_jobs(
    grid: Mapping[str, RunConfig], folder: str | Path, *, corpus: str | Path, runs_dir: str | Path,
    entropy: dict[str, float] | None = None,
) -> list[Path]:
    """A file for each run of a grid, `folder/<run id>.json`.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, run in grid.items():
        job = Job(run=run, corpus=str(corpus), runs_dir=str(runs_dir), entropy=entropy)
        paths.append(folder / f"{name}.json")
        write_json(paths[-1], {**asdict(job), "run": to_dict(run)})
    return paths


def read_job(path: str | Path) -> Job:
    """Read a file of `write_jobs`, edited perhaps.

    Raises:
        ValueError: it is no JSON, or a key is unknown, missing or wrong; the message names file and key.
        OSError: it cannot be read.
    """
    path = Path(path)
    try:
        plain = json.loads(path.read_text())
        return Job(**_checked(plain))
    except ValueError as error:
        raise ValueError(f"{path} is no job: {error}") from error


def _checked(plain: Any) -> dict[str, Any]:
    known = {item.name: item for item in fields(Job)}
    needed = {name: dict if name == "run" else str for name, item in known.items() if item.default is item.default_factory}
    given = plain if isinstance(plain, dict) else {}
    if unknown := sorted(given.keys() - known.keys()):
        raise ValueError(f"unknown key {unknown[0]!r}: valid are {', '.join(known)}")
    if missing := [name for name in needed if name not in given]:
        raise ValueError(f"key {missing[0]!r} is missing: needed are {', '.join(needed)}")
    if wrong := [name for name, kind in needed.items() if not isinstance(given[name], kind)]:
        raise ValueError(f"{wrong[0]} must be {'an object' if wrong[0] == 'run' else 'text'}: got {given[wrong[0]]!r}")
    return {**given, "run": from_dict(given["run"])}


def run_job(job: Job) -> records.RunRecord:
    """Train a run in all processes of this launch, unless its record is there already; the first process writes the record.

    Returns:
        The record, in every process.
    Raises:
        ValueError, OSError: as `nmm.training.run.train`; another launch or sweep trains the run; its record cannot be read.
    """
    from nmm.training import execution
    from nmm.training.run import train

    place = execution.start(job.run)
    folder, scratch = Path(job.runs_dir), Path(job.runs_dir) / SCRATCH / job.run.id
    corpus = store.open(job.corpus)
    with ExitStack() as held:
        def begin() -> records.RunRecord | None:
            if not held.enter_context(lock(scratch)):
                raise ValueError(f"run {job.run.id} is being trained in {folder} by another launch or sweep: wait for it, or end it")
            path = folder / f"{job.run.id}.json"
            return records.read(path) if path.exists() else None

        record = execution.agreed(begin)
        if record is None:
            first = place.rank == 0
            bar = tqdm(total=job.run.tokens, unit="tok", unit_scale=True, desc=f"training {job.run.id}", disable=not first)
            with bar:
                record = train(
                    job.run, corpus, entropy=job.entropy, scratch=scratch,
                    checkpoint_seconds=job.checkpoint_seconds, weights=job.weights, save_weights=job.save_weights, progress=bar.update,
                )
            if first:
                records.write(record, folder)
        execution.agreed(lambda: shutil.rmtree(scratch, ignore_errors=True))
    return record


def main(argv: list[str] | None = None) -> int:
    """Train the run of one file; 0: finished, 1: the loss diverged, 2: bad input, in one line."""
    parser = argparse.ArgumentParser(prog="python -m nmm.sweep.launch", description="Train one run, in all processes that are launched.")
    parser.add_argument("config", type=Path, help="the run's JSON file, see nmm.sweep.launch.write_jobs")
    args = parser.parse_args(argv)
    try:
        job = read_job(args.config)
        record = run_job(job)
    except (ValueError, OSError) as error:
        print(f"nmm.training.run: {error}", file=sys.stderr)
        return 2
    from nmm.training.execution import is_first

    if is_first():
        path = Path(job.runs_dir) / f"{job.run.id}.json"
        found = f"L = {record.L:.4f}" if record.L else record.reason or record.status
        print(f"run {job.run.id} {record.status} in {record.processes} processes: {found}; record: {path}")
    return 0 if record.status == "finished" else 1


if __name__ == "__main__":
    raise SystemExit(main())
