"""The store: what is written comes back; damage and strangers are named."""

import json
import pickle

import numpy as np
import pytest

from nmm.data.corpus import store
from nmm.data.corpus.arrow import Shard
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.corpus.write import write_corpus
from nmm.data.documents import Document, Text
from nmm.data.generated.world import COLOURS, CONTEXT
from nmm.data.geometry import Geometry


def sequences(n: int, context: int = 24, seed: int = 0) -> list[store.Sequence]:
    random = np.random.default_rng(seed)
    rows = []
    for k in range(n):
        tokens, documents = random.integers(0, 9, context, np.int32), np.zeros(context, np.int16)
        documents[context - k % 5:] = -1
        starts = np.array([1, 8][: k % 3], np.int32)
        rows.append(store.Sequence(tokens, documents, starts, np.full(len(starts), 4, np.int32),
                                   ["jpeg", "png"][: len(starts)], [random.bytes(random.integers(0, 50)) for _ in starts],
                                   Geometry(image_size=4, patch=2)))
    return rows


def test_rows_come_back_across_shards(tmp_path):
    rows = sequences(23)
    writer = store.Writer(tmp_path, 24, rows_per_shard=10)
    for row in rows:
        writer.add(row)
    shards = writer.close()
    assert [s["rows"] for s in shards] == [10, 10, 3]
    split = store.Split([Shard(tmp_path / f"{n:05d}.arrow", s["rows"], 24) for n, s in enumerate(shards)], 0,
                        rows[0].geometry)
    assert len(split) == 23
    for k, row in enumerate(rows):
        read = split[k]
        for name in ("tokens", "documents", "starts", "lengths"):
            assert np.array_equal(getattr(read, name), getattr(row, name)), (k, name)
        assert list(read.formats) == list(row.formats) and list(read.data) == list(row.data)
    assert split.tokens.tolist() == [int((row.documents >= 0).sum()) for row in rows]
    assert split.image_tokens.tolist() == [int(row.lengths.sum()) for row in rows]
    with pytest.raises(IndexError):
        split[23]


def test_reading_a_row_copies_no_tokens(generated):
    sequence = generated.sources["text"].train[0]
    assert not sequence.tokens.flags.owndata and not sequence.tokens.flags.writeable


def test_the_content_hash_sees_every_byte(tmp_path):
    def hash_of(rows, name):
        writer = store.Writer(tmp_path / name, 24)
        for row in rows:
            writer.add(row)
        return writer.close()[0]["hash"]

    first = hash_of(sequences(9), "a")
    assert first == hash_of(sequences(9), "b")
    changed = sequences(9)
    changed[5].data[0] = changed[5].data[0][:-1] + b"\x00\x01"
    assert first != hash_of(changed, "c")


def test_a_corpus_survives_pickling_for_worker_processes(generated):
    split = generated.sources["caption"].train
    before = split[3]
    copy = pickle.loads(pickle.dumps(generated)).sources["caption"].train
    assert np.array_equal(copy[3].tokens, before.tokens) and copy[3].data == before.data


def test_the_generated_corpus_and_its_report(generated, world):
    assert generated.context == CONTEXT and generated.patches_per_image == 16 and generated.vocab_size == 756
    report = generated.report["sources"]
    assert all(source["packing_waste"] < 0.05 for source in report.values())
    assert report["caption"]["images"] == report["caption"]["documents"]
    for name, source in report.items():
        assert source["validation_documents"] == 20, name
        assert source["tokens"]["total"] == source["tokens"]["text"] + source["tokens"]["image"]
    row = generated.sources["caption"].train[0]
    words = generated.tokenizer.decode(row.tokens[17:][row.documents[17:] == 0])
    assert words.split()[0] in COLOURS and words.split()[-1] == "<|endofdocument|>"


def test_writing_again_opens_and_another_identity_is_refused(world, tmp_path):
    def write(identity, documents):
        return write_corpus({"text": ("text", documents)}, tmp_path, Tokenizer(world.tokenizer()), context=CONTEXT,
                            image_size=32, patch=8, validation=5, identity=identity)

    def never():
        raise AssertionError("a finished corpus was read again")
        yield

    first = write("one", world.documents("text", 3000, seed=0))
    assert write("one", never()).hash == first.hash
    with pytest.raises(ValueError, match="already holds a corpus made from other data"):
        write("two", never())


def test_a_killed_write_goes_on_with_the_finished_sources(world, tmp_path):
    def write(out, text):
        return write_corpus({"caption": ("caption", world.documents("caption", 3000, seed=0)), "text": ("text", text)}, out,
                            Tokenizer(world.tokenizer()), context=CONTEXT, image_size=32, patch=8, validation=5, identity="x")

    def broken():
        yield from list(world.documents("text", 500, seed=0))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "killed", broken())
    with pytest.raises(ValueError, match="did not finish"):
        store.open(tmp_path / "killed")
    first = (tmp_path / "killed/.parts/caption/00000/train/00000.arrow").stat().st_mtime_ns
    resumed = write(tmp_path / "killed", world.documents("text", 3000, seed=0))
    whole = write(tmp_path / "whole", world.documents("text", 3000, seed=0))
    assert resumed.hash == whole.hash
    assert (tmp_path / "killed/caption/train/00000.arrow").stat().st_mtime_ns == first, "a finished source was written twice"


def test_damaged_corpora_are_named(world, tmp_path):
    corpus = write_corpus({"text": ("text", world.documents("text", 3000, seed=0))}, tmp_path, Tokenizer(world.tokenizer()),
                          context=CONTEXT, image_size=32, patch=8, validation=5, identity="x")
    shard = tmp_path / "text/train/00000.arrow"
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"00000\.arrow is not a whole Arrow IPC file"):
        store.open(tmp_path).sources["text"].train[0]
    shard.write_bytes((tmp_path / "text/validation/00000.arrow").read_bytes())
    with pytest.raises(ValueError, match="corpus.json lists"):
        store.open(tmp_path).sources["text"].train[0]
    shard.unlink()
    with pytest.raises(OSError, match=r"00000\.arrow"):
        store.open(tmp_path).sources["text"].train[0]
    description = json.loads((tmp_path / "corpus.json").read_text())
    (tmp_path / "corpus.json").write_text(json.dumps({**description, "format": 99}))
    with pytest.raises(ValueError, match="has format 99"):
        store.open(tmp_path)
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        store.open(tmp_path)
    with pytest.raises(ValueError, match="is not a prepared corpus"):
        store.open(corpus.folder / "text")


def test_settings_that_cannot_work_are_refused(world, tmp_path):
    tokenizer = Tokenizer(world.tokenizer())
    documents = {"text": ("text", [Document((Text(ids=np.arange(5)),), "d")])}
    for settings, message in (
        ({"image_size": 30}, "not a multiple of patch"), ({"context": 17}, "does not fit the context"),
        ({"validation": 0}, "validation is 0"), ({"validation": 5}, "source 'text' has no training documents among its 1"),
        ({"context": 40_000}, "context 40000 is out of range"),
    ):
        with pytest.raises(ValueError, match=message):
            write_corpus(documents, tmp_path / message[:9].replace(" ", ""), tokenizer,
                         **{"context": CONTEXT, "image_size": 32, "patch": 8, "validation": 0.5, "identity": "x", **settings})
    with pytest.raises(ValueError, match="kind 'film'"):
        write_corpus({"a": ("film", [])}, tmp_path, tokenizer, context=CONTEXT, image_size=32, patch=8, validation=1, identity="x")
