"""An architecture of its own through the public seams alone: a configuration, a model and a study, each what one file would hold.

A real one is three files: `nmm/architectures/window.py`, `nmm/models/window.py` and `nmm/studies/window.py`; every file of these
folders is read, so no list has to name them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from nmm import record as records
from nmm import runs
from nmm.architectures import MODELS, EarlyFusionConfig
from nmm.config.checks import positive
from nmm.config.flops import exact_train_flops
from nmm.config.model import architecture
from nmm.data.batches.loader import collate
from nmm.models import build
from nmm.models.attention import Attend, PackedMask, sdpa
from nmm.models.early_fusion import EarlyFusion
from nmm.models.registry import BUILT, model_of
from nmm.studies import Arm
from nmm.training.run import train

# nmm/architectures/window.py


@dataclass(frozen=True, kw_only=True)
class WindowConfig(EarlyFusionConfig):
    """Early fusion in which a position sees no further back than its window; inside an image all patches see each other."""

    arch: ClassVar[str] = "window"
    window: int = 32            # positions, its own included

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "window")

    def flops(
        self, *, context: float, tokens: Mapping[str, float], targets: float, patches_per_image: float = 0.0,
        frozen_encoder: bool = False,
    ) -> dict[str, float]:
        """As early fusion's, with scores over the window alone, as a kernel that skips the others has them."""
        return super().flops(context=min(context, self.window), tokens=tokens, targets=targets)


# nmm/models/window.py


@dataclass(frozen=True)
class WindowMask(PackedMask):
    window: int

    def dense(self) -> Tensor:
        at, span = torch.arange(self.span_ids.shape[1]), self.span_ids
        same_image = (span[:, :, None] == span[:, None, :]) & (span >= 0)[:, :, None]
        return super().dense() & (same_image | (at[:, None] - at < self.window))[:, None]


class WindowFusion(EarlyFusion):
    def attend(self, batch: dict[str, Tensor]) -> Attend:
        return sdpa(WindowMask(batch["document_ids"], batch["span_ids"], self.config.window))


@pytest.fixture(autouse=True)
def registered():
    """As importing the two files would; the tests after these find what they know."""
    architecture(WindowConfig)
    model_of(WindowConfig)(WindowFusion)
    yield
    del MODELS["window"], BUILT["window"]


# nmm/studies/window.py


@pytest.fixture
def study(tiny):
    return replace(tiny, name="window", budgets=(10_000,), arms=(
        Arm(name="early fusion"), Arm(name="a window of 16", arch="window", settings={"window": 16})))


def test_it_is_built_and_counted(study, corpus):
    early, mine = (run.model for run in study.grid(corpus).values())
    assert sum(weights.numel() for weights in build(mine).parameters()) == mine.counts.all == early.counts.all
    asked = {"context": corpus.context, "tokens": {"text": 600.0, "image": 400.0}, "targets": 500.0}
    saved = 12 * mine.n_layers * mine.d_model * (corpus.context - 16) * 1000
    assert exact_train_flops(early, **asked) - exact_train_flops(mine, **asked) == saved


def test_it_attends_within_its_window(study, corpus):
    early, mine = (run.model for run in study.grid(corpus).values())
    split = corpus.sources["text"].train
    batch = collate([split[number] for number in range(2)])
    model = build(early)
    expected = model(batch)
    for window, same in ((corpus.context, True), (2, False)):
        windowed = build(replace(mine, window=window))
        windowed.load_state_dict(model.state_dict())
        assert torch.allclose(windowed(batch), expected, atol=1e-5) == same


def test_it_is_trained_recorded_and_in_the_table(study, corpus, tmp_path, one_thread):
    run = next(run for run in study.grid(corpus).values() if run.model.arch == "window")
    record = train(run, corpus)
    assert record.status == "finished", record.reason
    assert record.curve[-1][1] < record.curve[0][1]
    assert records.read(records.write(record, tmp_path)) == record
    row = runs.load(tmp_path).iloc[0]
    assert (row["arch"], row["arm"], row["N"]) == ("window", "a window of 16", run.model.counts.N)
    tokens = {name: record.tokens[name] for name in ("text", "image")}
    assert row["C_exact"] == sum(
        run.model.flops(context=corpus.context, tokens=tokens, targets=record.tokens["target"]).values())
