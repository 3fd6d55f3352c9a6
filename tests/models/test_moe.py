"""Sparse early fusion against dense layers, a token-by-token reference, and the formulas of its papers."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nmm.architectures import EarlyFusionConfig, MoEConfig
from nmm.data.batches.loader import IGNORE, collate
from nmm.models import build
from nmm.models.experts import GROUPED
from nmm.models.layers import SwiGLU
from nmm.models.moe import PADDING, MixtureOfExperts, balancing_loss
from nmm.studies.presets import PAPER_EARLY, PAPER_MOE, PAPER_MOE_VARIANTS
from tests.models.probes import slopes

DENSE = {"d_model": 32, "n_layers": 2, "n_heads": 2, "vocab_size": 768, "patch_dim": 192, "ffn_multiple": 8, "rope_base": 100.0}
CONFIG = MoEConfig(n_experts=4, **DENSE)
VARIANTS = {
    "top-1": CONFIG,
    "top-2": replace(CONFIG, top_k=2),
    "fine-grained": replace(CONFIG, n_experts=8, top_k=2, d_expert=44),
    "all": replace(CONFIG, top_k=4),
    "modality": replace(CONFIG, n_experts=2, routing="modality"),
}


def mixture(config: MoEConfig, seed: int = 0) -> MixtureOfExperts:
    torch.manual_seed(seed)
    layer = MixtureOfExperts(config)
    layer.experts.initialise(config.n_layers)
    return layer


def model_of(config, seed: int = 0):
    torch.manual_seed(seed)
    return build(config)


@pytest.fixture
def batch(corpus):
    return collate([corpus.sources["caption"].train[0], corpus.sources["interleaved"].train[0]])


@pytest.fixture
def x():
    torch.manual_seed(1)
    return torch.randn(3, 20, 32)


@pytest.fixture
def modality():
    """Text, images, and some padding."""
    torch.manual_seed(2)
    return torch.randint(-1, 2, (3, 20))


def expert(layer: MixtureOfExperts, number: int) -> SwiGLU:
    """One expert of a mixture as a dense layer."""
    dense = SwiGLU(layer.experts.out.shape[1], layer.experts.out.shape[2])
    dense.gate_up.weight.data.copy_(layer.experts.gate_up[number].data)
    dense.out.weight.data.copy_(layer.experts.out[number].data)
    return dense


def reference(layer: MixtureOfExperts, top_k: int, x, modality) -> tuple[torch.Tensor, torch.Tensor]:
    """Token by token: its experts by the router's probabilities, and the weighted sum of what they say; counts as well."""
    y, counts = torch.zeros_like(x), torch.zeros(layer.n_experts, 2)
    for row in range(x.shape[0]):
        for position in range(x.shape[1]):
            token, kind = x[row, position], int(modality[row, position])
            if layer.router is None:
                weights = {int(kind != 0): 1.0}
            else:
                share = (layer.router.weight @ token).softmax(0)
                weights = {int(e): share[e] for e in share.argsort(descending=True)[:top_k]}
            assert len(weights) == top_k
            for number, weight in weights.items():
                y[row, position] += weight * expert(layer, number)(token)
                if kind != PADDING:
                    counts[number, int(kind > 0)] += 1
    return y, counts


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_every_token_gets_its_experts(config, x, modality):
    """No token is dropped, whatever the load: each output is the weighted sum of its K experts."""
    layer = mixture(config)
    with torch.no_grad():
        y, _, counts = layer(x, modality)
        expected, expected_counts = reference(layer, config.top_k, x, modality)
    assert torch.allclose(y, expected, atol=1e-5)
    assert torch.equal(counts, expected_counts)
    assert counts.sum() == config.top_k * (modality != PADDING).sum()


def test_all_tokens_on_one_expert(x, modality):
    """The worst load there is: the others get nothing and stay finite."""
    layer = mixture(CONFIG)
    layer.router.weight.data.zero_()[2] = 10 * x.mean((0, 1))
    x = x.abs() * x.mean((0, 1)).sign()         # every token agrees with expert 2
    y, _, counts = layer(x, modality)
    assert counts[2].sum() == counts.sum()
    share = (x @ layer.router.weight.T).softmax(-1)[..., 2:3]
    assert torch.allclose(y, share * expert(layer, 2)(x), atol=1e-5)
    y.sum().backward()
    assert layer.experts.out.grad.isfinite().all()
    assert (layer.experts.out.grad[[0, 1, 3]] == 0).all()


