"""Bare training steps of our models and of those of `transformers`: the largest batch that fits, its time and memory."""

import gc
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from gpu_bench import Bench
from torch import Tensor, nn
from torch.nn import functional as F

from nmm.architectures import LateFusionConfig, ModelConfig
from nmm.config.flops import exact_train_flops, train_flops
from nmm.data.batches.loader import IGNORE
from nmm.models import build
from nmm.training.devices import peak_flops

ROOM = 0.92                 # of the device's memory that a predicted batch may take
ACTIVATIONS = 40            # of a token, for each layer and feature: what the first batch is guessed from [bytes]
LOGITS = 14                 # of a token, for each word of the vocabulary, likewise [bytes]
MOST = 256                  # sequences
PATIENCE = 60               # after which no other batch size is tried: each costs a compilation [s]

Step = Callable[[dict[str, Tensor]], Tensor]
Made = tuple[nn.Module, Step]


def make_ours(bench: Bench, config: ModelConfig) -> Made:
    """Our model and its forward pass, to the loss that is minimised."""
    with torch.device(bench.device):
        model = build(config)
    bench.compile(block for name, part in model.named_modules() if name.split(".")[-1] == "blocks" for block in part)

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
    bench.compile(model.model.layers)

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

    def guess(self, config: ModelConfig) -> int:
        """Sequences of a batch that should fit, a power of two."""
        total = torch.cuda.get_device_properties(0).total_memory
        width = config.n_layers * config.d_model
        if isinstance(config, LateFusionConfig):
            width += config.n_vision_layers * config.d_vision
        sequence = self.bench.context * (ACTIVATIONS * width + LOGITS * config.vocab_size)
        return 2 ** int(math.log2(max(1.0, (ROOM * total - self.fixed()) / sequence)))

    def fixed(self) -> int:
        """Weights, gradients, and two moments [bytes]."""
        return 4 * sum(p.numel() * p.element_size() for p in self.model.parameters())

    def fits(self, config: ModelConfig, sequences: int) -> int | None:
        """Memory at most in two steps [bytes]; None: more than there is."""
        torch.cuda.reset_peak_memory_stats()
        try:
            batch = self.bench.batch(config, sequences)
            for _ in range(2):
                self.step(batch)
            self.bench.wait()
            return torch.cuda.max_memory_allocated()
        except torch.OutOfMemoryError:
            self.optimizer.zero_grad(set_to_none=True)
        return None

    def largest(self, config: ModelConfig) -> int:
        """Sequences of the largest batch that fits: a guess is halved until it does, and doubled while its memory allows.

        Raises:
            RuntimeError: not even one sequence fits.
        """
        if self.bench.device.type != "cuda":
            return 2
        begin, total = time.monotonic(), torch.cuda.get_device_properties(0).total_memory
        sequences, too_many = self.guess(config), MOST + 1
        while sequences:
            peak = self.fits(config, sequences)
            if peak is None:
                free()
                too_many, sequences = sequences, sequences // 2
                continue
            roomy = 2 * sequences < too_many and 2 * peak - self.fixed() < ROOM * total
            if not roomy or time.monotonic() - begin > PATIENCE:
                return sequences
            sequences *= 2
        raise RuntimeError("not even one sequence fits the device's memory")


def free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def measure(bench: Bench, config: ModelConfig, made: Made, seconds: float) -> dict[str, Any]:
    """Tokens a second, memory, and where the time goes, of one model at its largest batch."""
    begin = time.monotonic()
    training = Training(bench, made)
    sequences = training.largest(config)
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
        "compiled": bench.compiled(),
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
    batch, counts = bench.batch(config, row["sequences"]), config.counts
    images = float((batch["modality"] == 1).sum())
    exact = exact_train_flops(
        config, context=bench.context, tokens={"text": row["tokens"] - images, "image": images},
        targets=float((batch["labels"] != IGNORE).sum()), patches_per_image=bench.image_tokens,
    )
    paper = train_flops(counts.N, row["tokens"], N_v=counts.N_v, D_v=images if counts.N_v else 0)
    name = torch.cuda.get_device_name() if bench.device.type == "cuda" else "CPU"
    sheet = peak_flops(name, "bf16")
    rate = 1e3 / row["step_ms"]
    return {"image_share": images / row["tokens"], "exact_flops": exact, "paper_flops": paper, "peak_tflops": peak / 1e12,
            "mfu": exact * rate / peak, "mfu_6ND": paper * rate / peak, "mfu_data_sheet": exact * rate / sheet if sheet else None}
