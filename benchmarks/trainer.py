"""What the trainer costs: our Composer step against a bare PyTorch loop of the same model, data and steps.

    python benchmarks/trainer.py [--repeats 5] [--steps 200] [--json out.json]

Both run in turn in this process on one thread; the figure is the ratio of CPU seconds (wall seconds beside it),
median over the repeats. Loading batches, the schedule and clipping are in both.
"""

import argparse
import json
import statistics
import tempfile
import time

import torch
from torch.nn import functional as F

from nmm.config import RunConfig
from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.corpus.store import Corpus
from nmm.studies import MIXTURE, find_study
from nmm.training.objectives.objective import targets
from nmm.training.parts import assemble
from nmm.training.trainer import make_trainer


def bare(config: RunConfig, corpus: Corpus) -> tuple[torch.nn.Module, float]:
    """The loop that a careful person would write; gives the model and the last loss."""
    parts = assemble(config, corpus)
    model, optimizer = parts.model.module, parts.optimizer
    for batch in parts.batches:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(batch), targets(batch))
        if parts.model.load_balance:
            loss = loss + parts.model.load_balance * model.balance_loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip)
        optimizer.step()
        parts.scheduler.step()
    return model, float(loss.detach())


def held_out(config: RunConfig, corpus: Corpus, model: torch.nn.Module) -> dict[str, float]:
    """Losses by data type [nats per target token]."""
    losses = {}
    model.eval()
    with torch.no_grad():
        for task, batches in assemble(config, corpus).held_out.items():
            total, count = torch.tensor(0.0), 0
            for batch in batches:
                total, count = total + F.cross_entropy(model(batch), targets(batch), reduction="sum"), count + len(targets(batch))
            losses[task] = float(total / count)
    return losses


def ours(config: RunConfig, corpus: Corpus) -> tuple[torch.nn.Module, float]:
    """The same run by Composer, without evaluation; gives the model and the last loss."""
    parts = assemble(config, corpus)
    trainer = make_trainer(parts)
    trainer.fit()
    loss = trainer.state.loss
    return parts.model.module, float(loss["total"] if isinstance(loss, dict) else loss)


def timed(function, *arguments) -> tuple[float, float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    _, loss = function(*arguments)
    return time.process_time() - cpu, time.perf_counter() - wall, loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    smoke = find_study("laptop")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        corpus = embedded_corpus(folder, tokens=args.steps * 600, weights=MIXTURE)
        for width in (16, 32, 64, 96):
            configs = smoke.grid(corpus, widths=(width,), budgets=(args.steps * 520,))
            config = next(iter(configs.values()))
            rows = [(timed(bare, config, corpus), timed(ours, config, corpus)) for _ in range(args.repeats + 1)][1:]
            result = {
                "d_model": width,
                "bare_ms": 1e3 * statistics.median(b[0] for b, _ in rows) / args.steps,
                "ours_ms": 1e3 * statistics.median(o[0] for _, o in rows) / args.steps,
                "cpu_ratio": statistics.median(o[0] / b[0] for b, o in rows),
                "wall_ratio": statistics.median(o[1] / b[1] for b, o in rows),
                "last_loss_difference": max(abs(o[2] - b[2]) for b, o in rows),
            }
            results.append(result)
            print("  ".join(f"{name} {value:.4g}" for name, value in result.items()), flush=True)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
