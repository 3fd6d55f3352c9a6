"""Compression factors on corpora whose bytes are counted by hand, and the command that prints them."""

import json

import numpy as np
import pytest
import zstandard

from nmm.cli import main
from nmm.data.corpus import factors as module
from nmm.data.corpus import store
from nmm.data.corpus.factors import factors, packed_size
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.documents import Span


def test_generated_factors(generated):
    found = factors(generated)
    own = {(each.source, each.modality): each for each in found if each.own}
    assert set(own) == {("caption", "text"), ("caption", "image"), ("interleaved", "text"), ("interleaved", "image"), ("text", "text")}
    text = own["text", "text"]
    assert text.raw == pytest.approx(generated.report["sources"]["text"]["bytes_per_token"]["text"], rel=0.02)
    by_bytes = next(each for each in found if (each.source, each.tokenizer) == ("text", "bytes"))
    assert by_bytes.raw == 1 and by_bytes.ratio == pytest.approx(text.ratio) and by_bytes.tokens == pytest.approx(text.raw * text.tokens)
    patches = {each.tokenizer: each.raw for each in found if (each.source, each.modality) == ("caption", "image")}
    assert patches == {"patches of 4": 48, "patches of 8": 192, "patches of 16": 768}


def test_packed_is_what_zstd_leaves():
    noise = np.random.default_rng(0).bytes(10_000)
    assert packed_size(noise) > 10_000 > 100 > packed_size(bytes(10_000))
    assert zstandard.decompress(zstandard.ZstdCompressor(level=module.LEVEL).compress(noise)) == noise


def test_a_sample_is_bounded(generated, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE", 4096)
    tokens = {each.source: each.tokens for each in factors(generated) if each.own and each.modality == "text"}
    assert all(count < 4000 for count in tokens.values())


def test_bytes_of_ids():
    spelled = Tokenizer.train(["a rose is a röse"] * 3, 300)
    ids = spelled.encode(["a rose is a röse"])[0]
    assert spelled.id_bytes[ids].sum() == len("a rose is a röse".encode()) and spelled.id_bytes[spelled.end] == 0
    inner = json.loads(spelled.to_json())
    inner["decoder"] = None
    import tokenizers
    assert Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(inner))).id_bytes is None, "ids that do not tell their bytes"


def test_words_of_a_generated_tokenizer(world):
    tokenizer = Tokenizer(world.tokenizer())
    document = next(world.documents("caption", 50, 0))
    ids = next(segment for segment in document.segments if not isinstance(segment, Span)).ids
    assert tokenizer.id_bytes[ids].sum() == len((tokenizer.decode(ids) + " ").encode())
    assert not tokenizer.id_bytes[[tokenizer.end, tokenizer.pad, tokenizer.marker("image")]].any()


def test_the_command(generated, tmp_path, capsys):
    chart = tmp_path / "chart.png"
    assert main(["data", "compression", str(generated.folder), "--chart", str(chart)]) == 0
    told = capsys.readouterr().out
    assert "raw B/token" in told and "patches of 16" in told and str(chart) in told
    assert chart.read_bytes().startswith(b"\x89PNG")
    assert main(["data", "compression", str(tmp_path)]) == 2 and "is not a prepared corpus" in capsys.readouterr().err
    assert main(["data", "compression", str(generated.folder), "--runs", str(tmp_path / "none")]) == 2
    assert "no runs folder" in capsys.readouterr().err
    assert store.open(generated.folder).hash == generated.hash
