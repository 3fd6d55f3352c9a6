"""What one GPU does with the models of the study: tokens a second, MFU, memory; against `transformers`; and the kernels.

    python benchmarks/gpu.py [--minutes 8] [--json gpu.json] [--sections kernels,early-932M] [--device cpu --tiny]

Needs PyTorch and numpy alone, and `transformers` for the comparison; not Composer. Every section runs in a process of its own, so
that none spoils the next, and the JSON is written after each measurement: a run that is killed leaves what it has.

- kernels: the bf16 matrix-product rate; FlexAttention against SDPA with a dense mask, and making the mask; grouped matrix
  products against a loop over experts. Forward and backward, in turn.
- models: a bare training step (bf16 autocast, float32 weights, blocks compiled, fused AdamW, clipping) at the largest
  batch that fits, of sequences of 1024 tokens in the study's layout; then the same shapes by `transformers`, compiled
  layer by layer in the same way. Its Llama has no packing mask, no QK-norm and no images, so it does less. Its Mixtral
  is given bf16 weights, without which it has no grouped products.

MFU counts the products of the model alone (`nmm.config.flops.exact_train_flops`), and beside it 6ND; the peak is the measured
rate of 8192^3 products, with the data sheet's beside it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")    # read when CUDA starts
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))    # a GPU machine has the checkout, and nothing installed

import torch
from gpu_bench import MODELS, Bench
from gpu_kernels import attention_kernels, expert_kernels, matrix_rate
from gpu_steps import free, make_ours, make_transformers, measure, utilisation

SECTIONS = ("kernels", *MODELS)
START_SECONDS = 20          # no section starts with less time left


def kernels(bench: Bench) -> None:
    """Attention and experts at the sizes of 932M."""
    bench.put("kernels", matrix_tflops=matrix_rate(bench) / 1e12)
    bench.put("kernels", attention=attention_kernels(bench))
    bench.put("kernels", experts=expert_kernels(bench))


def model_section(bench: Bench, name: str) -> None:
    """Ours, then `transformers` where it has such a model."""
    config = bench.model(name)
    peak = matrix_rate(bench)
    ours = measure(bench, config, make_ours(bench, config), bench.seconds)
    bench.put(name, ours=ours | utilisation(bench, config, ours, peak))
    if config.arch == "late":
        return
    free()
    try:
        made = make_transformers(bench, config)
    except ImportError as error:
        bench.put(name, transformers=f"not measured: {error}")
        return
    theirs = measure(bench, config, made, bench.seconds)
    bench.put(name, transformers=theirs, ours_over_transformers=ours["tokens_per_second"] / theirs["tokens_per_second"])


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What was hoped for, and whether it holds; None where it was not measured."""
    def get(section: str, *path: str) -> float | None:
        value: Any = results.get(section)
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    rows = [("dense MFU at 932M, exact", get("early-932M", "ours", "mfu"), 0.5)]
    rows += [(f"ours / transformers, {name}", get(name, "ours_over_transformers"), 1.15) for name in MODELS if not name.startswith("late")]
    for size in ("275M", "932M"):
        moe, dense = get(f"moe-{size}", "ours", "tokens_per_second"), get(f"early-{size}", "ours", "tokens_per_second")
        rows.append((f"mixture / dense tokens a second at {size} active", moe / dense if moe and dense else None, 0.75))
    return [{"target": name, "value": value, "at_least": least, "holds": None if value is None else value >= least}
            for name, value, least in rows]


@contextmanager
def reported(bench: Bench, section: str) -> Iterator[None]:
    """A section that fails is reported in the results and does not take the others with it."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        bench.put(section, error=f"{type(error).__name__}: {error}"[:2000], traceback=traceback.format_exc()[-4000:])


def apart(args: argparse.Namespace, section: str, bench: Bench, seconds: float) -> None:
    """Run one section in a process of its own, for at most so long, and take over what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.json"
        command = [sys.executable, __file__, "--here", "--sections", section, "--json", str(part), "--device", args.device,
                   "--seconds", str(args.seconds), "--compile", bench.backend] + ["--tiny"] * args.tiny
        try:
            code = subprocess.run(command, check=False, timeout=seconds).returncode
            stopped = {} if code in (0, 1) else {"error": f"the process ended with status {code}"}
        except subprocess.TimeoutExpired:
            stopped = {"error": f"stopped after {seconds:.0f} s"}
        found = json.loads(part.read_text()).get(section, {}) if part.exists() else {}
    bench.results[section] = found      # said by the process that measured it
    bench.put(section, **stopped)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="of all sections; those for which no time is left are named")
    parser.add_argument("--seconds", type=float, default=6.0, help="measured of each model, at least")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    parser.add_argument("--sections", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, to see that everything runs")
    parser.add_argument("--compile", help='backend of torch.compile for the blocks, or "none", which is the default on a CPU')
    parser.add_argument("--here", action="store_true", help="all sections in this process")
    args = parser.parse_args()
    sections = args.sections.split(",")
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}: there are {', '.join(SECTIONS)}")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device: take a machine that has one, or --device cpu --tiny to see that everything runs")
    begin = time.monotonic()
    backend = args.compile or ("inductor" if args.device == "cuda" else "none")
    bench = Bench(torch.device(args.device), args.tiny, args.json, args.seconds, backend)
    bench.put("environment", device=torch.cuda.get_device_name() if args.device == "cuda" else "CPU", torch=torch.__version__,
              python=sys.version.split()[0], tiny=args.tiny, context=bench.context, compile=backend)
    for section in sections:
        left = 60 * args.minutes - (time.monotonic() - begin)
        if left < START_SECONDS:
            bench.put(section, error="not started: no time left")
        elif args.here:
            with reported(bench, section):
                kernels(bench) if section == "kernels" else model_section(bench, section)
            free()
        else:
            apart(args, section, bench, left)
    if not args.here:
        rows = targets(bench.results)
        bench.put("targets", rows=rows, seconds=time.monotonic() - begin)
        for row in rows:
            value = "not measured" if row["value"] is None else f"{row['value']:.3f}, {'holds' if row['holds'] else 'MISSED'}"
            print(f"{row['target']:52} >= {row['at_least']:<5} {value}")
    return int(any("error" in bench.results[section] for section in sections))


if __name__ == "__main__":
    sys.exit(main())
