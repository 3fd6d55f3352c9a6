"""The paper's study before anything is trained: its grid, and what a run takes, against what torch keeps."""

import re
from dataclasses import replace

import pytest
import torch

from nmm.architectures import EarlyFusionConfig, MoEConfig
from nmm.cli import main
from nmm.models.attention import PackedMask, attention
from nmm.models.layers import Block, rotary_table
from nmm.models.moe import MixtureBlock
from nmm.studies import find_study, sizing
from nmm.studies.paper import PAPER_STUDY, PATCHES_PER_IMAGE, PRINTED_RUNS, STEP, image_share

LENGTH, SEQUENCES = 64, 2


@pytest.fixture(scope="module")
def grid():
    return PAPER_STUDY.grid(PAPER_STUDY.shape)


def test_the_grid_is_the_papers(grid):
    assert find_study("paper") is PAPER_STUDY
    assert len(grid) >= PRINTED_RUNS
    assert {run.data.mixture for run in grid.values()} == {"45-45-10", "40-20-40", "30-30-40", "20-40-40"}
    assert {run.data.batch_tokens for run in grid.values()} == {2048 * 1024}
    for run in grid.values():
        assert run.optim.warmup_tokens < (1 - run.optim.cooldown) * run.tokens, "warmup and cooldown must not meet"
        assert run.optim.cooldown == 0.2
        assert (run.optim.beta1, run.optim.beta2, run.optim.weight_decay, run.optim.clip) == (0.9, 0.95, 1e-4, 1.0)
    assert len({str(run.design) for run in grid.values() if run.data.mixture == "45-45-10"}) == 3, "a design an arm"


@pytest.mark.parametrize(("arm", "steps", "warmup"), [
    (0, 1500, 1000), (0, 4000, 1000), (0, 9000, 2500), (0, 15_001, 5000), (2, 4000, 2500), (2, 19_000, 2500), (2, 20_000, 5000),
])
def test_warmups_are_those_of_appendix_a(arm, steps, warmup):
    assert PAPER_STUDY.arms[arm].warmup_steps(steps * STEP) == warmup


def test_another_corpus_is_refused():
    with pytest.raises(ValueError, match="preset 'paper' needs a corpus with vocab_size = 50432, and this one has 512: prepare it"):
        PAPER_STUDY.grid(replace(PAPER_STUDY.shape, vocab_size=512))


def test_branching_trains_less(grid):
    costs = sizing.costs(grid.values(), gpu="H100", mfu=0.4, images=image_share, patches_per_image=PATCHES_PER_IMAGE)
    table = sizing.by_arm(costs)
    assert table.loc["all", "runs"] == len(grid) and (table["GPU-hours branching"] < 0.8 * table["GPU-hours"]).all()
    early = costs[(costs["arm"] == "early fusion")]
    assert early["C"].tolist() == pytest.approx((6.0 * early["N"] * early["tokens"]).tolist())
    assert costs["gpu_hours"].tolist() == pytest.approx((costs["flops"] / 989.5e12 / 0.4 / 3600).tolist())
    for words, settings in (("unknown GPU 'abacus'", {"gpu": "abacus"}),
                            ("mfu, the share of the peak FLOPs/s, must be in (0, 1]: got 4", {"mfu": 4})):
        with pytest.raises(ValueError, match=re.escape(words)):
            sizing.costs(grid.values(), **{"gpu": "H100", "mfu": 0.4, "images": image_share, "patches_per_image": 1, **settings})


def kept(block, width: int, heads: int, sequences: int, *more) -> int:
    """Bytes that autograd keeps of one block's forward pass, without its weights."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    mask = PackedMask(torch.zeros(sequences, LENGTH, dtype=torch.long), torch.full((sequences, LENGTH), -1))
    attend, rotary = attention(mask, "sdpa"), rotary_table(LENGTH, width // heads, 1e4, torch.device("cpu"))
    x = torch.randn(sequences, LENGTH, width, requires_grad=True) * 1
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        out = block(x, rotary, attend, *more)
    weights = {parameter.untyped_storage().data_ptr() for parameter in block.parameters()}
    del out
    return sum(storage.nbytes() for pointer, storage in storages.items() if pointer not in weights)


@pytest.mark.parametrize("sparse", [False, True])
def test_activations_are_those_that_torch_keeps(sparse, one_thread):
    """The difference of two batches: of a token, without copies of weights and tables."""
    shape = {"d_model": 128, "n_layers": 1, "n_heads": 4, "vocab_size": 8, "patch_dim": 12, "ffn_multiple": 64}
    config = MoEConfig(n_experts=4, **shape) if sparse else EarlyFusionConfig(**shape)
    block = MixtureBlock(config) if sparse else Block(config.d_model, config.n_heads, config.d_hidden)
    if sparse:
        block.ffn.experts.initialise(1)
    sizes = [kept(block, 128, 4, n, *([torch.zeros(n, LENGTH, dtype=torch.long)] if sparse else [])) for n in (SEQUENCES, 2 * SEQUENCES)]
    mask = 2 * LENGTH           # SDPA's dense mask in bfloat16, which FlexAttention does without
    assert (sizes[1] - sizes[0]) / (SEQUENCES * LENGTH) - mask == pytest.approx(sizing.pass_bytes(config), rel=0.01)


def test_sharding_and_recomputation_save_memory(grid):
    run = max(grid.values(), key=lambda run: run.model.counts.all)
    whole = sizing.memory(run.model, gpus=1)
    full = sizing.memory(run.model, gpus=16, sharding="full")
    hybrid = sizing.memory(run.model, gpus=16, sharding="hybrid")
    assert whole["weights"] == 4 * run.model.counts.all and whole["moments"] == 2 * whole["weights"]
    assert full["weights"] == whole["weights"] / 16 and hybrid["weights"] == whole["weights"] / 8
    assert sizing.memory(run.model, gpus=1, recompute=True)["activations"] < whole["activations"] / 3
    whole_on_one = sizing.fewest(run.model, sizing.room("H100"), sharding="none", recompute=True, batch=2048)
    assert whole_on_one is None, "17.5B parameters fit on no GPU whole"
    small = min(grid.values(), key=lambda run: run.model.counts.all)
    gpus, sequences = sizing.fewest(small.model, sizing.room("H100"), sharding="none", recompute=False, batch=2048)
    assert gpus == 1
    fits = [sum(sizing.memory(small.model, gpus=1, sequences=n).values()) <= sizing.room("H100") for n in (sequences, 2 * sequences)]
    assert fits == [True, False]
    with pytest.raises(ValueError, match="the memory of GPU 'abacus' is not known: give --gpu-memory"):
        sizing.room("abacus")
    assert sizing.room("abacus", 100) == 90e9


def test_the_dry_run_needs_no_data(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "--preset", "paper", "--dry-run", "--gpu", "H100", "--mfu", "0.4"]) == 0
    said = capsys.readouterr().out
    assert re.match(r"\d+ runs \(the paper: 457\)\n", said)
    for words in ("early fusion, d3232, 45-45-10: 3B 5B", "GPU-hours branching", "hybrid, recomputed", "copies in bf16",
                  "smallest budget: "):
        assert words in said
    assert not list(tmp_path.iterdir())
    assert main(["sweep", "--preset", "paper"]) == 2
    said = "nmm sweep: preset 'paper' needs real data: give --data DIR; --dry-run says what it takes, without any"
    assert said in capsys.readouterr().err
    assert main(["sweep", "--preset", "laptop", "--dry-run"]) == 2
