"""One family of runs from a file, in as many processes as it is launched in.

    composer -n 8 -m nmm.sweep.launch FAMILY.json
    torchrun --nproc-per-node 8 -m nmm.sweep.launch FAMILY.json

`nmm.sweep.write_jobs` writes such files for the runs of a grid. A finished run is not trained again; a killed one goes on from its
checkpoint, also with another number of processes. On SIGTERM and SIGUSR2 it writes one first. All processes must see the same folders.
Sharding, precision and the rest of `run.execution` are edited in the file: see `nmm.config.run.ExecutionConfig`.
"""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from nmm import record as records
from nmm.sweep.executors.worker import get_ready
from nmm.sweep.job import Report, read_family, train_family

STOPPED = 75        # exit status of one that was asked to stop: to be tried again


def main(argv: list[str] | None = None) -> int:
    """Train the runs of one file; 0: all finished, 1: one failed, 2: bad input or other hands, in one line; 75: asked to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m nmm.sweep.launch", description="Train one family of runs, in all processes that are launched.")
    parser.add_argument("family", type=Path, help="JSON file of its runs, see nmm.sweep.write_jobs")
    args = parser.parse_args(argv)
    ends: dict[str, Report] = {}
    try:
        family = read_family(args.family)
        stop = get_ready(threads=None)
        from nmm.training.execution import is_first

        first = is_first()
        with tqdm(total=family.runs[0].tokens, unit="tok", unit_scale=True, disable=not first) as bar:
            def report(said: Report) -> None:
                if said.kind == "begun":
                    bar.reset(next(run.tokens for run in family.runs if run.id == said.run))
                    bar.set_description(f"training {said.run}")
                elif said.kind == "progress":
                    bar.update(said.tokens)
                else:
                    ends[said.run] = said

            train_family(family, report, stop)
        for said in ends.values():
            if said.kind == "busy":
                raise ValueError(f"{said.reason}: wait for it, or end it")
            if said.kind == "refused":
                raise ValueError(f"run {said.run}: {said.reason}")
    except (ValueError, OSError) as error:
        print(f"nmm.sweep.launch: {error}", file=sys.stderr)
        return 2
    for run, said in ends.items() if first else ():
        if said.kind == "stopped":
            print(f"run {run} {said.reason} by {stop.signal.name}: the same command goes on from there")
            continue
        path = Path(family.runs_dir) / f"{run}.json"
        record = records.read(path)
        found = f"L = {record.L:.4f}" if record.L else record.reason or record.status
        print(f"run {run} {record.status} in {record.processes} processes: {found}; record: {path}")
    if any(said.kind == "stopped" for said in ends.values()):
        return STOPPED
    return 1 if any(said.kind == "failed" for said in ends.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
