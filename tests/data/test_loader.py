"""Batches: every field against a slow reference, and one order whatever the workers, ranks or interruptions."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from nmm.data.batches.loader import IGNORE, collate, train_batches, validation_batches
from nmm.data.batches.mixture import Mixture
from nmm.data.corpus import store
from nmm.data.corpus.formats import FORMATS, Format, known
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.corpus.write import write_corpus
from nmm.data.documents import Document, Span, Text
from nmm.data.generated.world import render
from tests.data.conftest import image_bytes, sentence


def reference(sequence: store.Sequence) -> dict[str, np.ndarray]:
    """The contract, position by position."""
    L = len(sequence.tokens)
    span_ids = np.full(L, -1)
    for number, (start, length) in enumerate(zip(sequence.starts, sequence.lengths)):
        span_ids[start:start + length] = number
    labels = np.full(L, IGNORE)
    for p in range(L - 1):
        same = sequence.documents[p] == sequence.documents[p + 1] >= 0
        if same and span_ids[p + 1] < 0:
            labels[p] = sequence.tokens[p + 1]
    ids = np.array([sequence.tokens[p] if span_ids[p] < 0 <= sequence.documents[p] else 0 for p in range(L)])
    return {"input_ids": ids, "labels": labels, "document_ids": sequence.documents, "span_ids": span_ids}


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_collate_against_the_reference(generated):
    rows = [generated.sources[name].train[k] for k in range(7) for name in ("caption", "text", "interleaved")]
    batch = collate(rows)
    assert {name: str(value.dtype) for name, value in batch.items()} == {
        "input_ids": "torch.int64", "labels": "torch.int64", "document_ids": "torch.int64", "span_ids": "torch.int64",
        "modality": "torch.int64", "patches": "torch.float32"}
    assert batch["patches"].shape == (21, 16 * max(len(row.data) for row in rows), 192)
    for k, row in enumerate(rows):
        for name, expected in reference(row).items():
            assert np.array_equal(batch[name][k].numpy(), expected), (k, name)
        own = render(row.data).reshape(-1, 192) if row.data else np.zeros((0, 192), np.float32)
        assert np.array_equal(batch["patches"][k, :len(own)].numpy(), own)
        assert not batch["patches"][k, len(own):].any()


def test_what_is_predicted(generated):
    row = generated.sources["caption"].train[0]
    batch = collate([row])
    labels, images = batch["labels"][0], batch["span_ids"][0]
    end, begin = generated.tokenizer.end, generated.tokenizer.marker("image")
    assert images[:18].tolist() == [-1] + [0] * 16 + [-1]
    assert labels[:16].tolist() == [IGNORE] * 16, "image tokens are no targets"
    assert labels[16] == row.tokens[17], "the last patch predicts the first word"
    ends = (batch["input_ids"][0] == end).nonzero().flatten()
    assert (labels[ends] == IGNORE).all(), "nothing is predicted across documents"
    assert begin not in labels, "a caption begins with its image, which nothing precedes"


def test_a_batch_without_images_has_no_patches(generated):
    batch = collate([generated.sources["text"].train[k] for k in range(3)])
    assert batch["patches"].shape == (3, 0, 192) and (batch["span_ids"] == -1).all()


def test_mixed_formats_are_decoded_once_each(tmp_path, monkeypatch):
    documents = [Document(tuple(part for k, fmt in enumerate(("JPEG", "PNG", "WEBP")) for part in (
        Span(image_bytes(9 * n + k, fmt=fmt), fmt.lower()), Text(sentence(k)))), f"d{n}") for n in range(12)]
    tokenizer = Tokenizer.train([sentence(k) for k in range(20)], 300)
    corpus = write_corpus({"web": ("interleaved", documents)}, tmp_path, tokenizer, context=200, image_size=16, patch=8,
                          validation=2, identity="x")
    calls = []
    decode = FORMATS["png"].decode

    def counting(blobs, positions, geometry, draws):
        calls.append(len(blobs))
        return decode(blobs, positions, geometry, draws)

    for name in ("jpeg", "png", "webp"):
        monkeypatch.setitem(FORMATS, name, Format("image", counting))
    split = corpus.sources["web"].train
    rows = [split.augmented(k, 0, 0) for k in range(len(split))]
    batch = collate(rows)
    assert calls == [sum(len(row.data) for row in rows)]
    row = rows[1]
    expected = decode(row.data, row.lengths, corpus.geometry, [(*row.draw, n) for n in range(len(row.data))])
    assert np.array_equal(batch["patches"][1, :len(expected)].numpy(), expected)


def test_an_unknown_format_is_named():
    with pytest.raises(ValueError, match="unknown format 'tiff'"):
        known("tiff")


@pytest.fixture(scope="module")
def mixture(generated):
    return Mixture(generated, "45-45-10", seed=5, max_epochs=2)


def test_workers_change_nothing(mixture):
    plain = list(train_batches(mixture, batch_size=4, steps=12))
    assert len(plain) == 12
    for workers in (1, 2):
        assert all(map(equal, plain, train_batches(mixture, batch_size=4, steps=12, num_workers=workers)))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_resumed_loader_goes_on_where_it_stopped(mixture, workers):
    whole = list(train_batches(mixture, batch_size=4, steps=10))
    before = train_batches(mixture, batch_size=4, steps=10, num_workers=2)
    state = before.dataset.state_dict(6 * 4, True)  # Composer's call after six batches
    after = train_batches(mixture, batch_size=4, steps=10, num_workers=workers)
    after.dataset.load_state_dict(state)
    rest = list(after)
    assert len(rest) == 4 and all(map(equal, whole[6:], rest))
    assert len(list(after)) == 10, "the offset holds for one pass"


def test_ranks_share_the_global_order(mixture):
    whole = list(train_batches(mixture, batch_size=4, steps=6))
    ranks = [list(train_batches(mixture, batch_size=2, steps=6, rank=r, world_size=2)) for r in range(2)]
    for step in range(6):
        for name in ("input_ids", "labels", "span_ids"):
            assert torch.equal(torch.cat([ranks[0][step][name], ranks[1][step][name]]), whole[step][name])


def test_longer_training_begins_alike(mixture):
    short, long = (train_batches(mixture, batch_size=4, steps=n) for n in (5, 50))
    assert all(map(equal, short, list(long)[:5]))


def test_validation_is_the_same_every_time_and_complete(generated):
    held_out = generated.sources["interleaved"].validation
    one, two = list(validation_batches(held_out, 8)), list(validation_batches(held_out, 8, num_workers=2))
    assert sum(len(b["input_ids"]) for b in one) == len(held_out) and all(map(equal, one, two))
    assert sum(len(b["input_ids"]) for b in validation_batches(held_out, 8, limit=11)) == 11
    with pytest.raises(ValueError, match="no held-out sequences"):
        validation_batches([], 8)


def test_too_little_data_and_bad_sizes_are_refused(mixture):
    with pytest.raises(ValueError, match="is too small"):
        train_batches(mixture, batch_size=4, steps=100_000)
    with pytest.raises(ValueError, match="at least 1: got 0 and 5"):
        train_batches(mixture, batch_size=0, steps=5)


def test_only_the_loader_imports_torch():
    code = ("import sys, nmm.data.corpus.store, nmm.data.batches.mixture, nmm.data.corpus.prepare, nmm.data.corpus.write, "
            "nmm.data.corpus.show\n"
            "print([name for name in ('torch', 'composer', 'pandas') if name in sys.modules])")
    assert json.loads(subprocess.check_output([sys.executable, "-c", code], text=True).replace("'", '"')) == []


COMPOSER = """
import hashlib, json, os, signal, sys
import torch
from composer import Callback, DataSpec, Trainer
from composer.models import ComposerModel
from nmm.data.corpus import store
from nmm.data.batches.loader import train_batches
from nmm.data.batches.mixture import Mixture

