"""`python -m nmm sweep`: prepare the corpus, train what is missing, say where the records are."""

import argparse

from nmm.cli.arguments import path
from nmm.studies import LISTED, STUDIES, run_study, write_study
from nmm.sweep import CHECKPOINT_SECONDS, EXECUTORS
from nmm.sweep.executors import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="laptop", help=f"study to train: {', '.join([*STUDIES, *LISTED])} (default: laptop)")
    parser.add_argument("--runs-dir", type=path, help="folder for the records (default: work/runs/PRESET)")
    parser.add_argument("--data", type=path, help="folder of real data; default: the generated corpus")
    parser.add_argument("--corpus-dir", type=path, help="folder for the prepared corpus (default: one under work/corpora)")
    parser.add_argument("--max-epochs", type=int, help="how often the data may be repeated (default: the preset's)")
    parser.add_argument("--jobs", "-j", type=int,
                        help="families trained at a time (default: two processes of one thread each, or all at once on a cluster)")
    parser.add_argument("--executor", default="local",
                        help=f"who trains: {', '.join(EXECUTORS)} (default: local, processes of this machine)")
    parser.add_argument("--retry-failed", action="store_true", help="train failed runs again")
    parser.add_argument("--no-branch", action="store_true",
                        help="train every budget from its start, not as a branch of the longest one's trunk; the losses are the same")
    parser.add_argument("--checkpoint-seconds", type=float, default=CHECKPOINT_SECONDS,
                        help="time between checkpoints of a run, and so what a kill costs (default: %(default)s)")
    parser.add_argument("--write-jobs", type=path, metavar="DIR",
                        help="train nothing; write a file for each family of runs (one model in all its budgets), "
                             "to be launched in several processes: composer -n 8 -m nmm.sweep.launch DIR/FAMILY.json")
    parser.add_argument("--dry-run", action="store_true",
                        help="train nothing, read no data: list the runs, and what they take on --gpu at --mfu")
    parser.add_argument("--gpu", default="H100", help="of --dry-run: type of GPU (default: %(default)s)")
    parser.add_argument("--mfu", type=float, default=0.4,
                        help="of --dry-run: share of the GPU's peak FLOPs/s that training reaches (default: %(default)s)")
    parser.add_argument("--gpu-memory", type=float, metavar="GB",
                        help="of --dry-run: of one GPU, in 10^9 bytes (default: as its data sheet has it)")
    options.add_options(parser.add_argument_group("options of executors"), EXECUTORS)


def run(args: argparse.Namespace) -> int:
    if args.dry_run:
        from nmm.cli.dry_run import show

        return show(args.preset, gpu=args.gpu, mfu=args.mfu, gigabytes=args.gpu_memory)
    places = {"runs_dir": args.runs_dir, "data": args.data, "corpus_dir": args.corpus_dir, "max_epochs": args.max_epochs}
    if args.write_jobs:
        jobs = write_study(args.preset, args.write_jobs, **places)
        print(f"{len(jobs)} families of runs in {args.write_jobs}; launch one: composer -n 2 -m nmm.sweep.launch {jobs[0]}")
        return 0
    summary, runs_dir = run_study(
        args.preset, **places, jobs=args.jobs, executor=args.executor, options=options.given(args, EXECUTORS),
        retry_failed=args.retry_failed, branch=not args.no_branch, checkpoint_seconds=args.checkpoint_seconds,
    )
    print(summary)
    print(f"records: {runs_dir}")
    return 0 if summary.whole else 1
