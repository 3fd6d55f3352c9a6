"""Images of several sizes in one corpus: each is seen as large as it is, no larger than the largest size, and packed so."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nmm.cli import main
from nmm.data.batches.loader import collate
from nmm.data.corpus import store
from nmm.data.corpus.prepare import prepare
from nmm.data.corpus.show import report_table, samples_html
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.corpus.write import write_corpus
from nmm.data.documents import Document, Span
from nmm.data.geometry import Geometry
from nmm.data.images import check, decode, to_pixels
from tests.data.conftest import caption_members, image_bytes, sentence, write_tar

SIZES = ((40, 32), (20, 30), (70, 200), (9, 12))        # width and height; short sides 32, 20, 70, 9
SETTINGS = {"context": 128, "patch": 8, "vocab_size": 400, "validation": 0.1, "processes": 1, "progress": False}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    (root / "captions").mkdir()
    write_tar(root / "captions/0.tar", caption_members(range(80), SIZES))
    images = [[None, {"bytes": image_bytes(100 + n, SIZES[n % 4])}, None] for n in range(24)]
    texts = [[sentence(n), None, sentence(n + 500)] for n in range(24)]
    (root / "stories").mkdir()
    pq.write_table(pa.table({"images": images, "texts": texts}), root / "stories/0.parquet")
    return [("caption", root / "captions"), ("interleaved", root / "stories")]


@pytest.fixture(scope="module")
def corpus(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("sizes")
    prepare(files, out, image_size=(64, 16, 32, 16), **SETTINGS)
    return store.open(out)


def rows(corpus):
    splits = [split for source in corpus.sources.values() for split in (source.train, source.validation)]
    return [split[k] for split in splits for k in range(len(split))]


def test_the_size_that_an_image_gets():
    geometry = Geometry(image_size=(224, 112), patch=14)
    assert geometry.sizes == (112, 224) and geometry.patches_per_image == 256
    assert [geometry.patches(side) for side in (8, 112, 223, 224, 5000)] == [64, 64, 64, 256, 256]
    assert Geometry(image_size=[224], patch=14) == Geometry(image_size=224, patch=14)


def test_every_image_is_as_large_as_it_is(corpus):
    assert corpus.geometry.sizes == (16, 32, 64) and corpus.image_size == 64 and corpus.patches_per_image == 64
    seen = {}
    for row in rows(corpus):
        for data, length in zip(row.data, row.lengths.tolist()):
            seen.setdefault(check(data, corpus.geometry)[2], set()).add(length)
    assert seen == {(40, 32): {16}, (20, 30): {4}, (70, 200): {64}, (9, 12): {4}}
    report = corpus.report["sources"]["caption"]
    assert report["images"] == 80 and report["tokens"]["image"] == 20 * (16 + 4 + 64 + 4)
    assert report["tokens_per_image"] == 22 and report["bytes_per_token"]["image"] == 192


def test_a_batch_is_the_images_one_by_one(corpus):
    split = corpus.sources["caption"].train
    sequences = [split.augmented(k, 1, 7) for k in range(len(split))]
    batch = collate(sequences)
    assert len({len(row.lengths) and int(row.lengths.sum()) for row in sequences}) > 1, "rows have different numbers of patches"
    for patches, span_ids, modality, row in zip(batch["patches"], batch["span_ids"], batch["modality"], sequences):
        expected = []
        for number, (data, length) in enumerate(zip(row.data, row.lengths.tolist())):
            side = 8 * math.isqrt(length)
            expected.append(decode([data], [length], Geometry(image_size=side, patch=8), [(*row.draw, number)]))
            assert (span_ids == number).sum() == length
        expected = np.concatenate(expected)
        assert np.array_equal(patches[:len(expected)].numpy(), expected) and not patches[len(expected):].any()
        assert np.array_equal(modality.numpy(), (span_ids >= 0).long().numpy())


def test_decoding_together_is_decoding_alone():
    geometry = Geometry(image_size=(16, 32), patch=8)
    blobs, positions, draws = [image_bytes(k) for k in range(5)], [16, 4, 4, 16, 4], [None, (1,), None, (2,), (3,)]
    together = np.split(decode(blobs, positions, geometry, draws), np.cumsum(positions)[:-1])
    for blob, length, draw, own in zip(blobs, positions, draws, together):
        assert np.array_equal(own, decode([blob], [length], geometry, [draw]))
        assert to_pixels(own[None], geometry).shape == (1, 8 * math.isqrt(length), 8 * math.isqrt(length), 3)


def test_one_size_gives_the_corpus_it_always_gave(files, tmp_path):
    """A list of one size is that size: same hash, identity and report, so that a corpus made before is opened."""
    prepare(files, tmp_path / "out", image_size=32, **SETTINGS)
    before = (tmp_path / "out/corpus.json").read_text()
    prepare(files, tmp_path / "out", image_size=[32], **SETTINGS)
    assert (tmp_path / "out/corpus.json").read_text() == before
    description = json.loads(before)
    assert description["image_size"] == 32 and not any("audio" in name or "video" in name for name in description)
    assert set(description["sources"]["caption"]["train"]) == {
        "documents", "images", "text_tokens", "image_tokens", "sequences", "text_bytes", "image_bytes", "pixel_bytes", "shards"}
    with pytest.raises(ValueError, match="already holds a corpus made from other data or settings"):
        prepare(files, tmp_path / "out", image_size=(16, 32), **SETTINGS)


def test_the_command_and_its_pictures(files, corpus, tmp_path, capsys):
    (_, captions), _ = files
    command = ["data", "prepare", "--source", f"caption={captions}", "--out", str(tmp_path / "corpus"), "--context", "128", "--patch",
               "8", "--vocab-size", "400", "--validation", "0.1", "--processes", "1", "--image-size"]
    assert main([*command, "16,32"]) == 0
    assert "images of 16, 32 px in patches of 8 px" in capsys.readouterr().out
    assert store.open(tmp_path / "corpus").geometry.sizes == (16, 32)
    with pytest.raises(SystemExit):
        main([*command, "16;32"])
    assert "whole numbers with a comma between, as 112,224: got '16;32'" in capsys.readouterr().err
    assert main([*command, "16,30"]) == 2
    assert "image size 30 is not a multiple of patch 8" in capsys.readouterr().err
    assert "images of 16, 32, 64 px" in report_table(corpus.report)
    assert samples_html(store.open(tmp_path / "corpus"), 4).count("data:image/png;base64,") == 4


def test_settings_that_cannot_work(tmp_path):
    for sizes, message in (
        ((30, 31), "image size 30, 31 is not a multiple of patch 8"), ((), "image size missing"), ((0, 16), "image size 0 is not"),
        ((16, 96), r"an image of 144 patches \(size 96, patch 8\) does not fit the context of 128"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare([("text", tmp_path)], tmp_path / "out", image_size=sizes, **SETTINGS)
    documents = [Document((Span(image_bytes(0), "jpeg"),), "photo")]
    with pytest.raises(ValueError, match="document photo: an image without its number of patches"):
        write_corpus({"a": ("caption", documents)}, tmp_path / "out", Tokenizer.train(["a"], 300), context=128, image_size=(16, 32),
                     patch=8, validation=0.5, identity="x")
