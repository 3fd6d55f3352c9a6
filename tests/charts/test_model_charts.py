"""Pictures of the models: shares add up to the exact counts, the mask shows what the model sees, diagrams their sizes."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from nmm.charts import diagrams
from nmm.charts import models as draw
from nmm.charts.tables import short
from nmm.config.flops import exact_train_flops, train_flops
from nmm.models.attention import PackedMask
from nmm.studies import find_study
from nmm.studies.presets import PAPER_EARLY, PAPER_LATE, PAPER_MOE, PAPER_MOE_VARIANTS

MODELS = {
    "small": find_study("smoke").model(16, vocab_size=512, patch_dim=192),
    "large": PAPER_EARLY["3.35B"].model,
    "small late": replace(PAPER_LATE["289M"].model, d_vision=16, n_vision_heads=1, d_model=32, n_heads=2),
    "large late": PAPER_LATE["3.7B"].model,
    "small mixture": replace(PAPER_MOE["275M"].model, d_model=16, n_heads=1),
    "large mixture": PAPER_MOE["3.35B"].model,
    "by modality": PAPER_MOE_VARIANTS["1.63B by modality"].model,
}


@pytest.mark.parametrize("label", MODELS)
def test_flop_shares_add_up_to_the_exact_count(label):
    table = draw.flop_shares(MODELS, context=130, image_share=0.4, patches_per_image=16)
    exact = exact_train_flops(
        MODELS[label], context=130, tokens={"text": 0.6, "image": 0.4}, targets=0.6, patches_per_image=16
    )
    mine, counts = table[table["model"] == label], MODELS[label].counts
    assert mine["amount"].sum() == pytest.approx(exact, rel=1e-12)
    assert mine["share"].sum() == pytest.approx(exact / train_flops(counts.N, 1, N_v=counts.N_v, D_v=0.4), rel=1e-12)
    assert (mine["amount"] >= 0).all()


def test_the_encoder_has_its_blocks_and_their_scores():
    """What is left over for it must be what it computes: blocks, and scores over one image."""
    model = MODELS["large late"]
    amounts = draw.flop_shares({"late": model}, context=1024, image_share=0.5, patches_per_image=256).set_index("part")["amount"]
    blocks = 6.0 * model.counts.vision_blocks * 0.5
    assert amounts["encoder"] == pytest.approx(blocks + 12.0 * model.n_vision_layers * model.d_vision * 256 * 0.5)


def test_parts_that_no_model_has_are_not_drawn():
    early = {"small": MODELS["small"]}
    assert not {"encoder", "connector and routers"} & set(draw.flop_shares(early, context=130, image_share=0.4)["part"])
    assert not {"encoder blocks", "experts not taken"} & set(draw.group_shares(early)["part"])


@pytest.mark.parametrize("label", MODELS)
def test_group_shares_hold_every_weight(label):
    mine = draw.group_shares(MODELS).query("model == @label")
    assert mine["amount"].sum() == MODELS[label].counts.all
    assert mine["share"].sum() == pytest.approx(1)


@pytest.mark.parametrize(("N", "word"), [
    (274.8e6, "275M"), (464.03e6, "464M"), (999.4e6, "999M"), (999.6e6, "1.00B"), (1.6268e9, "1.63B"), (3.3542e9, "3.35B"),
])
def test_sizes_in_the_digits_of_the_paper(N, word):
    assert draw.printed(N) == word


def test_every_size_of_the_paper_is_printed_as_it_is_named():
    assert [draw.printed(item.model.counts.N) for item in PAPER_EARLY.values()] == list(PAPER_EARLY)


def test_the_mask_is_drawn_as_it_is():
    documents, images = torch.tensor([[0, 0, 0, 0, 1, 1]]), torch.tensor([[-1, 0, 0, -1, -1, -1]])
    allowed = PackedMask(documents, images).dense()[0, 0].numpy()
    chart = draw.mask(allowed, list("abcdef")).to_dict()
    rows = next(iter(chart["datasets"].values()))
    assert {(row["query"], row["key"]) for row in rows} == set(zip(*map(np.ndarray.tolist, np.nonzero(allowed)), strict=True))
    assert [(row["from"], row["to"]) for row in rows if "ahead" in row["state"]] == [("b", "c")]


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\) and there are 3 labels"):
        draw.mask(np.ones((2, 2), bool), ["a", "b", "c"])


PICTURES = {
    "early": (diagrams.early_fusion, PAPER_EARLY["275M"].model),
    "late": (diagrams.late_fusion, PAPER_LATE["1B"].model),
    "mixture": (diagrams.mixture, PAPER_MOE["464M"].model),
    "by modality": (diagrams.mixture, PAPER_MOE_VARIANTS["1.63B by modality"].model),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_diagram_names_the_sizes_of_its_configuration(name):
    draw_it, model = PICTURES[name]
    page, counts = draw_it(model).data, model.counts
    words = [f"{model.n_layers} decoder blocks", f"patches of {model.patch_dim} numbers", short(counts.blocks), short(counts.embedding)]
    if model.arch == "late":
        words += [f"{model.n_vision_layers} encoder blocks", short(counts.vision_blocks), short(counts.connector),
                  f"{model.d_vision:,} → {model.d_vision_hidden:,}", f"{model.n_vision_heads} heads of {model.vision_head_dim}"]
    else:
        words += [f"{model.d_model:,} → {model.d_hidden:,}", f"{model.n_heads} heads of {model.head_dim}"]
    if model.arch == "moe":
        words += [short(counts.blocks + counts.inactive),
                  f"router takes {model.top_k} of {model.n_experts}" if counts.routers else "routing by modality"]
    for word in words:
        assert word in page, f"{word!r} is not in the diagram"
    assert "black" not in page


@pytest.mark.parametrize(("n_experts", "drawn"), [(4, "1234"), (8, "12345678"), (64, "1234567…")])
def test_of_many_experts_the_first_are_drawn(n_experts, drawn):
    model = replace(PAPER_MOE["275M"].model, n_experts=n_experts)
    page = diagrams.mixture(model).data
    assert "".join(re.findall(r"dominant-baseline='central'>(\d|…)<", page)) == drawn


@pytest.mark.parametrize("draw_it", [diagrams.early_fusion, diagrams.mixture])
def test_a_model_that_reads_no_images_has_no_such_diagram(draw_it):
    with pytest.raises(ValueError, match="patch_dim = 0"):
        draw_it(replace(PAPER_MOE["275M"].model, patch_dim=0))
