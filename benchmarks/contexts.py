"""What a training step costs against the length of the context: full and block-sparse attention side by side, in turn.

    python benchmarks/contexts.py [--contexts 1024,2048,..,32768] [--width 64] [--repeats 3] [--backends sdpa] [--json out.json]

One sequence of text, one document, through a model of the study's depth. Block-sparse attention keeps the paper's sparsity at every
context, k B / L = 3 / 16: three blocks of a sixteenth of the context. Figures are seconds of a step, forward, backward and AdamW,
medians over the rounds, and bytes: on a CPU what the backward pass keeps of the forward pass and the masks, on CUDA the most that was
held. With `--backends sdpa` block-sparse attention as a mask over all scores stands beside.

FlexAttention, on CUDA, compiles for every context: the first round, which does not count, takes minutes.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from architectures import Training
from timing import in_turn, ratio

from nmm.architectures import MoBAConfig
from nmm.config.flops import exact_train_flops

CONTEXTS = (1024, 2048, 4096, 8192, 16384, 32768)
LAYERS, HEADS, VOCABULARY = 3, 2, 756
BLOCKS, READ = 16, 3        # of a context, and how many of them a query reads: the paper's 3 x 512 of 8192


def model(width: int, context: int, full: bool) -> MoBAConfig:
    """The model at a context."""
    return MoBAConfig(
        d_model=width, n_layers=LAYERS, n_heads=HEADS, vocab_size=VOCABULARY, patch_dim=0, ffn_multiple=8,
        block_length=context // BLOCKS, blocks_read=READ, full_layers=LAYERS if full else 0,
    )


def document(context: int, device: torch.device) -> dict[str, torch.Tensor]:
    """A batch of one document of text that fills the context."""
    ids = torch.randint(VOCABULARY, (1, context), device=device)
    labels = torch.cat((ids[:, 1:], ids.new_full((1, 1), -100)), dim=1)
    none = torch.zeros_like(ids)
    return {"input_ids": ids, "labels": labels, "document_ids": none, "span_ids": none - 1, "modality": none}


def most_memory(training: Training, device: torch.device) -> int:
    """What a step holds [bytes], see the top of this file."""
    if device.type != "cuda":
        return training.memory()["activation_bytes"]
    torch.cuda.reset_peak_memory_stats()
    training()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def measure(width: int, context: int, repeats: int, backends: list[str], device: torch.device) -> dict[str, Any]:
    """Seconds and bytes of a step of each kind of attention at one context, and their exact FLOPs a token."""
    batches = [document(context, device)]
    ways = {}
    for name in ("full", "block-sparse", *(f"block-sparse, {backend}" for backend in backends)):
        ways[name] = Training(model(width, context, name == "full"), batches)
        ways[name].model.to(device)
        ways[name].model.attention_backend = name.partition(", ")[2] or "auto"

    def stepped(training: Training) -> Any:
        def step() -> None:
            training()
            if device.type == "cuda":
                torch.cuda.synchronize()
        return step

    seconds = in_turn({name: stepped(training) for name, training in ways.items()}, repeats=repeats,
                      clock=time.perf_counter if device.type == "cuda" else time.process_time)
    flops = {name: exact_train_flops(training.config, context=context, tokens={"text": context}, targets=context - 1) / context
             for name, training in ways.items()}
    return {
        "seconds": {name: sorted(times)[len(times) // 2] for name, times in seconds.items()},
        "time_ratio": ratio(seconds, "block-sparse", "full"), "flops_ratio": flops["block-sparse"] / flops["full"],
        "bytes": {name: most_memory(training, device) for name, training in ways.items()}, "flops_per_token": flops,
    }


def crossing(results: dict[str, dict[str, Any]]) -> int | None:
    """The shortest context measured from which on block-sparse attention is the faster one; None: at none."""
    first = None
    for context, found in results.items():
        first = (first or int(context)) if found["time_ratio"] < 1 else None
    return first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contexts", default=",".join(map(str, CONTEXTS)), help="multiples of 16, the shortest first [tokens]")
    parser.add_argument("--width", type=int, default=64, help="of the model [features]")
    parser.add_argument("--repeats", type=int, default=3, help="rounds that count")
    parser.add_argument("--backends", default="", help="of block-sparse attention, beside the device's own: sdpa")
    parser.add_argument("--json", type=Path, help="file for the results")
    args = parser.parse_args()
    contexts = sorted(int(context) for context in args.contexts.split(","))
    if any(context < BLOCKS or context % BLOCKS for context in contexts):
        parser.error(f"contexts must be multiples of {BLOCKS}: got {args.contexts}")
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backends = [name for name in args.backends.split(",") if name]
    results = {}
    for context in contexts:
        results[str(context)] = found = measure(args.width, context, args.repeats, backends, device)
        print(f"{context:>6} tokens: " + "; ".join(f"{name} {seconds:.3f} s, {found['bytes'][name] / 2**20:,.0f} MiB"
                                                   for name, seconds in found["seconds"].items())
              + f"; time {found['time_ratio']:.2f}, FLOPs {found['flops_ratio']:.2f} of full", flush=True)
        if args.json:       # after each: long contexts may not fit
            said = {"device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU, one thread", "width": args.width,
                    "layers": LAYERS, "heads": HEADS, "contexts": results, "crossing": crossing(results)}
            args.json.write_text(json.dumps(said, indent=1) + "\n")
    at = crossing(results)
    print(f"block-sparse attention is the faster from {at} tokens on" if at else "full attention is the faster at the longest context")


if __name__ == "__main__":
    main()
