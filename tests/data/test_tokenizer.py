"""The tokenizer: lossless on any Unicode, safe against text that spells special tokens, reproducible."""

import pytest
from tokenizers import Tokenizer as HfTokenizer
from tokenizers import models

from nmm.data.corpus.tokenizer import END, IMAGE, MIN_VOCABULARY, PAD, Tokenizer

TEXTS = ["the cat sat on the mat", "naïve façade — 北京 🦊", "def f(x):\n\treturn x  # tab", "the dog sat on the log"] * 5


def test_round_trip_of_any_text_and_the_vocabulary_asked_for():
    tokenizer = Tokenizer.train(TEXTS, 320)
    assert tokenizer.vocab_size <= 320
    for text in [*TEXTS, "never seen: ﷽ \x00\x07 ẞ", ""]:
        assert tokenizer.decode(tokenizer.encode([text])[0]) == text


def test_text_that_spells_a_special_token_is_plain_text():
    tokenizer = Tokenizer.train(TEXTS, 320)
    ids = tokenizer.encode([f"a {END} b {IMAGE}{PAD}"])[0]
    assert not {tokenizer.end, tokenizer.marker("image"), tokenizer.pad} & set(ids.tolist())
    assert tokenizer.decode(ids) == f"a {END} b {IMAGE}{PAD}"


def test_training_twice_gives_the_same_file_and_it_survives_the_disk(tmp_path):
    one, two = Tokenizer.train(TEXTS, 400), Tokenizer.train(TEXTS, 400)
    assert one.to_json() == two.to_json() and one.hash == two.hash
    (tmp_path / "tokenizer.json").write_text(one.to_json(), encoding="utf-8")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert again.hash == one.hash and again.encode(TEXTS)[1].tolist() == one.encode(TEXTS)[1].tolist()


def test_a_foreign_tokenizer_gains_the_special_tokens(tmp_path):
    foreign = HfTokenizer(models.WordLevel({"a": 0, "b": 1, "<unk>": 2}, unk_token="<unk>"))
    foreign.save(str(tmp_path / "t.json"))
    tokenizer = Tokenizer.load(tmp_path / "t.json")
    assert tokenizer.vocab_size == 6 and len({tokenizer.end, tokenizer.marker("image"), tokenizer.pad, 0, 1, 2}) == 6


def test_bad_tokenizers_are_refused(tmp_path):
    with pytest.raises(ValueError, match=f"at least {MIN_VOCABULARY}"):
        Tokenizer.train(TEXTS, 100)
    (tmp_path / "t.json").write_text('{"model": 3}')
    with pytest.raises(ValueError, match=r"t\.json is not a tokenizer\.json"):
        Tokenizer.load(tmp_path / "t.json")
    with pytest.raises(OSError, match="missing"):
        Tokenizer.load(tmp_path / "missing.json")
