"""What one GPU does with the models of the study: tokens a second, MFU, memory; against `transformers`; and the kernels.

    python benchmarks/gpu.py [--minutes 8] [--json gpu.json] [--sections kernels,early-932M] [--device cpu --tiny]

Needs PyTorch alone, and `transformers` for the comparison; not Composer. Every section runs in a process of its own, so
that none spoils the next, and the JSON is written after each measurement: a run that is killed leaves what it has.

- kernels: the bf16 matrix-product rate; FlexAttention against SDPA with a dense mask, and making the mask; grouped matrix
  products against a loop over experts. Forward and backward, in turn.
- models: a bare training step (bf16 autocast, float32 weights, blocks compiled, fused AdamW, clipping) at the largest
  batch that fits, of sequences of 1024 tokens in the study's layout; then the same shapes by `transformers`, compiled
  layer by layer in the same way. Its Llama has no packing mask, no QK-norm and no images, so it does less. Its Mixtral
  is given bf16 weights, without which it has no grouped products.

MFU counts the products of the model alone (`nmm.flops.exact_train_flops`), and beside it 6ND; the peak is the measured
rate of 8192^3 products, with the data sheet's beside it.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")    # read when CUDA starts
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))    # a GPU machine has the checkout, and nothing installed

import torch
from synthetic import synthetic_batch
from timing import in_turn, ratio
from torch import Tensor, nn
from torch.nn import functional as F

from nmm.architectures import ModelConfig
from nmm.data.loader import IGNORE
from nmm.devices import peak_flops
from nmm.flops import count, exact_train_flops, train_flops
from nmm.models import build
from nmm.models import experts as expert_products
from nmm.models.attention import PackedMask, flex, sdpa
from nmm.presets import PAPER_EARLY, PAPER_LATE, PAPER_MOE

MODELS = {
    "early-932M": PAPER_EARLY["932M"].model, "moe-932M": PAPER_MOE["932M"].model, "early-275M": PAPER_EARLY["275M"].model,
    "moe-275M": PAPER_MOE["275M"].model, "late-1B": PAPER_LATE["1B"].model,
}
SECTIONS = ("kernels", *MODELS)
ROOM = 0.92                 # of the device's memory that a predicted batch may take
FIRST_BATCH = 8             # sequences; doubled from here
MOST = 256
START_SECONDS = 20          # no section starts with less time left


@dataclass
class Bench:
    """Where and how large everything is run, and the results so far."""

    device: torch.device
    tiny: bool
    path: Path
    seconds: float                          # measured of each model, at least
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def context(self) -> int:
        return 64 if self.tiny else 1024

    @property
    def image_tokens(self) -> int:
        return 16 if self.tiny else 256

    def model(self, name: str) -> ModelConfig:
        small = {"d_model": 64, "n_layers": 2, "n_heads": 2, "vocab_size": 128, "patch_dim": 12, "ffn_multiple": 8}
        if name.startswith("late"):
            small |= {"d_vision": 32, "n_vision_layers": 2, "n_vision_heads": 1}
        return replace(MODELS[name], **small) if self.tiny else MODELS[name]

    def batch(self, config: ModelConfig, sequences: int) -> dict[str, Tensor]:
        return synthetic_batch(sequences, context=self.context, image_tokens=self.image_tokens, vocab_size=config.vocab_size,
                               patch_dim=config.patch_dim, device=self.device)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16)

    def put(self, section: str, **values: Any) -> None:
        """Add to a section's results and write all of them."""
        self.results.setdefault(section, {}).update(values)
        write(self.path, self.results)
        for name, value in values.items():
            shown = {key: entry for key, entry in value.items() if key != "profile"} if isinstance(value, dict) else value
            print(f"{section} {name}: {json.dumps(shown)}", flush=True)


def write(path: Path, results: dict[str, Any]) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    part.replace(path)


def matrix_rate(bench: Bench) -> float:
    """Rate of bf16 matrix products on random numbers, the median of ten [FLOP/s]."""
    n = 256 if bench.tiny else 8192
    a, b = torch.randn(2, n, n, device=bench.device, dtype=torch.bfloat16)

    def product() -> None:
        torch.mm(a, b)
        bench.wait()

    return 2 * n**3 / sorted(in_turn({"mm": product}, repeats=10, warmup=3, clock=time.perf_counter)["mm"])[5]


