"""Trains runs in one of several processes, for tests/test_execution.py: `python -m tests.processes CORPUS JOBS OUT`.

JOBS is a JSON list of jobs: `run` as `nmm.config.run.to_dict` writes it; `scratch` and `stop_after`, to stop after so many reports
of progress and go on from the checkpoint. OUT gets the records of all.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from nmm.config import from_dict, to_dict
from nmm.data.corpus import store
from nmm.data.corpus.store import Corpus
from nmm.record import RunRecord
from nmm.training.run import train


class Stopped(BaseException):
    """Stands for a kill."""


def run_job(job: dict, corpus: Corpus) -> RunRecord:
    config, scratch = from_dict(job["run"]), Path(job["scratch"]) if "scratch" in job else None
    if "stop_after" in job:
        reports = []

        def stop(tokens: int) -> None:
            reports.append(tokens)
            if len(reports) == job["stop_after"]:
                raise Stopped

        try:
            train(config, corpus, scratch=scratch, progress=stop)
        except Stopped:
            torch.distributed.barrier()
    return train(config, corpus, scratch=scratch, save_weights=job.get("save_weights"))


def main(corpus_folder: str, jobs: str, out: str) -> None:
    torch.set_num_threads(1)
    corpus = store.open(Path(corpus_folder))
    records = [run_job(job, corpus) for job in json.loads(Path(jobs).read_text())]
    plain = [{**asdict(record), "config": to_dict(record.config)} for record in records]
    Path(f"{out}-rank{os.environ['RANK']}.json").write_text(json.dumps(plain))


if __name__ == "__main__":
    main(*sys.argv[1:])
