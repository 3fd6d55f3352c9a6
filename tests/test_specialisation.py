"""Specialisation scores on counts whose answers are known by hand."""

import json

import numpy as np
import pytest

from nmm.runs import specialisation
from nmm.runs.specialisation import assignment, composition, entropy_score, indifferent_score, load, uniform_deviation

APART = [[[6, 0], [0, 6]]]                      # one layer: an expert for each kind
SHARED = [[[3, 3], [3, 3]]]
QUARTER = [[[1, 3], [3, 1]]]                    # H(1/4) = 2 - 3/4 log2 3 bits
H_QUARTER = 2 - 0.75 * np.log2(3)


def test_entropy_score():
    assert entropy_score(APART) == pytest.approx([1.0])
    assert entropy_score(SHARED) == pytest.approx([0.0])
    assert entropy_score(QUARTER) == pytest.approx([1 - H_QUARTER])
    assert entropy_score([*APART, *SHARED, *QUARTER]) == pytest.approx([1.0, 0.0, 1 - H_QUARTER])


def test_experts_count_alike_whatever_their_load():
    assert entropy_score([[[1000, 1000], [0, 1]]]) == pytest.approx([0.5])


def test_unused_experts_are_left_out():
    assert entropy_score([[[6, 0], [0, 6], [0, 0], [0, 0]]]) == pytest.approx([1.0])
    assert np.isnan(entropy_score([[[0, 0], [0, 0]]])).all()
    assert np.isnan(composition([[[6, 0], [0, 0]]])[0, 1]).all()


def test_experts_without_preference():
    """Data of one kind to three make such experts score 1 - H(1/4), not 0."""
    counts = [[[10, 30], [5, 15], [2, 6]]]
    assert indifferent_score(counts) == pytest.approx(1 - H_QUARTER)
    assert entropy_score(counts) == pytest.approx([indifferent_score(counts)])
    assert indifferent_score(APART) == pytest.approx(0.0)


def test_deviation_from_uniform():
    """In per cent, for text and image: one expert of E with all of a kind is the most, 2 (E - 1) / E^2."""
    assert uniform_deviation(SHARED) == pytest.approx(np.zeros((1, 2)))
    assert uniform_deviation(APART) == pytest.approx(np.full((1, 2), 50.0))
    eight = np.zeros((1, 8, 2))
    eight[0, 0, 0], eight[0, :, 1] = 12, 5
    assert uniform_deviation(eight) == pytest.approx(np.array([[100 * 14 / 64, 0.0]]))
    assert uniform_deviation([[[3, 1], [1, 1]]]) == pytest.approx(np.array([[25.0, 0.0]]))


def test_shares():
    counts = [[[1, 3], [3, 5]], [[0, 8], [4, 0]]]
    assert composition(counts) == pytest.approx(np.array([[[0.25, 0.75], [0.375, 0.625]], [[0, 1], [1, 0]]]))
    assert assignment(counts) == pytest.approx(np.array([[[0.25, 0.375], [0.75, 0.625]], [[0, 1], [1, 0]]]))
    assert load(counts) == pytest.approx(np.array([[1 / 3, 2 / 3], [2 / 3, 1 / 3]]))


def test_a_kind_without_tokens_is_missing_not_zero():
    counts = [[[2, 0], [4, 0]]]
    assert np.isnan(uniform_deviation(counts)[0, 1])
    assert uniform_deviation(counts)[0, 0] == pytest.approx(100 / 6)
    assert entropy_score(counts) == pytest.approx([1.0])


def test_scores_do_not_depend_on_the_order_of_experts():
    counts = np.random.default_rng(0).integers(0, 100, (4, 8, 2))
    other = counts[:, ::-1]
    for score in (entropy_score, uniform_deviation, indifferent_score):
        assert score(other) == pytest.approx(score(counts))


@pytest.mark.parametrize("counts, message", [
    ([[1, 2], [3, 4]], r"shape \(n_layers, E, 2\).*got \(2, 2\)"),
    ([[[1, 2, 3]]], "for text and image: got"),
    ([], "got"),
    ([[[1, -2], [3, 4]]], "not negative"),
    ([[[1, float("nan")], [3, 4]]], "finite"),
])
def test_what_is_not_counts(counts, message):
    with pytest.raises(ValueError, match=message):
        entropy_score(counts)


def test_counts_from_a_trained_run_and_from_its_weights(corpus):
    """The callback's counts over held-out data are JSON, and a model with the same weights routes in the same way."""
    import torch
    from composer import Evaluator, Trainer

    from nmm.architectures import MoEConfig
    from nmm.data.batches.loader import validation_batches
    from nmm.data.batches.reading import validation_sources
    from nmm.models import build
    from nmm.training.model import LanguageModel
    from nmm.training.objectives import objective
    from nmm.training.probes.routing import Routing

    config = MoEConfig(
        d_model=16, n_layers=3, n_heads=1, vocab_size=corpus.vocab_size, patch_dim=corpus.patch_dim, ffn_multiple=8, n_experts=4,
        top_k=2,
    )
    model = build(config)
    sources = validation_sources(corpus)
    batches = {task: validation_batches(source, 4, 8) for task, source in sources.items()}
    callback = Routing(model)
    trainer = Trainer(
        model=LanguageModel(model, objective("text")), optimizers=torch.optim.SGD(model.parameters()), callbacks=[callback],
        max_duration="1ba", progress_bar=False, eval_dataloader=[
            Evaluator(label=task, dataloader=loader, metric_names=["L"], device_eval_microbatch_size=4)
            for task, loader in batches.items()
        ],
    )
    for _ in range(2):      # a second evaluation counts anew
        trainer.eval()
    routing = json.loads(json.dumps(callback.found))
    assert set(routing) == set(sources)
    for task, loader in batches.items():
        real = sum(int((batch["document_ids"] >= 0).sum()) for batch in loader)
        text = sum(int(((batch["document_ids"] >= 0) & (batch["modality"] == 0)).sum()) for batch in loader)
        counts = np.array(routing[task])
        assert counts.shape == (config.n_layers, 4, 2)
        assert (counts.sum((1, 2)) == 2 * real).all() and (counts[..., 0].sum(1) == 2 * text).all()
        again = build(config)
        again.load_state_dict(model.state_dict())
        routed = 0
        for batch in loader:
            again(batch)
            routed = routed + again.routed
        assert (routed.numpy() == counts).all()
        assert (specialisation.entropy_score(counts) >= 0).all()
    assert np.isnan(uniform_deviation(routing["text"])[:, 1]).all(), "there are no images in the text source"
