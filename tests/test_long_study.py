"""The study of long contexts: its grid is what the issue of it asks for, and its smallest one goes from a name to records."""

from dataclasses import replace

import pytest

from nmm import runs
from nmm.data.generated.long import Chronicles
from nmm.data.generated.world import World
from nmm.studies import STUDIES, find_study, prepare_corpus, run_study, sources
from nmm.studies.long_context import FEWER, FULL, HYBRID, LADDER, MIDDLE, MIDDLE_BUDGET, SPARSE


@pytest.fixture
def long_shape(shape):
    shape.context = find_study("long-context").long
    return shape


def test_the_grid(long_shape):
    study = find_study("long-context")
    grid = list(study.grid(long_shape).values())
    by_arm = {arm.name: [run for run in grid if run.origin.arm == arm.name] for arm in study.arms}
    for arm in (FULL, SPARSE):
        cells = {(run.model.d_model, run.tokens, run.seed) for run in by_arm[arm.name]}
        assert len(cells) == len(by_arm[arm.name]) == (5 * 3 + len(FEWER)) * 4
    assert 0 < len(by_arm[HYBRID.name]) < 60
    assert study.long >= 2048
    sparse = by_arm[SPARSE.name][0].model
    assert sparse.blocks_read * sparse.block_length / study.long == 3 * 512 / 8192, "the paper's sparsity"
    assert {run.model.full_layers for run in by_arm[FULL.name]} == {study.n_layers}
    for arm in LADDER:
        assert {(run.model.d_model, run.tokens) for run in by_arm[arm.name]} == {(MIDDLE, MIDDLE_BUDGET)}
    same_keys = {run.model.block_length * run.model.blocks_read for arm in LADDER[:4] for run in by_arm[arm.name]}
    assert same_keys == {sparse.block_length * sparse.blocks_read}, "as many keys, in finer and coarser blocks"
    assert len({run.id for run in grid}) == len(grid)


def test_other_studies_are_as_they_were():
    """A study without long documents has the corpus that it had."""
    assert all(not study.long for name, study in STUDIES.items() if not name.startswith("long"))


@pytest.mark.slow
def test_from_a_name_to_records(tmp_path, monkeypatch):
    tiny = replace(find_study("long-smoke"), name="long-tiny", widths=(16,), budgets=(3_000,), warmup_tokens=1_000, validation_sequences=2)
    monkeypatch.setitem(STUDIES, "long-tiny", tiny)
    summary, folder = run_study("long-tiny", work=tmp_path, jobs=1)
    assert summary.whole and len(summary.finished) == 2, str(summary)
    table = runs.load(folder)
    assert set(table["arm"]) == {"full", "block-sparse"}
    floors = Chronicles(World(0), tiny.long).entropy()
    assert table["E_text"].tolist() == pytest.approx([floors["text"]] * 2) and table["E_caption"].isna().all()
    cost = table.set_index("arm")[["C", "C_exact"]]
    assert cost.loc["block-sparse", "C_exact"] < cost.loc["full", "C_exact"]
    assert cost.loc["block-sparse", "C"] == cost.loc["full", "C"], "6 N D is the same"
    positions = runs.by_position(folder)
    assert set(positions["data"]) == {"interleaved", "text"} and positions["last"].sum() == 4


def test_real_long_text_needs_no_captions(tmp_path):
    study = find_study("long-smoke")
    for name in ("interleaved", "text"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="no files for data type 'interleaved': expected a subfolder interleaved .*, a subfolder text"):
        prepare_corpus(study, tmp_path, tmp_path / "work")
    with pytest.raises(ValueError, match="'caption'"):
        sources(tmp_path)