folder, out = sys.argv[1:]

class Model(ComposerModel):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = torch.nn.Embedding(756, 8), torch.nn.Linear(8, 756)
    def forward(self, batch): return self.head(self.embed(batch["input_ids"]))
    def loss(self, out, batch): return torch.nn.functional.cross_entropy(out.flatten(0, 1), batch["labels"].flatten())

class Record(Callback):
    def __init__(self, file, stop): self.file, self.stop = file, stop
    def after_loss(self, state, logger):
        data = b"".join(state.batch[k].numpy().tobytes() for k in sorted(state.batch))
        print(json.dumps([int(state.timestamp.batch), hashlib.md5(data).hexdigest(), float(state.loss)]), file=self.file, flush=True)
    def batch_end(self, state, logger):
        if int(state.timestamp.batch) == self.stop: os.kill(os.getpid(), signal.SIGKILL)

def train(name, file, workers, stop):
    loader = train_batches(Mixture(store.open(folder), "45-45-10", seed=1), batch_size=4, steps=12, num_workers=workers)
    model = Model()
    Trainer(model=model, train_dataloader=DataSpec(loader, get_num_samples_in_batch=lambda b: len(b["input_ids"])),
            optimizers=torch.optim.Adam(model.parameters()), max_duration="12ba", device="cpu", device_train_microbatch_size=4,
            run_name="r", callbacks=[Record(file, stop)], save_folder=f"{out}/{name}", save_interval="3ba", autoresume=True,
            progress_bar=False).fit()

# Importing Composer takes long: every run is a fork of this process.
for run, (name, workers, stop) in enumerate([("whole", 0, -1), ("killed", 0, 7), ("killed", 2, -1)]):
    child = os.fork()
    if not child:
        with open(f"{out}/{run}.jsonl", "w") as file:
            train(name, file, workers, stop)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) == (stop > 0) and (stop > 0 or status == 0), (name, status)
"""


@pytest.mark.timeout(600)
def test_composer_killed_in_mid_epoch_resumes_alike_with_other_workers(generated, tmp_path):
    """Batches and losses of a killed and resumed run, with another number of workers, are those of a whole run."""
    script = tmp_path / "run.py"
    script.write_text(COMPOSER)
    subprocess.run([sys.executable, str(script), str(generated.folder), str(tmp_path)], check=True,
                   env={**os.environ, "OMP_NUM_THREADS": "1"})
    whole, killed, resumed = ([json.loads(line) for line in (tmp_path / f"{run}.jsonl").read_text().splitlines()]
                              for run in range(3))
    assert len(whole) == 12 and len({digest for _, digest, _ in whole}) == 12
    assert killed == whole[:7]
    assert resumed == whole[6:], "the last checkpoint before the kill is of batch 6"
