"""Kernels at the sizes of 932M: the matrix-product rate, attention under the packed mask, the products of experts."""

import time
from collections.abc import Callable
from typing import Any

import torch
from gpu_bench import Bench
from timing import in_turn, ratio
from torch import Tensor
from torch.nn import functional as F

from nmm.models import experts as expert_products
from nmm.models.attention import PackedMask, flex, sdpa


def matrix_rate(bench: Bench) -> float:
    """Rate of bf16 matrix products on random numbers, the median of ten [FLOP/s]."""
    n = 256 if bench.tiny else 8192
    a, b = torch.randn(2, n, n, device=bench.device, dtype=torch.bfloat16)

    def product() -> None:
        torch.mm(a, b)
        bench.wait()

    return 2 * n**3 / sorted(in_turn({"mm": product}, repeats=10, warmup=3, clock=time.perf_counter)["mm"])[5]


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
    milliseconds = {name: 1e3 * sorted(times)[len(times) // 2] for name, times in seconds.items()}
    result = {"rows": rows, "weights_EOI": list(w.shape), "ms": milliseconds}
    if "grouped" not in ways:
        return result | {"grouped": f"torch {torch.__version__} has no grouped_mm"}
    with torch.no_grad():
        error = (ways["loop"](x, w, rows_E).float() - ways["grouped"](x, w, rows_E).float()).abs().max().item()
    tflops = 6 * rows * w[0].numel() / 1e9
    return result | {"loop_over_grouped": ratio(seconds, "loop", "grouped"), "largest_difference": error,
                     "tflops": {name: tflops / ms for name, ms in result["ms"].items()}}
