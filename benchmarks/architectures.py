"""What an architecture costs on a CPU, at laptop sizes: training steps side by side in one run, in turn, on one thread.

    python benchmarks/architectures.py [--widths 32,64] [--steps 40] [--repeats 7] [--comparisons moe,late,compile] [--json out.json]

- moe: a mixture of 8 experts, one a token, against the dense model of as many active parameters.
- late: late fusion against early fusion at equal compute C a token (Fig. 4's question), in time and in memory: what the
  backward pass needs of the forward pass, and weights, gradients and two moments. Early fusion's width is the one whose C
  comes nearest.
- compile: the same early-fusion model with its blocks compiled, against itself.

Figures are ratios of CPU seconds, medians over the rounds; batches are the laptop study's, loading them is left out.
"""

import argparse
import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from timing import in_turn, ratio
from torch import Tensor
from torch.nn import functional as F

from nmm.architectures import ModelConfig
from nmm.config.flops import exact_train_flops, train_flops
from nmm.data.batches.loader import IGNORE, train_batches
from nmm.data.batches.mixture import Mixture
from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.corpus.store import Corpus
from nmm.models import build
from nmm.studies import MIXTURE, Arm, find_study

BATCH = 4               # sequences of a step, the laptop study's
EARLY_HEADS = range(12, 25, 2)      # widths of a head about as wide as the laptop study's 16
EARLY_WIDTHS = sorted({n * head for head in EARLY_HEADS for n in range(1, 17)})

Batches = list[dict[str, Tensor]]


def architecture(arch: str, width: int, corpus: Corpus) -> ModelConfig:
    """The laptop study's model of an architecture and a width."""
    return find_study("laptop").model(width, vocab_size=corpus.vocab_size, patch_dim=corpus.patch_dim, arm=Arm(name=arch, arch=arch))


def widened(config: ModelConfig, width: int) -> ModelConfig:
    """A model of one of `EARLY_WIDTHS`, with heads as near to 16 wide as can be."""
    head = min((head for head in EARLY_HEADS if width % head == 0), key=lambda head: abs(head - 16))
    return replace(config, d_model=width, n_heads=width // head)


class Training:
    """A model in training, step by step over the same batches."""

    def __init__(self, config: ModelConfig, batches: Batches, compiled: bool = False) -> None:
        self.config, self.batches = config, batches
        self.model = build(config)
        if compiled:
            for block in self.model.blocks:
                block.compile()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        entropy = F.cross_entropy(self.model(batch), batch["labels"][batch["labels"] != IGNORE])
        return entropy + self.config.load_balance * self.model.balance_loss if self.config.arch == "moe" else entropy

    def __call__(self) -> None:
        for batch in self.batches:
            self.optimizer.zero_grad(set_to_none=True)
            self.loss(batch).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()

    def memory(self) -> dict[str, int]:
        """What the backward pass of one step keeps of the forward pass, and the training state [bytes]."""
        weights = {parameter.untyped_storage().data_ptr() for parameter in self.model.parameters()}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self.loss(self.batches[0])
        return {"activation_bytes": sum(kept.values()), "state_bytes": 16 * self.config.counts.all}


def paper_flops(config: ModelConfig, batches: Batches) -> float:
    """C of a token, 6 (N_v D_v + N D) / D [FLOPs]."""
    tokens = sum(int((batch["document_ids"] >= 0).sum()) for batch in batches)
    images = sum(int((batch["modality"] == 1).sum()) for batch in batches)
    counts = config.counts
    return train_flops(counts.N, tokens, N_v=counts.N_v, D_v=images if counts.N_v else 0) / tokens


def exact_flops(config: ModelConfig, batches: Batches, patches: int) -> float:
    """All matrix products of a token [FLOPs]."""
    tokens = sum(int((batch["document_ids"] >= 0).sum()) for batch in batches)
    images = sum(int((batch["modality"] == 1).sum()) for batch in batches)
    return exact_train_flops(
        config, context=batches[0]["input_ids"].shape[1], tokens={"text": tokens - images, "image": images},
        targets=sum(int((batch["labels"] != IGNORE).sum()) for batch in batches), patches_per_image=patches,
    ) / tokens


def side_by_side(ways: dict[str, Training], repeats: int, steps: int) -> dict[str, Any]:
    """Milliseconds of a step of each, and the ratio of the first to the second."""
    seconds = in_turn(ways, repeats=repeats)
    first, second = ways
    return {f"{name}_ms": 1e3 * sorted(times)[len(times) // 2] / steps for name, times in seconds.items()} | {
        "time_ratio": ratio(seconds, first, second)
    }


def moe(width: int, corpus: Corpus, batches: Batches, repeats: int) -> dict[str, Any]:
    sparse, dense = architecture("moe", width, corpus), architecture("early", width, corpus)
    assert sparse.counts.N == dense.counts.N, "equal active parameters"
    ways = {"moe": Training(sparse, batches), "dense": Training(dense, batches)}
    return {"N": dense.counts.N, "n_total": sparse.counts.n_total, **side_by_side(ways, repeats, len(batches))}


def late(width: int, corpus: Corpus, batches: Batches, repeats: int) -> dict[str, Any]:
    fused_late = architecture("late", width, corpus)
    C = paper_flops(fused_late, batches)
    early = min((widened(architecture("early", width, corpus), w) for w in EARLY_WIDTHS),
                key=lambda config: abs(paper_flops(config, batches) / C - 1))
    spans = batches[0]["span_ids"]
    patches = int((spans == 0).sum(1).max())
    ways = {"early": Training(early, batches), "late": Training(fused_late, batches)}
    memory = {name: training.memory() for name, training in ways.items()}
    times, flops = side_by_side(ways, repeats, len(batches)), paper_flops(early, batches) / C
    return {
        "early_width": early.d_model, "flops_ratio": flops,
        "exact_flops_ratio": exact_flops(early, batches, patches) / exact_flops(fused_late, batches, patches),
        **times, "time_ratio_at_equal_C": times["time_ratio"] / flops,     # widths are whole numbers, so C is nearly equal
        **{f"{part}_ratio": memory["early"][f"{part}_bytes"] / memory["late"][f"{part}_bytes"] for part in ("activation", "state")},
        "memory": memory,
    }


def compiled(width: int, corpus: Corpus, batches: Batches, repeats: int) -> dict[str, Any] | str:
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        return "not measured: torch.compile needs a C++ compiler on a CPU, and there is none: install g++"
    config = architecture("early", width, corpus)
    return side_by_side({"compiled": Training(config, batches, compiled=True), "eager": Training(config, batches)}, repeats, len(batches))


COMPARISONS = {"moe": moe, "late": late, "compile": compiled}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default="32,64")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--comparisons", default=",".join(COMPARISONS))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    names = args.comparisons.split(",")
    if unknown := set(names) - set(COMPARISONS):
        parser.error(f"no comparison {', '.join(sorted(unknown))}: there are {', '.join(COMPARISONS)}")
    torch.set_num_threads(1)
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        corpus = embedded_corpus(folder, tokens=args.steps * 600, weights=MIXTURE)
        batches = list(train_batches(Mixture(corpus, MIXTURE, seed=0), batch_size=BATCH, steps=args.steps))
        for name in names:
            for width in map(int, args.widths.split(",")):
                row = results.setdefault(name, {})[width] = COMPARISONS[name](width, corpus, batches, args.repeats)
                print(f"{name}, d = {width}: {row if isinstance(row, str) else json.dumps(row)}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
