"""An objective added from outside, through public seams alone: a class, its place in the table, and an arm of a study."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torchmetrics import MeanMetric

from nmm import record as records
from nmm.config import from_dict, to_dict
from nmm.data.batches.loader import IGNORE
from nmm.studies import Arm
from nmm.training.objectives import OBJECTIVES, objective
from nmm.training.objectives.text import TextTargets
from nmm.training.run import train

pytestmark = pytest.mark.usefixtures("one_thread")


class LogZ(MeanMetric):
    """Mean squared logarithm of the softmax's denominator."""

    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        super().update(logits.logsumexp(1).square())


class Echo(TextTargets):
    """Every text token is its own target, images count nothing in D, and the logits' scale is held down."""

    name = "echo"

    def prepare(self, batch):
        text = (batch["modality"] == 0) & (batch["document_ids"] >= 0)
        return {**batch, "labels": batch["input_ids"].where(text, IGNORE)}

    def loss(self, logits, batch):
        return {**super().loss(logits, batch), "z": 1e-3 * logits.float().logsumexp(1).square().mean()}

    def metrics(self):
        return {**super().metrics(), "log_z_squared": LogZ()}

    def tokens(self, realised, target):
        return {**super().tokens(realised, target), "image": 0}


@pytest.fixture
def echo(monkeypatch) -> Iterator[Echo]:
    monkeypatch.setitem(OBJECTIVES, "echo", Echo())
    yield OBJECTIVES["echo"]


def test_a_toy_objective_is_trained_recorded_and_read(tiny, run, corpus, echo, tmp_path):
    (config,) = replace(tiny, arms=(Arm(name="echo", objective="echo"),)).grid(corpus, budgets=(10_000,)).values()
    record = train(config, corpus)
    plain = train(run, corpus)
    assert records.read(records.write(record, tmp_path)) == record
    assert record.metrics.keys() == {"log_z_squared"} and record.metrics["log_z_squared"].keys() == record.losses.keys()
    assert plain.metrics is None
    assert record.losses["text"] < 0.7 * plain.losses["text"], "a token says itself, all is known"
    assert record.curve[-1][1] < record.curve[0][1], "what the curve shows is the loss, without the penalty"
    assert record.tokens["target"] == record.tokens["text"] > plain.tokens["target"]
    assert record.D == plain.D - plain.tokens["image"] and record.flops_exact < plain.flops_exact + 6 * 16 * 512 * record.tokens["target"]
    assert record.losses_by_token.keys() == plain.losses_by_token.keys()


def test_an_objective_names_a_run_unless_it_is_the_studys(run, echo):
    other = replace(run, objective="echo")
    assert other.id != run.id and replace(other, objective="text").id == run.id
    assert from_dict(to_dict(other)) == other
    before = to_dict(run)
    del before["objective"]
    assert from_dict(before).id == run.id, "records from before there were objectives"


def test_an_unknown_objective_is_named(run, corpus):
    with pytest.raises(ValueError, match="unknown objective 'echo': known are text"):
        train(replace(run, objective="echo"), corpus)
    assert objective("text") is OBJECTIVES["text"]
