"""A new study is one object: two mixtures of one corpus, through the public seams alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from nmm import runs
from nmm.data.batches.mixture import MIXTURES
from nmm.studies import STUDIES, Study, find_study, prepare_corpus, register, run_study
from nmm.sweep import Report, read_family, train_family


@pytest.fixture
def study():
    yield register(Study(
        name="two mixtures", widths=(16, 32), budgets=(4_000,), warmup_tokens=1_000, validation_sequences=8,
        mixtures={name: MIXTURES[name] for name in ("45-45-10", "20-40-40")},
    ))
    del STUDIES["two mixtures"]


class InProcess:
    def train(self, families: Sequence[Path]) -> Iterator[Report]:
        for path in families:
            said: list[Report] = []
            train_family(read_family(path), said.append)
            yield from said


def test_one_corpus_serves_all_mixtures_and_no_law_is_fitted_across_them(study, tmp_path, one_thread):
    assert find_study("two mixtures") is study
    summary, folder = run_study("two mixtures", executor=InProcess(), work=tmp_path)
    assert len(summary.finished) == 4 and summary.whole
    assert len(list((tmp_path / "corpora").iterdir())) == 1
    table = runs.load(folder)
    assert set(table["mixture"]) == {"45-45-10", "20-40-40"}
    text = table["D_text"] / table["D"]
    assert text[table["mixture"] == "20-40-40"].min() > text[table["mixture"] == "45-45-10"].max()
    with pytest.raises(ValueError, match=r"these 4 runs differ in more than N, D and seed.*mixture \(\"20-40-40\", \"45-45-10\"\)"):
        runs.finished(table, "early")
    assert len(runs.finished(table, "early", by=["mixture"])) == 4
    assert runs.by_arm(table)["arm"].unique().tolist() == ["early fusion"]


def test_the_corpus_has_enough_for_every_mixture(study, tmp_path):
    corpus = prepare_corpus(study, None, tmp_path)
    for kind in ("caption", "interleaved", "text"):
        most = max(weights[kind] for weights in study.mixtures.values())
        assert corpus.sources[kind].train.tokens.sum() >= most * study.max_tokens


def test_shares_that_are_none_are_named(study, tmp_path):
    bad = Study(name="bad", widths=(16,), budgets=(4_000,), mixtures={"mine": {"caption": 0.5, "text": 0.6}})
    with pytest.raises(ValueError, match="mixture 'mine' of study 'bad': shares of caption, interleaved, text that sum to 1"):
        prepare_corpus(bad, None, tmp_path)
