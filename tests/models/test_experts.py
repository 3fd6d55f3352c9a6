"""Every backend of the experts against plain SwiGLU layers, with gradients; the loop everywhere, grouped products where torch has them."""

import pytest
import torch
from torch.nn import functional as F

from nmm.architectures import MoEConfig
from nmm.models import build, experts
from nmm.models.experts import GROUPED, Experts, grouped, loop, product

BACKENDS = [("loop", torch.float32), ("loop", torch.bfloat16)]
if GROUPED is not None:
    BACKENDS.append(("grouped", torch.bfloat16))
LOADS = {"even": (5, 5, 5, 5), "odd": (3, 0, 16, 1), "one": (0, 0, 20, 0), "ends": (7, 0, 0, 13)}


def made(dtype=torch.float32, backend: str = "auto") -> Experts:
    torch.manual_seed(0)
    layer = Experts(4, 16, 24)
    layer.initialise(2)
    layer.backend = backend
    return layer.to(dtype)


@pytest.mark.parametrize("rows", LOADS.values(), ids=LOADS)
@pytest.mark.parametrize("backend, dtype", BACKENDS, ids=str)
def test_each_expert_is_a_dense_layer_on_its_rows(backend, rows, dtype):
    """Outputs and all gradients, whatever the load; experts without rows get a gradient of 0."""
    layer, other = made(dtype, backend), made(dtype)
    torch.manual_seed(1)
    x = torch.randn(20, 16, dtype=dtype, requires_grad=True)
    y = layer(x, torch.tensor(rows))
    gradient = torch.randn_like(y)
    y.backward(gradient)
    same = x.detach().clone().requires_grad_()
    parts = []
    for number, part in enumerate(same.split(rows)):
        gate, up = (part @ other.gate_up[number].T).chunk(2, dim=-1)
        parts.append(F.silu(gate) * up @ other.out[number].T)
    expected = torch.cat(parts)
    expected.backward(gradient)
    for found, right in ((y, expected), (x.grad, same.grad), (layer.gate_up.grad, other.gate_up.grad), (layer.out.grad, other.out.grad)):
        assert torch.allclose(found, right, atol=1e-5 if dtype is torch.float32 else 0.05)
    for number, count in enumerate(rows):
        assert (layer.out.grad[number].abs().max() > 0) == (count > 0), number


@pytest.mark.parametrize("backend", [backend for backend, dtype in BACKENDS if dtype is torch.bfloat16])
def test_autocast_multiplies_in_bfloat16(backend):
    """As a dense layer under autocast does: the product is in bfloat16, the gradients of the weights in float32."""
    layer, x, rows = made(backend=backend), torch.randn(20, 16), torch.tensor((5, 5, 5, 5))
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x, rows)
    half = made(torch.bfloat16, backend)
    assert y.dtype == torch.bfloat16 and torch.equal(y, half(x.bfloat16(), rows))
    y.float().square().sum().backward()
    assert layer.out.grad.dtype == torch.float32


def test_the_choice_of_products():
    cpu, cuda, meta = torch.device("cpu"), torch.device("cuda"), torch.device("meta")
    best = loop if GROUPED is None else grouped
    assert product("auto", cuda, torch.bfloat16, widths=(800, 2304)) is best
    assert product("auto", cpu, torch.bfloat16, widths=(32, 88)) is best
    for device in (cpu, cuda):
        assert product("auto", device, torch.float32, widths=(800, 2304)) is loop, "grouped products are for bfloat16"
    assert product("auto", meta, torch.bfloat16, widths=(32, 88)) is loop
    assert product("auto", cuda, torch.bfloat16, widths=(32, 44)) is loop, "88 bytes"
    assert product("loop", cuda, torch.bfloat16, widths=(800, 2304)) is loop


@pytest.mark.parametrize("widths", [(32, 44), (36, 88)])
def test_widths_that_grouped_products_refuse(widths, monkeypatch):
    monkeypatch.setattr(experts, "GROUPED", GROUPED or F.linear)      # any torch: the widths alone decide
    with pytest.raises(ValueError, match=f"multiples of 16 bytes: got widths {widths[0]}, {widths[1]} of torch.bfloat16"):
        product("grouped", torch.device("cuda"), torch.bfloat16, widths=widths)


def test_numbers_that_grouped_products_refuse(monkeypatch):
    monkeypatch.setattr(experts, "GROUPED", GROUPED or F.linear)
    with pytest.raises(ValueError, match='needs numbers of torch.bfloat16: got torch.float32; take precision "bf16"'):
        product("grouped", torch.device("cpu"), torch.float32, widths=(32, 88))


def test_grouped_products_where_torch_has_none(monkeypatch):
    """Asked for at the model, before anything runs."""
    monkeypatch.setattr(experts, "GROUPED", None)
    model = build(MoEConfig(d_model=32, n_layers=1, n_heads=2, vocab_size=64, patch_dim=0))
    with pytest.raises(ValueError, match=f"grouped_mm, which torch {torch.__version__.split('+')[0]}.* lacks: take \"loop\""):
        model.use_experts("grouped", torch.device("cpu"), torch.float32)
    model.use_experts("loop", torch.device("cpu"), torch.float32)
    assert {block.ffn.experts.backend for block in model.blocks} == {"loop"}


def test_unknown_products():
    with pytest.raises(ValueError, match="auto, grouped or loop: got 'megablocks'"):
        product("megablocks", torch.device("cpu"), torch.float32, widths=(32, 88))