def dense_pair():
    """A dense model, and a mixture of one expert with its weights."""
    dense, sparse = model_of(EarlyFusionConfig(**DENSE)), model_of(replace(CONFIG, n_experts=1))
    weights = {}
    for name, value in dense.state_dict().items():
        if ".ffn." in name:
            name, value = name.replace(".ffn.", ".ffn.experts.").removesuffix(".weight"), value[None]
        weights[name] = value
    missing, unexpected = sparse.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.endswith("router.weight") for name in missing)
    return dense, sparse


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_expert_is_the_dense_model(batch, precision):
    """To the last bit: logits, loss and all gradients."""
    dense, sparse = dense_pair()
    labels = batch["labels"][batch["labels"] != IGNORE]
    logits = []
    for model in (dense, sparse):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits.append(model(batch))
        F.cross_entropy(logits[-1].float(), labels).backward()
    assert torch.equal(*logits)
    gradients = dict(sparse.named_parameters())
    for name, parameter in dense.named_parameters():
        if ".ffn." in name:
            other = gradients[name.replace(".ffn.", ".ffn.experts.").removesuffix(".weight")].grad[0]
        else:
            other = gradients[name].grad
        assert torch.equal(parameter.grad, other), name
    assert sparse.balance_loss.item() == pytest.approx(1.0)
    assert all((block.ffn.router.weight.grad == 0).all() for block in sparse.blocks)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_every_weight_learns(config, batch):
    """Every weight of the model gets a gradient, the router from the weights of the experts alone."""
    model = model_of(config)
    labels = batch["labels"][batch["labels"] != IGNORE]
    F.cross_entropy(model(batch), labels).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_the_gradient_is_the_slope(batch):
    """Finite differences of loss and balancing loss along a random direction, in double precision; no choice of experts may change."""
    model = model_of(replace(CONFIG, top_k=2)).double()
    batch["patches"] = batch["patches"].double()
    labels = batch["labels"][batch["labels"] != IGNORE]

    routed = []

    def loss() -> torch.Tensor:
        value = F.cross_entropy(model(batch), labels) + 0.5 * model.balance_loss
        routed.append(model.routed)
        return value

    difference, slope = slopes(loss, model.parameters(), 1e-6)
    assert all(torch.equal(counts, routed[0]) for counts in routed)
    assert difference == pytest.approx(slope, rel=1e-4)


def test_balancing_loss_is_that_of_its_paper(x, modality):
    """E sum f P over real tokens alone, and its gradient flows through P."""
    layer = mixture(replace(CONFIG, top_k=2))
    _, balance, _ = layer(x, modality)
    share = (x @ layer.router.weight.T).softmax(-1)[modality != PADDING]
    f = torch.zeros(4)
    for token in share:
        f[token.topk(2).indices] += 1 / (2 * len(share))
    assert balance.item() == pytest.approx((4 * (f * share.mean(0)).sum()).item(), rel=1e-5)
    gradient, = torch.autograd.grad(balance, layer.router.weight)
    expected, = torch.autograd.grad(4 * (f * share.mean(0)).sum(), layer.router.weight)
    assert torch.allclose(gradient, expected, atol=1e-6)


def test_balancing_loss_is_least_where_the_load_is_even():
    """1 for an even load, E where one expert takes all, and falling when the load evens out."""
    kinds = torch.tensor([[1.0, 0.0]]).expand(8, 2)

    def loss(share: torch.Tensor) -> float:
        chosen = F.one_hot(share.argmax(1), 4).float()
        return balancing_loss(chosen.T @ kinds, share, kinds).item()

    certain = torch.eye(4).repeat(2, 1)
    assert loss(certain) == pytest.approx(1.0)
    assert loss(torch.eye(4)[:1].expand(8, 4)) == pytest.approx(4.0)
    skewed = torch.eye(4)[torch.tensor([0, 0, 0, 1, 1, 2, 3, 3])]
    assert 1.0 < loss(skewed) < 4.0
    assert loss(0.9 * skewed + 0.025) < loss(skewed)


def test_balance_can_be_learned(x):
    """Descent on the balancing loss alone evens out a router that sends everything to one expert."""
    layer = mixture(CONFIG)
    modality = torch.zeros(3, 20, dtype=torch.long)
    shift = torch.ones(32)
    layer.router.weight.data[0] = 3 * shift / 32        # the logit of expert 0 is 3 above that of a mean token
    x = x + shift
    optimizer = torch.optim.SGD([layer.router.weight], lr=0.2)
    loads = []
    for _ in range(100):
        _, balance, counts = layer(x, modality)
        loads.append(counts.sum(1).max().item() / 60)
        optimizer.zero_grad()
        balance.backward()
        optimizer.step()
    assert loads[0] > 0.75
    assert loads[-1] < 0.45, loads


def test_padding_is_no_load(corpus):
    """Padding changes neither the logits, nor the balancing loss, nor the counts."""
    model = model_of(CONFIG)
    whole = collate([corpus.sources["text"].train[0]])
    fill = {"labels": IGNORE, "input_ids": 0, "modality": 0}
    padded = {name: F.pad(value, (0, 6), value=fill.get(name, -1)) for name, value in whole.items() if name != "patches"}
    padded["patches"] = whole["patches"]
    with torch.no_grad():
        logits, balance, routed = model(whole), model.balance_loss, model.routed
        assert torch.allclose(model(padded), logits, atol=1e-5)
    assert torch.equal(model.routed, routed)
    assert model.balance_loss.item() == pytest.approx(balance.item(), rel=1e-6)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_what_the_model_hands_over(config, batch):
    model = model_of(config)
    model(batch)
    real = batch["document_ids"] >= 0
    kinds = torch.stack([(real & (batch["modality"] == 0)).sum(), (real & (batch["modality"] > 0)).sum()])
    assert model.routed.shape == (config.n_layers, config.n_experts, 2)
    assert model.routed.dtype == torch.int64
    assert torch.equal(model.routed.sum(1), (config.top_k * kinds).expand(config.n_layers, 2))
    assert model.balance_loss.shape == () and model.balance_loss.dtype == torch.float32
    if config.routing == "modality":
        assert torch.equal(model.routed, torch.diag(kinds).expand(config.n_layers, 2, 2))
        assert model.balance_loss == 0
        assert not any("router" in name for name, _ in model.named_parameters())
    else:
        assert model.balance_loss.requires_grad and model.balance_loss.item() > 0.5


