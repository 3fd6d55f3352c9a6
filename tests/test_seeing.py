"""Every architecture sees at laptop size before any is compared with another (trained here: some 10 s each)."""

import math
from dataclasses import replace

import pytest
import torch

from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.generated.world import World
from nmm.models import build
from nmm.studies import MIXTURE
from nmm.studies.architectures import ARCHITECTURES
from nmm.studies.laptop import LAPTOP
from nmm.training.probes.seeing import caption_losses, share_of_chance
from nmm.training.run import make_trainer

SMALLEST = min(LAPTOP.budgets)


@pytest.fixture(scope="module")
def laptop_corpus(tmp_path_factory):
    """A generated corpus for the laptop study's smallest budget."""
    return embedded_corpus(tmp_path_factory.mktemp("laptop"), tokens=SMALLEST, weights=MIXTURE)


def test_an_untrained_model_guesses(corpus, tiny):
    torch.manual_seed(0)
    model = build(tiny.model(16, vocab_size=corpus.vocab_size, patch_dim=corpus.patch_dim))
    losses = caption_losses(model, corpus.sources["caption"].validation, World(0))
    assert set(losses) == {"special", "place", "colour", "shape", "name"}
    assert all(abs(loss - math.log(512)) < 1.5 for loss in losses.values())
    assert model.training, "left as it was"


def test_kinds_are_weighed_as_in_the_whole(corpus, tiny):
    """Four objects of four tokens each and the end: the mean over all targets of a caption is the mean by kind."""
    torch.manual_seed(0)
    model = build(tiny.model(16, vocab_size=corpus.vocab_size, patch_dim=corpus.patch_dim))
    captions = [corpus.sources["caption"].validation[number] for number in range(3)]
    losses = caption_losses(model, captions, World(0))
    from torch.nn import functional as F

    from nmm.data.batches.loader import IGNORE, collate

    batch = collate(captions)
    whole = F.cross_entropy(model(batch), batch["labels"][batch["labels"] != IGNORE]).item()
    assert whole == pytest.approx((4 * sum(losses[kind] for kind in ("place", "colour", "shape", "name")) + losses["special"]) / 17, rel=1e-5)


def test_nothing_to_measure(corpus, tiny):
    model = build(tiny.model(16, vocab_size=corpus.vocab_size, patch_dim=corpus.patch_dim))
    with pytest.raises(ValueError, match="no captions to measure on"):
        caption_losses(model, [], World(0))


@pytest.mark.parametrize("arm", ARCHITECTURES.arms, ids=lambda arm: arm.name)
def test_every_architecture_sees_at_the_smallest_budget(laptop_corpus, arm):
    """Colour and shape below 5 % of chance, 32 wide, with the rates that the study trains it with."""
    plan = replace(LAPTOP, widths=(32,), budgets=(SMALLEST,), seeds=(0,), arms=(arm,))
    (config,) = plan.grid(laptop_corpus).values()
    fitted = make_trainer(config, laptop_corpus)
    fitted.trainer.fit()
    losses = caption_losses(fitted.trainer.state.model.module, laptop_corpus.sources["caption"].validation, World(0))
    assert all(share < 0.05 for share in share_of_chance(losses).values()), losses
