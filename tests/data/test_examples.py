"""The example files go through the pipeline as real ones do: the good ones in, the broken ones counted by reason."""

import pytest

from nmm.data.corpus import examples, store
from nmm.data.corpus.prepare import prepare
from nmm.data.readers.detect import detect


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return examples.write_examples(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def report(sources, tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus")
    prepare(sources, out, context=256, image_size=32, patch=8, vocab_size=384, validation=0.2, processes=1, progress=False)
    return store.open(out).report["sources"]


def test_each_data_type_has_its_format(sources):
    files = {kind: next(path for path in folder.iterdir() if path.is_file()) for kind, folder in sources}
    assert {kind: detect(path) for kind, path in files.items()} == {"caption": "tar", "interleaved": "parquet", "text": "jsonl"}


def test_the_good_ones_are_read_and_the_broken_ones_named(report):
    assert {kind: source["documents"] for kind, source in report.items()} == {
        "caption": examples.CAPTIONS, "interleaved": examples.STORIES, "text": examples.TEXTS}
    first = {kind: {name for entry in source["rejected"].values() for name in entry["first"]} for kind, source in report.items()}
    for kind, count in {"caption": 4, "interleaved": 3, "text": 2}.items():
        assert sum(entry["count"] for entry in report[kind]["rejected"].values()) == count, report[kind]["rejected"]
    assert any("no-caption" in name for name in first["caption"])
    for source in report.values():
        assert max(source["rejected_share"].values()) <= 0.05


def test_the_same_bytes_every_time(sources, tmp_path):
    for (_, here), (_, there) in zip(sources, examples.write_examples(tmp_path), strict=True):
        files = sorted(path.relative_to(here) for path in here.rglob("*") if path.is_file())
        assert [(here / file).read_bytes() for file in files] == [(there / file).read_bytes() for file in files]