def kernels(bench: Bench) -> None:
    """Attention and experts at the sizes of 932M."""
    bench.put("kernels", matrix_tflops=matrix_rate(bench) / 1e12)
    bench.put("kernels", attention=attention_kernels(bench))
    bench.put("kernels", experts=expert_kernels(bench))


def _both(bench: Bench, call: Callable[[], Tensor], weight: Tensor, leaves: list[Tensor], backward: bool) -> Callable[[], None]:
    def run() -> None:
        with torch.set_grad_enabled(backward):
            out = call()
        if backward:
            torch.autograd.grad(out, leaves, weight)
        bench.wait()

    return run


def attention_kernels(bench: Bench) -> dict[str, Any]:
    """FlexAttention against SDPA under the packed mask; causal attention without documents is SDPA's fastest, for scale."""
    config, cuda = bench.model("early-932M"), bench.device.type == "cuda"
    batch = bench.batch(config, 2 if bench.tiny else 32)
    mask = PackedMask(batch["document_ids"], batch["span_ids"])
    shape = (len(mask.document_ids), config.n_heads, bench.context, config.head_dim)
    q, k, v, weight = (torch.randn(shape, device=bench.device, dtype=torch.bfloat16) for _ in range(4))
    # torch 2.11 differentiates FlexAttention on CUDA alone, and elsewhere refuses inputs that want a gradient
    leaves = [tensor.requires_grad_(cuda) for tensor in (q, k, v)]
    ways = {"flex": flex(mask, compiled=cuda), "sdpa_dense_mask": sdpa(mask)}
    calls = {name: lambda attend=attend: attend(q, k, v) for name, attend in ways.items()}
    calls["sdpa_causal"] = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True)
    runs = {name: _both(bench, call, weight, leaves, backward=cuda) for name, call in calls.items()}
    runs["flex_mask"] = lambda: (flex(mask, compiled=cuda), bench.wait())
    seconds = in_turn(runs, repeats=3 if bench.tiny else 20, warmup=2, clock=time.perf_counter)
    with torch.no_grad():
        error = (calls["flex"]().float() - calls["sdpa_dense_mask"]().float()).abs().max().item()
    seen = mask.dense().float().mean().item()
    return {"shape_BHLK": shape, "backward": cuda, "visible_share": seen, "largest_difference": error,
            "ms": {name: 1e3 * sorted(times)[len(times) // 2] for name, times in seconds.items()},
            "sdpa_dense_mask_over_flex": ratio(seconds, "sdpa_dense_mask", "flex")}


def expert_kernels(bench: Bench) -> dict[str, Any]:
    """Grouped products against one product per expert, of rows that are spread unevenly."""
    config = bench.model("moe-932M")
    E, D, H = config.n_experts, config.d_model, config.expert_hidden
    rows = 256 if bench.tiny else 32768
    generator = torch.Generator().manual_seed(0)
    expert = torch.multinomial(torch.linspace(1, 3, E), rows, replacement=True, generator=generator)
    rows_E = expert.bincount(minlength=E).to(bench.device)
    x = torch.randn(rows, D, device=bench.device, dtype=torch.bfloat16).requires_grad_()
    w = (torch.randn(E, 2 * H, D, device=bench.device) / D**0.5).bfloat16().requires_grad_()
    weight = torch.randn(rows, 2 * H, device=bench.device, dtype=torch.bfloat16)
    ways = {"loop": expert_products.loop}
    if expert_products.GROUPED is not None:
        ways["grouped"] = expert_products.grouped
    runs = {name: _both(bench, lambda way=way: way(x, w, rows_E), weight, [x, w], backward=True) for name, way in ways.items()}
    seconds = in_turn(runs, repeats=3 if bench.tiny else 20, warmup=2, clock=time.perf_counter)
    result = {"rows": rows, "weights_EOI": list(w.shape), "ms": {name: 1e3 * sorted(times)[len(times) // 2] for name, times in seconds.items()}}
    if "grouped" not in ways:
        return result | {"grouped": f"torch {torch.__version__} has no grouped_mm"}
    with torch.no_grad():
        error = (ways["loop"](x, w, rows_E).float() - ways["grouped"](x, w, rows_E).float()).abs().max().item()
    tflops = 6 * rows * w[0].numel() / 1e9
    return result | {"loop_over_grouped": ratio(seconds, "loop", "grouped"), "largest_difference": error,
                     "tflops": {name: tflops / ms for name, ms in result["ms"].items()}}


Step = Callable[[dict[str, Tensor]], Tensor]
Made = tuple[nn.Module, Step]


def make_ours(bench: Bench, config: ModelConfig) -> Made:
    """Our model and its forward pass, to the loss that is minimised."""
    with torch.device(bench.device):
        model = build(config)
    if bench.device.type == "cuda":
        for name, part in model.named_modules():
            if name.split(".")[-1] == "blocks":
                for block in part:
                    block.compile(dynamic=False)

    def loss(batch: dict[str, Tensor]) -> Tensor:
        with bench.autocast():
            logits = model(batch)
        entropy = F.cross_entropy(logits.float(), batch["labels"][batch["labels"] != IGNORE])
        return entropy + config.load_balance * model.balance_loss if config.arch == "moe" else entropy

    return model, loss


def make_transformers(bench: Bench, config: ModelConfig) -> Made:
    """The same shape in `transformers`: Llama, or Mixtral for a mixture of experts."""
    from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

    shape = {
        "vocab_size": config.vocab_size, "hidden_size": config.d_model, "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads, "num_key_value_heads": config.n_heads, "tie_word_embeddings": False,
        "max_position_embeddings": bench.context, "attn_implementation": "sdpa", "use_cache": False,
    }
    mixture = config.arch == "moe"
    with torch.device(bench.device):
        if mixture:
            model = MixtralForCausalLM(MixtralConfig(
                intermediate_size=config.expert_hidden, num_local_experts=config.n_experts, num_experts_per_tok=config.top_k,
                output_router_logits=True, router_aux_loss_coef=config.load_balance, experts_implementation="grouped_mm", **shape,
            )).bfloat16()
        else:
            model = LlamaForCausalLM(LlamaConfig(intermediate_size=config.d_hidden, **shape))
    model.train()
    if bench.device.type == "cuda":
        for layer in model.model.layers:
            layer.compile(dynamic=False)

    def loss(batch: dict[str, Tensor]) -> Tensor:
        # It shifts labels itself, so that each stands at its own position
        labels = torch.cat((torch.full_like(batch["labels"][:, :1], IGNORE), batch["labels"][:, :-1]), dim=1)
        with torch.autocast(bench.device.type, torch.bfloat16, enabled=not mixture):
            return model(input_ids=batch["input_ids"], labels=labels).loss

    return model, loss


class Training:
    """A model in training on one batch after another."""

    def __init__(self, bench: Bench, made: Made) -> None:
        self.bench, (self.model, self.loss) = bench, made
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=bench.device.type == "cuda")

    def step(self, batch: dict[str, Tensor]) -> Tensor:
        loss = self.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def peak(self, batch: dict[str, Tensor]) -> tuple[int, int]:
        """Memory at most in two steps, and of it what any batch needs: weights, moments, gradients [bytes]."""
        self.step(batch)
        torch.cuda.reset_peak_memory_stats()
        self.step(batch)
        self.bench.wait()
        gradients = sum(p.numel() * p.element_size() for p in self.model.parameters())
        return torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated() + gradients

    def largest(self, config: ModelConfig, deadline: float) -> int:
        """Sequences of the largest batch that fits, `FIRST_BATCH` doubled.

        Each size costs a compilation, so the first one's memory predicts how far to double; what then does not fit is halved.
        """
        if self.bench.device.type != "cuda":
            return 2
        peak, fixed = self.peak(self.bench.batch(config, FIRST_BATCH))
        total = torch.cuda.get_device_properties(0).total_memory
        sequences = FIRST_BATCH
        while 2 * sequences <= MOST and fixed + (peak - fixed) / FIRST_BATCH * 2 * sequences < ROOM * total:
            sequences *= 2
        while sequences > FIRST_BATCH and time.monotonic() < deadline:
            try:
                self.peak(self.bench.batch(config, sequences))
                return sequences
            except torch.OutOfMemoryError:
                self.optimizer.zero_grad(set_to_none=True)
                free()
                sequences //= 2
        return FIRST_BATCH


def free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def measure(bench: Bench, config: ModelConfig, made: Made, seconds: float) -> dict[str, Any]:
    """Tokens a second, memory, and where the time goes, of one model at its largest batch."""
    begin = time.monotonic()
    training = Training(bench, made)
    sequences = training.largest(config, deadline=begin + 90)
    batch = bench.batch(config, sequences)
    losses = [training.step(batch) for _ in range(2)]
    bench.wait()
    cuda = bench.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    setup, times = time.monotonic() - begin, []
    while sum(times) < seconds or len(times) < 5:
        start = time.perf_counter()
        losses.append(training.step(batch))
        bench.wait()
        times.append(time.perf_counter() - start)
    step = sorted(times)[len(times) // 2]
    result = {
        "sequences": sequences, "tokens": sequences * bench.context, "steps": len(times), "step_ms": 1e3 * step,
        "tokens_per_second": sequences * bench.context / step, "setup_seconds": setup, "parameters": training.parameters,
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "first_loss": losses[0].item(), "last_loss": losses[-1].item(), "profile": profile(bench, training, batch),
    }
    if not result["last_loss"] < result["first_loss"]:
        raise ArithmeticError(f"the loss on one repeated batch does not fall: {result['first_loss']} to {result['last_loss']}")
    return result


def profile(bench: Bench, training: Training, batch: dict[str, Tensor]) -> list[list[Any]]:
    """The 20 kernels (operators on a CPU) that take most of one step: name, milliseconds, calls."""
    cuda = bench.device.type == "cuda"
    activity = torch.profiler.ProfilerActivity.CUDA if cuda else torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity]) as profiler:
        training.step(batch)
        bench.wait()
    rows = [(event.self_device_time_total if cuda else event.self_cpu_time_total, event) for event in profiler.key_averages()]
    rows.sort(key=lambda row: -row[0])
    return [[event.key[:90], microseconds / 1e3, event.count] for microseconds, event in rows[:20]]


def utilisation(bench: Bench, config: ModelConfig, row: dict[str, Any], peak: float) -> dict[str, Any]:
    """FLOPs of a step, and MFU of them against the measured peak and the data sheet's."""
    batch, counts = bench.batch(config, row["sequences"]), count(config)
    images = float((batch["modality"] == 1).sum())
    exact = exact_train_flops(
        config, context=bench.context, text_tokens=row["tokens"] - images, image_tokens=images,
        target_tokens=float((batch["labels"] != IGNORE).sum()), patches_per_image=bench.image_tokens,
    )
    paper = train_flops(counts.N, row["tokens"], N_v=counts.N_v, D_v=images if counts.N_v else 0)
    name = torch.cuda.get_device_name() if bench.device.type == "cuda" else "CPU"
    sheet = peak_flops(name, "bf16")
    rate = 1e3 / row["step_ms"]
    return {"image_share": images / row["tokens"], "exact_flops": exact, "paper_flops": paper, "peak_tflops": peak / 1e12,
            "mfu": exact * rate / peak, "mfu_6ND": paper * rate / peak, "mfu_data_sheet": exact * rate / sheet if sheet else None}


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
                   "--seconds", str(args.seconds)] + ["--tiny"] * args.tiny
        try:
            code = subprocess.run(command, check=False, timeout=seconds).returncode
            stopped = {} if code in (0, 1) else {"error": f"the process ended with status {code}"}
        except subprocess.TimeoutExpired:
            stopped = {"error": f"stopped after {seconds:.0f} s"}
        found = json.loads(part.read_text()).get(section, {}) if part.exists() else {}
    bench.put(section, **{**found, **stopped})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="of all sections; those for which no time is left are named")
    parser.add_argument("--seconds", type=float, default=6.0, help="measured of each model, at least")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    parser.add_argument("--sections", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, to see that everything runs")
    parser.add_argument("--here", action="store_true", help="all sections in this process")
    args = parser.parse_args()
    sections = args.sections.split(",")
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}: there are {', '.join(SECTIONS)}")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device: take a machine that has one, or --device cpu --tiny to see that everything runs")
    begin = time.monotonic()
    bench = Bench(torch.device(args.device), args.tiny, args.json, args.seconds)
    bench.put("environment", device=torch.cuda.get_device_name() if args.device == "cuda" else "CPU", torch=torch.__version__,
              python=sys.version.split()[0], tiny=args.tiny, context=bench.context)
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
