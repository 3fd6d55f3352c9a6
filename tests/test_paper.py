"""The published numbers are complete, and the audit marks what is known to be wrong and clears what is not."""

import numpy as np
import pytest

from nmm import paper
from nmm.laws import audit
from nmm.laws.use.audit import VERDICTS, audit_frontiers, derived_range, sparse_row_check, verdict
from nmm.studies.presets import PAPER_EARLY, PAPER_LATE, PAPER_LATE_FIXED, PAPER_MOE


def test_printed_numbers_keep_their_rounding():
    assert paper.Printed("0.3383", "here").half_unit == pytest.approx(5e-5)
    assert paper.Printed("0.710", "here").low == pytest.approx(0.7095)
    assert paper.Printed("381773", "here").half_unit == 0.5
    assert paper.Printed("1.75e9", "here").half_unit == pytest.approx(5e6)
    assert paper.Printed("-4.8e-2", "here").half_unit == pytest.approx(5e-4)


def test_all_twelve_equations_of_figure_28_are_there():
    frontiers = [f for row in paper.FIGURE_28.values() for f in row]
    assert len(frontiers) == 12
    assert all(20 < f.K.value < 50 and -0.07 < f.c.value < -0.04 for f in frontiers)
    assert len(paper.TABLE_2) == 6
    assert len(paper.TABLE_3) == 4


@pytest.fixture(scope="module")
def audited():
    return audit()


@pytest.mark.parametrize(
    ("row", "where", "quantity", "expected"),
    [
        ("late", "Table 2", "a", "neither"),
        ("late", "Table 2", "b", "closed form"),
        ("late", "Table 2", "d", "neither"),
        ("late", "Sec. 3.1", "a - b", "closed form"),
        ("sparse", "Table 2", "a", "procedure"),
        ("sparse", "Table 2", "b", "closed form"),
        ("sparse", "Table 2", "d", "procedure"),
        ("early", "Table 2", "a", "closed form"),
        ("early, interleaved", "Table 2", "a", "procedure"),
        ("early", "Table 9, closed form", "n", "closed form"),
        ("early", "Table 9, regression", "a", "procedure"),
        ("early", "Table 11, Avg", "mean of a", "closed form"),
        ("early", "Table 11, Std", "spread of d", "closed form"),
        ("early", "Table 11, Avg", "mean of b", "neither"),
        ("early", "Table 11, Std", "spread of b", "neither"),
    ],
)
def test_verdicts(audited, row, where, quantity, expected):
    found = audited[(audited["row"] == row) & (audited["where"] == where) & (audited["quantity"] == quantity)]
    assert list(found["verdict"]) == [expected], found.to_string()


def test_no_verdict_rests_on_a_figure(audited):
    assert not audited["where"].str.contains("Figure").any()
    assert set(audited["verdict"]) == set(VERDICTS)


def test_late_fusion_in_numbers():
    late = next(law for law in paper.TABLE_2 if law.name == "late")
    value, low, high = derived_range(late.alpha, late.beta)["a"]
    assert value == pytest.approx(0.5382, abs=5e-5)
    assert low < value < high
    assert high - low < 3e-4


def test_a_made_up_row_is_judged():
    where = "made up"
    texts = {"E": "2.0", "alpha": "0.30", "beta": "0.30", "a": "0.50", "b": "0.70"}
    numbers = {key: paper.Printed(text, where) for key, text in texts.items()}
    assert list(audit([paper.LawRow(name="x", where=where, **numbers)])["verdict"]) == ["closed form", "neither"]
    assert verdict(paper.Printed("0.60", where), (0.49, 0.51)) == "neither"
    assert verdict(paper.Printed("0.60", where), (0.49, 0.51), (0.52, 0.597)) == "procedure"


def test_frontiers_cross_their_own_floor():
    table = audit_frontiers()
    sparse = table[(table["row"] == "sparse") & (table["where"] == "Figure 26")].iloc[0]
    assert 1e22 < sparse["C at E"] < 1e24
    assert sparse["K"] * sparse["C at E"] ** sparse["c"] == pytest.approx(sparse["E"])
    two = table[table["row"] == "sparse"]["L(1e21)"]
    assert np.ptp(two) > 0.02, "the two sparse frontiers are not one curve"


def test_table_12_fits_itself_only_without_sparsity():
    table = sparse_row_check()
    printed = table.loc["Eq. 1, printed"]
    assert table.loc["S = 0", "floor"] == pytest.approx(printed["floor"], abs=1e-3)
    assert abs(table.loc["S = 0.875", "floor"] - printed["floor"]) > 0.3


def test_sizes_stand_under_the_names_of_the_presets():
    for arch, presets in (("early", PAPER_EARLY), ("late", PAPER_LATE), ("moe", PAPER_MOE)):
        assert list(paper.SIZES[arch]) == list(presets)
    assert [f"300M+{name}" for name in paper.FIXED_DECODERS] == list(PAPER_LATE_FIXED)


def test_sizes_are_the_presets_within_what_is_known():
    """What rounding does not explain: Table 6 contradicts itself once, and three late sizes miss by up to 0.3 %."""
    misses = {}
    for arch, presets in (("early", PAPER_EARLY), ("late", PAPER_LATE), ("moe", PAPER_MOE)):
        for name, printed in ((name, printed) for name, row in paper.SIZES[arch].items() for printed in row):
            if miss := printed.miss(presets[name].model.counts.n_active):
                misses[arch, name, printed.where] = round(100 * miss, 2)
    assert misses == {
        ("early", "464M", "Table 6"): 0.86, ("moe", "464M", "Table 6"): 0.86,
        ("late", "289M", "Table 6"): -0.28, ("late", "289M", "Figure 26"): -0.28,
        ("late", "494M", "Table 6"): 0.13, ("late", "494M", "Figure 26"): 0.13,
        ("late", "3.7B", "Figure 26"): 0.18,
    }
    for name, printed in paper.FIXED_DECODERS.items():
        counts = PAPER_LATE_FIXED[f"300M+{name}"].model.counts
        assert printed.miss(counts.N) == paper.FIXED_ENCODER.miss(counts.N_v) == 0