def learned(model, batch) -> tuple[torch.Tensor, ...]:
    """Loss, counts, and all gradients of a bfloat16 pass, for which torch may have grouped products."""
    labels = batch["labels"][batch["labels"] != IGNORE]
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(model(batch), labels) + 0.01 * model.balance_loss
    loss.backward()
    return loss.detach(), model.routed, *(parameter.grad for parameter in model.parameters())


@pytest.mark.parametrize("name", ["top-2", "modality"])
def test_blocks_can_be_compiled_and_recomputed(name, batch):
    """One graph a block where torch has grouped products; the loop alone stays outside. Recomputing changes no bit."""
    models = {way: model_of(VARIANTS[name]) for way in ("plain", "compiled", "recomputed")}
    torch.compiler.reset()
    for block in models["compiled"].blocks:
        block.forward = torch.compile(block.forward, backend="eager", fullgraph=GROUPED is not None)
    for block in models["recomputed"].blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    plain, compiled, recomputed = (learned(model, batch) for model in models.values())
    assert all(torch.allclose(one, other, atol=1e-3) for one, other in zip(plain, compiled, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(plain, recomputed, strict=True))


def test_the_router_is_in_float32(x, modality):
    """Choices and weights are those of float32 in a bfloat16 pass: rounded logits would choose otherwise."""
    layer = mixture(CONFIG)
    x = x.bfloat16().float()        # what a bfloat16 pass hands to the layer
    with torch.no_grad():
        expected = layer.router(x.flatten(0, 1))
        with torch.autocast("cpu", torch.bfloat16):
            _, balance, counts = layer(x, modality)
        same = layer(x, modality)
        assert torch.equal(counts, same[2]) and torch.equal(balance, same[1])
        layer.router.weight.data = layer.router.weight.bfloat16().float()
        full, half = layer.router(x.flatten(0, 1)), layer.router.bfloat16()(x.flatten(0, 1).bfloat16())
    assert expected[1].dtype == half[1].dtype == torch.float32
    assert all(torch.equal(*pair) for pair in zip(full, half, strict=True))


def test_initial_weights_are_as_in_a_dense_layer():
    """Variance 1 / fan-in; projections into the residual are 1 / sqrt(2 n_layers) smaller; experts differ."""
    model = model_of(replace(CONFIG, d_model=128, n_layers=8))
    experts, router = model.blocks[3].ffn.experts, model.blocks[3].ffn.router
    assert experts.gate_up.std().item() == pytest.approx(128**-0.5, rel=0.02)
    assert experts.out.std().item() == pytest.approx((16 * experts.out.shape[2]) ** -0.5, rel=0.02)
    assert router.weight.std().item() == pytest.approx(128**-0.5, rel=0.2)
    assert not torch.equal(experts.out[0], experts.out[1])


TOTAL = dict(zip(PAPER_MOE, (1.20, 2.15, 4.51, 8.18, 11.76, 17.53), strict=True))     # billions, printed


@pytest.mark.parametrize("name", [*PAPER_MOE, *PAPER_MOE_VARIANTS])
def test_counts_of_the_paper_models(name):
    """Every group that `flops.count` names, from the model itself; total sizes as the study prints them."""
    config = (PAPER_MOE | PAPER_MOE_VARIANTS)[name].model
    with torch.device("meta"):
        model = build(config)
    found = dict.fromkeys(("embedding", "unembedding", "patch_projection", "attention", "experts", "routers", "norms"), 0)
    for key, parameter in model.named_parameters():
        part = key.split(".")[0]
        if part == "blocks":
            part = "experts" if ".experts." in key else "routers" if ".router." in key else "attention"
        if key.endswith("gain"):
            part = "norms"
        found[part] += parameter.numel()
    counts = config.counts
    assert found == {
        "embedding": counts.embedding, "unembedding": counts.unembedding, "patch_projection": counts.patch_projection,
        "attention": 24 * 4 * config.d_model**2, "experts": counts.blocks + counts.inactive - 24 * 4 * config.d_model**2,
        "routers": counts.routers, "norms": counts.norms,
    }
    assert counts.all == sum(parameter.numel() for parameter in model.parameters())
    if name in TOTAL:
        assert round(counts.n_total / 1e9, 2) == TOTAL[name]
        assert counts.n_active == PAPER_EARLY[name].model.counts.N, "as the dense model of that width"
