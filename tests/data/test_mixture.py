"""Mixtures: exact shares of tokens, one order for every budget, seeded, and refused when the corpus is too small."""

import numpy as np
import pytest

from nmm.data.batches.mixture import MIXTURES, Mixture, resolve
from nmm.data.corpus.store import Source
from nmm.data.geometry import Geometry


class Rows:
    """A split that only knows how many tokens its sequences have."""

    def __init__(self, tokens):
        self.tokens = np.asarray(tokens, np.int64)

    def tokens_of(self, modality):
        return self.tokens // 2

    def __len__(self):
        return len(self.tokens)


class TableFive:
    """A corpus with the paper's five sources, as far as a mixture looks at it."""

    folder, context, geometry = "five", 100, Geometry(image_size=8, patch=4)

    def __init__(self, scale: int = 1):
        random = np.random.default_rng(0)
        kinds = {"dfn": "caption", "coyo": "caption", "hqitp": "caption", "obelics": "interleaved", "dclm": "text"}
        sizes = {"dfn": 600, "coyo": 300, "hqitp": 200, "obelics": 900, "dclm": 400}
        self.sources = {name: Source(name, kind, Rows(random.integers(40, 101, scale * sizes[name])), Rows([]))
                        for name, kind in kinds.items()}

    def of_kind(self, kind):
        return [s for s in self.sources.values() if s.kind == kind]


TABLE_5 = {"caption": {"dfn": 27, "coyo": 11.25, "hqitp": 6.75}, "interleaved": 45, "text": 10}


def test_nested_weights_as_in_table_5():
    assert resolve(TABLE_5, TableFive()) == pytest.approx(
        {"dfn": 0.27, "coyo": 0.1125, "hqitp": 0.0675, "obelics": 0.45, "dclm": 0.10})


def test_the_four_presets():
    assert list(MIXTURES) == ["45-45-10", "40-20-40", "30-30-40", "20-40-40"]
    corpus = TableFive()
    shares = resolve("40-20-40", corpus)
    captions = {name: corpus.sources[name].train.tokens.sum() for name in ("dfn", "coyo", "hqitp")}
    assert shares["obelics"] == pytest.approx(0.2) and shares["dclm"] == pytest.approx(0.4)
    assert shares["dfn"] == pytest.approx(0.4 * captions["dfn"] / sum(captions.values()))


@pytest.mark.parametrize("weights", [TABLE_5, "30-30-40", {"dclm": 1}, {"hqitp": 1, "dclm": 3}])
def test_shares_of_tokens_are_exact_after_every_sequence(weights):
    mixture = Mixture(TableFive(), weights, seed=3, max_epochs=4)
    source, index, _ = mixture.order(1500)
    tokens = np.array([mixture.splits[s].tokens[i] for s, i in zip(source, index)])
    total = np.cumsum(tokens)
    for number, name in enumerate(mixture.names):
        mine = np.cumsum(np.where(source == number, tokens, 0))
        worst = np.abs(mine - mixture.weights[name] * total).max()
        assert worst <= mixture.corpus.context * len(mixture.names), f"{name} is {worst} tokens off its weight"
    realised = mixture.realised(1500)
    for name, share in mixture.weights.items():
        assert realised[name]["share"] == pytest.approx(share, abs=0.002)
        assert realised[name]["tokens"] == realised[name]["text_tokens"] + realised[name]["image_tokens"]


def test_a_longer_run_begins_with_the_shorter_one():
    mixture = Mixture(TableFive(), TABLE_5, seed=0, max_epochs=3)
    full = mixture.order()
    for n in (1, 7, 100, 1000, len(full[0])):
        for short, long in zip(mixture.order(n), full):
            assert np.array_equal(short, long[:n])


def test_order_depends_on_the_seed_and_not_on_how_weights_are_written():
    corpus = TableFive()
    one = Mixture(corpus, {"dclm": 1, "obelics": 2}, seed=0).order(200)
    same = Mixture(corpus, {"obelics": 20.0, "dclm": 10.0}, seed=0).order(200)
    other = Mixture(corpus, {"dclm": 1, "obelics": 2}, seed=1).order(200)
    assert all(np.array_equal(a, b) for a, b in zip(one, same))
    assert not np.array_equal(one[1], other[1])


def test_every_epoch_is_another_permutation_of_all_sequences():
    mixture = Mixture(TableFive(), {"dclm": 1}, seed=0, max_epochs=3)
    _, index, epoch = mixture.order()
    assert len(index) == 1200 and epoch.tolist() == sorted(epoch)
    epochs = [index[epoch == e] for e in range(3)]
    assert all(np.array_equal(np.sort(e), np.arange(400)) for e in epochs)
    assert not np.array_equal(epochs[0], epochs[1])


def test_a_corpus_too_small_is_refused_with_the_remedy_that_works():
    corpus = TableFive()
    mixture = Mixture(corpus, "45-45-10", seed=0)
    available = len(mixture.order()[0])
    assert mixture.require(available * 100) == available
    with pytest.raises(ValueError, match=r"600,000 tokens are needed, .* available .* max_epochs=\d+") as error:
        mixture.require(600_000)
    remedy = int(str(error.value).rsplit("max_epochs=", 1)[1])
    assert Mixture(corpus, "45-45-10", seed=0, max_epochs=remedy).require(600_000) == 6000


def test_bad_weights_are_refused():
    corpus = TableFive()
    for weights, message in (
        ("50-50", "unknown mixture '50-50'"), ({"laion": 1}, "names 'laion', but the corpus has the sources dfn"),
        ({"dclm": -1}, "weight of 'dclm' is -1"), ({"dclm": 0}, "all zero"), ({"dclm": float("nan")}, "nan"),
        ({"dfn": 1, "caption": 1}, "names source 'dfn' twice"), ({"caption": {"dfn": 1, "laion": 2}}, "names 'laion', but"),
        ({"caption": {"dfn": 1, "dclm": 2}}, "lists source 'dclm' under 'caption': it is text"),
        ({"caption": {}, "text": 1}, "group 'caption' is empty"), ({"caption": {"dfn": -3}}, "weight of 'dfn' is -3"),
        ({"web": {"dfn": 1, "dclm": {"dclm": 1, "dfn": 1}}}, "names source 'dfn' twice"),
    ):
        with pytest.raises(ValueError, match=message):
            resolve(weights, corpus)
    with pytest.raises(ValueError, match="max_epochs is 0"):
        Mixture(corpus, "45-45-10", seed=0, max_epochs=0)


def test_large_orders_are_made_in_time():
    mixture = Mixture(TableFive(scale=2000), TABLE_5, seed=0)
    source, _, _ = mixture.order(1_000_000)
    assert len(source) == 1_000_000


def test_read_backwards_it_begins_with_what_comes_last():
    """A run and one that starts from it have no sequence in common while both read less of a source than there is."""
    corpus = TableFive()
    alone, both = Mixture(corpus, {"dclm": 1}, seed=5), Mixture(corpus, {"dclm": 1, "obelics": 2}, seed=5, backwards=True)
    first = set(alone.order(200)[1])
    source, index, _ = both.order(450)
    later = set(index[source == both.names.index("dclm")])
    assert len(first) == 200 and len(later) > 100 and not first & later
    forwards = Mixture(corpus, {"dclm": 1, "obelics": 2}, seed=5).order(450)
    assert first & set(forwards[1][forwards[0] == 0])
