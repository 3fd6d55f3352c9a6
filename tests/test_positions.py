"""Losses by position and by distance: against plain loops, in a record, and for real long text by the same path."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nmm import record as records
from nmm import runs
from nmm.data.batches.loader import IGNORE, collate
from nmm.data.corpus import store
from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.corpus.prepare import prepare
from nmm.studies import Arm, find_study
from nmm.training.probes.positions import BINS, DistanceLosses, PositionLosses, distances, places
from nmm.training.run import train


@pytest.fixture(scope="module")
def long_corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    kinds = ("interleaved", "text")
    return embedded_corpus(folder, tokens=12_000, weights=dict.fromkeys(kinds, 0.5), kinds=kinds, long=512)


def random_batch(seed: int) -> dict[str, torch.Tensor]:
    """Two rows of several documents over few words, so that much is said again, with patches between and padding after."""
    rng = np.random.default_rng(seed)
    B, L = 2, 70
    document = np.sort(rng.integers(0, 4, (B, L)), axis=1)
    document[:, -3:] = -1
    image = np.where(rng.random((B, L)) < 0.1, 0, -1)
    ids = np.where(image < 0, rng.integers(0, 9, (B, L)) // rng.integers(1, 9, (B, L)), 0)
    labels = np.full((B, L), IGNORE)
    text = (image < 0) & (document >= 0)
    labels[:, :-1] = np.where(text[:, 1:] & (document[:, 1:] == document[:, :-1]), ids[:, 1:], IGNORE)
    arrays = {"input_ids": ids, "labels": labels, "document_ids": document, "span_ids": image}
    return {name: torch.tensor(array) for name, array in arrays.items()}


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_those_of_a_plain_search(seed):
    batch = random_batch(seed)
    found, place = distances(batch, 9), places(batch["document_ids"])
    ids, labels, document, image = (batch[name].tolist() for name in ("input_ids", "labels", "document_ids", "span_ids"))
    for b in range(2):
        for t in range(70):
            def pair(at, b=b):
                return (ids[b][at], labels[b][at]) if labels[b][at] != IGNORE and image[b][at] < 0 else None
            own = pair(t)
            before = [at for at in range(t) if document[b][at] == document[b][t] and pair(at) and own]
            alike = [at for at in before if pair(at)[0] == own[0] or pair(at)[1] == own[1]]
            stood = [at for at in before if pair(at) == own]
            assert found[b, t] == (t - stood[-1] if stood and stood == alike else 0), (b, t)
            assert place[b, t] == t - document[b].index(document[b][t])
    assert (found > 0).any() and (found == 0).any()


def test_bins_hold_the_mean_loss_of_their_targets(long_corpus):
    batch = collate([long_corpus.sources[name].validation[0] for name in ("text", "interleaved")])
    torch.manual_seed(0)
    targets = batch["labels"][batch["labels"] != IGNORE]
    logits = torch.randn(len(targets), long_corpus.vocab_size)
    loss = torch.full(batch["labels"].shape, math.nan)
    loss[batch["labels"] != IGNORE] = F.cross_entropy(logits, targets, reduction="none")
    probe = PositionLosses(long_corpus.context)
    found = probe.told(probe.measure(logits, batch) + probe.measure(logits, batch))
    assert list(found) == [f"{first}-{first + 32}" for first in range(0, 512, 32)] and len(found) == BINS
    for first in range(0, 512, 32):     # one document a row: the target at position p + 1 is predicted at p
        own = loss[:, max(first - 1, 0):first + 31]
        assert found[f"{first}-{first + 32}"] == pytest.approx(float(own[~own.isnan()].mean()), rel=1e-6)
    probe = DistanceLosses(long_corpus.context, long_corpus.vocab_size)
    found, ago = probe.told(probe.measure(logits, batch)), distances(batch, long_corpus.vocab_size)
    assert found["never"] == pytest.approx(float(loss[(ago == 0) & ~loss.isnan()].mean()), rel=1e-6)
    assert found["32-64"] == pytest.approx(float(loss[(ago >= 32) & (ago < 64)].mean()), rel=1e-6)


def test_short_contexts_are_not_measured(corpus):
    assert PositionLosses.of(None, corpus) is None and DistanceLosses.of(None, corpus) is None


def study(**settings):
    return replace(find_study("smoke"), name="long-tiny", widths=(16,), budgets=(6_000,), warmup_tokens=1_000, batch_sequences=2,
                   validation_sequences=4, mixtures={"50-50": {"interleaved": 0.5, "text": 0.5}}, rope_base=10_000.0, **settings)


def test_a_run_records_them(long_corpus, tmp_path, one_thread):
    arms = (Arm(name="block-sparse", arch="moba", settings={"block_length": 64, "blocks_read": 3}),)
    run = next(iter(study(arms=arms).grid(long_corpus).values()))
    record = train(run, long_corpus)
    assert record.status == "finished", record.reason
    assert records.read(records.write(record, tmp_path)) == record
    assert record.losses.keys() == record.losses_by_position.keys() == record.losses_by_distance.keys() == {"interleaved", "text"}
    for task in record.losses:
        by = record.losses_by_position[task]
        assert len(by) == BINS and list(by)[-1] == "480-512"
        assert min(by.values()) < record.losses[task] < max(by.values()), "their mean, weighted, is the loss"
    assert record.flops_exact == sum(run.model.flops(
        context=512, tokens={name: record.tokens[name] for name in ("text", "image")}, targets=record.tokens["target"]).values())
    table = runs.by_position(tmp_path)
    assert len(table) == 2 * BINS and (table["run"] == run.id).all()
    last = table[table["last"] & (table["data"] == "text")].iloc[0]
    assert (last["first"], last["end"], last["L"]) == (480, 512, record.losses_by_position["text"]["480-512"])
    assert last["C_exact"] == record.flops_exact
    by_distance = runs.by_distance(tmp_path)
    assert set(by_distance["data"]) == {"interleaved", "text"} and by_distance["first"].min() == 0


def test_records_without_them_are_read(run, tmp_path):
    """Every record of before, whose files have no such field."""
    record = records.RunRecord(config=run, status="finished", losses={"text": 1.0},
                               tokens={"text": 1, "image": 0, "padding": 0, "target": 1})
    path = records.write(record, tmp_path)
    plain = json.loads(path.read_text())
    del plain["losses_by_position"], plain["losses_by_distance"]
    path.write_text(json.dumps(plain))
    assert records.read(path) == record
    assert not len(runs.by_position(tmp_path)) and not len(runs.by_distance(tmp_path))


@pytest.mark.parametrize("field", ["losses_by_position", "losses_by_distance"])
@pytest.mark.parametrize("bad", [{"poem": {"0-8": 1.0}}, {"text": {}}, {"text": {"0-8": -1.0}}, {"text": {"0-8": math.nan}}], ids=str)
def test_bad_values_are_refused(run, field, bad):
    with pytest.raises(records.RecordError, match=f"{field} must be"):
        records.RunRecord(config=run, status="failed", reason="-", **{field: bad})


def test_real_long_text_goes_the_same_path(tmp_path, one_thread):
    """Lines of text of a thousand words, in which much returns, prepared at a context of 512."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), 6)) for _ in range(300)]
    for task in ("interleaved", "text"):
        (tmp_path / task).mkdir()
    lines = []
    for _ in range(40):
        own = rng.choice(words, 30)
        lines.append(json.dumps({"text": " ".join(rng.choice(own, 1000))}))
    (tmp_path / "text" / "part.jsonl").write_text("\n".join(lines))
    prepare([("text", tmp_path / "text")], tmp_path / "corpus", context=512, image_size=32, patch=8, vocab_size=600, validation=0.2,
            processes=1, progress=False)
    corpus = store.open(tmp_path / "corpus")
    arms = (Arm(name="block-sparse", arch="moba", settings={"block_length": 64, "blocks_read": 3}),)
    plan = replace(study(arms=arms), mixtures={"text": {"text": 1.0}})
    record = train(next(iter(plan.grid(corpus).values())), corpus)
    assert record.status == "finished", record.reason
    assert len(record.losses_by_position["text"]) == BINS and "256-512" in record.losses_by_distance["text"]
