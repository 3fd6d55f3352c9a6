"""Causally masked documents: turned and turned back, and what may not be lost."""

import numpy as np
import pytest

from nmm.data.batches.infilling import MEAN_SPANS, MOST, SENTINELS, draw_spans, restore, rotate

SENTINEL = 1000


@pytest.mark.parametrize("seed", range(40))
def test_rotation_and_its_inverse_give_the_document_back(seed):
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1, 120))
    ids = rng.integers(0, 900, length)
    images = [(3, min(20, length))] if length > 10 and seed % 2 else []
    spans = draw_spans(rng, length, images)
    turned = rotate(ids, spans, SENTINEL)
    assert (restore(turned.ids, SENTINEL) == ids).all()
    assert sorted(turned.source[turned.source >= 0]) == list(range(length)), "every token once"
    assert len(turned.ids) == length + (2 * len(spans) + 1 if spans else 0)
    assert turned.unforeseen.sum() == len(spans) and (turned.ids[turned.unforeseen] >= SENTINEL).all()
    assert turned.source[0] == 0, "the first token has no predecessor and stays"


def test_a_document_by_hand():
    turned = rotate(np.array([10, 11, 12, 13, 14]), [(1, 2), (3, 4)], SENTINEL)
    assert turned.ids.tolist() == [10, 1000, 12, 1001, 14, 1000, 11, 1001, 13, 1002]
    assert turned.unforeseen.tolist() == [False, True, False, True] + [False] * 6


def test_the_number_of_spans_is_a_clipped_poissons():
    rng = np.random.default_rng(0)
    counts = np.bincount([len(draw_spans(rng, 200)) for _ in range(4000)], minlength=4) / 4000
    assert counts[0] == 0
    assert counts[1] == pytest.approx(2 * np.exp(-1), abs=0.03), "none and one of the Poisson distribution"
    assert counts[2] == pytest.approx(np.exp(-1) / 2, abs=0.03)
    assert (counts * np.arange(len(counts))).sum() == pytest.approx(MEAN_SPANS, abs=0.05)
    assert SENTINELS == MOST + 1


def test_a_span_may_be_a_whole_image():
    rng = np.random.default_rng(0)
    found = [draw_spans(rng, 60, [(5, 21), (30, 46)]) for _ in range(400)]
    whole = [any(span in ((5, 21), (30, 46)) for span in spans) for spans in found]
    assert 0.4 < np.mean(whole) < 0.6
    for spans in found:
        rotate(np.arange(60), spans, SENTINEL)      # in order and apart, or it would refuse


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="a document of 5 tokens takes 8 with 1 spans masked, and the context is 7"):
        rotate(np.arange(5), [(1, 2)], SENTINEL, context=7)
    for spans in ([(0, 2)], [(2, 2)], [(1, 3), (3, 4)], [(3, 4), (1, 2)], [(4, 9)]):
        with pytest.raises(ValueError, match="spans .* of a document of 5 tokens"):
            rotate(np.arange(5), spans, SENTINEL)
    with pytest.raises(ValueError, match=r"sentinels \[0\]"):
        restore(np.array([1, 1000, 2]), SENTINEL)
