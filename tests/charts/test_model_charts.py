"""Pictures of the models: shares add up to the exact counts, the mask shows what the model sees, diagrams their sizes."""

import numpy as np
import pytest
import torch

from nmm.charts import diagrams
from nmm.charts import models as draw
from nmm.flops import count, exact_train_flops, train_flops
from nmm.models.attention import PackedMask
from nmm.presets import PAPER_EARLY, study
from nmm.tables import short

MODELS = {
    "small": study("smoke").model(16, vocab_size=512, patch_dim=192),
    "large": PAPER_EARLY["3.35B"].model,
}


@pytest.mark.parametrize("label", MODELS)
def test_flop_shares_add_up_to_the_exact_count(label):
    table = draw.flop_shares(MODELS, context=130, image_share=0.4)
    exact = exact_train_flops(MODELS[label], context=130, text_tokens=0.6, image_tokens=0.4, target_tokens=0.6)
    mine = table[table["model"] == label]
    assert mine["amount"].sum() == pytest.approx(exact, rel=1e-12)
    assert mine["share"].sum() == pytest.approx(exact / train_flops(count(MODELS[label]).N, 1), rel=1e-12)
    assert (mine["amount"] > 0).all()


@pytest.mark.parametrize("label", MODELS)
def test_group_shares_hold_every_weight(label):
    mine = draw.group_shares(MODELS).query("model == @label")
    assert mine["amount"].sum() == count(MODELS[label]).all
    assert mine["share"].sum() == pytest.approx(1)


@pytest.mark.parametrize(("N", "word"), [
    (274.8e6, "275M"), (464.03e6, "464M"), (999.4e6, "999M"), (999.6e6, "1.00B"), (1.6268e9, "1.63B"), (3.3542e9, "3.35B"),
])
def test_sizes_in_the_digits_of_the_paper(N, word):
    assert draw.printed(N) == word


def test_every_size_of_the_paper_is_printed_as_it_is_named():
    assert [draw.printed(count(item.model).N) for item in PAPER_EARLY.values()] == list(PAPER_EARLY)


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


def test_the_diagram_names_the_sizes_of_its_configuration():
    model = PAPER_EARLY["275M"].model
    page = diagrams.early_fusion(model).data
    for word in (f"{model.n_layers} decoder blocks", f"{model.d_model:,} → {model.d_hidden:,}", short(count(model).blocks),
                 f"patches of {model.patch_dim} numbers", f"{model.n_heads} heads of {model.head_dim}"):
        assert word in page, f"{word!r} is not in the diagram"
    assert "black" not in page


def test_a_model_that_reads_no_images_has_no_such_diagram():
    with pytest.raises(ValueError, match="patch_dim = 0"):
        diagrams.early_fusion(study("smoke").model(16, vocab_size=512, patch_dim=0))
