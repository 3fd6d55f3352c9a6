"""From a preset's name to its records, on generated and on real files."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nmm.cli import main
from nmm.studies import STUDIES, find_study, pipeline, prepare_corpus, run_study, sources
from nmm.sweep import read_family
from tests.data.conftest import caption_members, image_bytes, sentence, write_jsonl, write_tar


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of real files: a tar of captions, documents with images, lines of text."""
    folder = tmp_path_factory.mktemp("real")
    for name in ("image_caption", "interleaved", "text"):
        (folder / name).mkdir()
    write_tar(folder / "image_caption" / "00000.tar", caption_members(range(60)))
    write_jsonl(folder / "text" / "part.jsonl", [" ".join(sentence(k + j, 30) for j in range(4)) for k in range(0, 240, 4)])
    images = [[None, image_bytes(1000 + k), None] for k in range(60)]
    texts = [[sentence(k, 20), None, sentence(k + 500, 20)] for k in range(60)]
    table = pa.table({"images": pa.array(images, pa.list_(pa.binary())), "texts": texts})
    pq.write_table(table, folder / "interleaved" / "part.parquet")
    return folder


def test_sources_of_a_real_folder(data):
    assert sources(data) == [("caption", data / "image_caption"), ("interleaved", data / "interleaved"), ("text", data / "text")]


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data folder .*nowhere: give a folder with a subfolder caption or image_caption"):
        sources(tmp_path / "nowhere")


@pytest.mark.parametrize("prepare", [lambda folder: None, lambda folder: (folder / "text").mkdir()], ids=["missing", "empty"])
def test_a_missing_or_empty_data_type_is_named(tmp_path, prepare):
    for name in ("caption", "interleaved"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    prepare(tmp_path)
    with pytest.raises(ValueError, match="no files for data type 'text': expected .*a subfolder text for text data"):
        sources(tmp_path)


def test_the_generated_corpus_is_written_once(tiny, tmp_path):
    one = prepare_corpus(tiny, None, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in one.folder.rglob("*.arrow")}
    assert files
    two = prepare_corpus(tiny, None, tmp_path)
    assert two.hash == one.hash
    assert {path: path.stat().st_mtime_ns for path in two.folder.rglob("*.arrow")} == files


def test_jobs_of_a_study_are_what_the_sweep_would_train(tiny, tmp_path, monkeypatch, capsys):
    """`--write-jobs` trains nothing; each file is a family of the grid on the study's corpus."""
    monkeypatch.setitem(STUDIES, "tiny", tiny)
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "--preset", "tiny", "--write-jobs", "jobs"]) == 0
    jobs = [read_family(path) for path in sorted((tmp_path / "jobs").glob("*.json"))]
    corpus = prepare_corpus(tiny, None, tmp_path / "work")
    assert {run.id for job in jobs for run in job.runs} == set(tiny.grid(corpus))
    assert {(job.corpus, job.runs_dir) for job in jobs} == {
        (str(corpus.folder.relative_to(tmp_path)), "work/runs/tiny")}
    assert jobs[0].entropy.keys() == {"caption", "interleaved", "text"}
    assert f"{len(jobs)} families of runs in jobs; launch one: composer -n 2 -m nmm.sweep.launch jobs/" in capsys.readouterr().out
    assert not (tmp_path / "work" / "runs").exists()


def test_a_real_corpus_is_prepared_once_and_fits_the_study(data, tmp_path):
    plan = find_study("smoke")
    one = prepare_corpus(plan, data, tmp_path)
    assert list(one.sources) == ["caption", "interleaved", "text"]
    assert one.patch_dim == 3 * 8 * 8
    files = {path: path.stat().st_mtime_ns for path in one.folder.rglob("*.arrow")}
    two = prepare_corpus(plan, data, tmp_path)
    assert two.hash == one.hash
    assert {path: path.stat().st_mtime_ns for path in two.folder.rglob("*.arrow")} == files
    assert len(plan.grid(two)) == 9


def test_a_small_corpus_is_refused_before_training_with_the_remedy(data, tmp_path):
    """Repeating data is a choice: the budget is refused unless `max_epochs` allows it."""
    with pytest.raises(ValueError, match="max_epochs"):
        run_study("smoke", data=data, work=tmp_path)
    assert not list((tmp_path / "runs").rglob("*.json"))


def test_an_unknown_preset(tmp_path):
    with pytest.raises(ValueError, match="unknown preset 'huge': known are laptop, seeds, smoke"):
        run_study("huge", work=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_finished_study_is_read_and_not_trained(tiny, tmp_path, monkeypatch):
    """Records written beforehand stand for a training; where they are is said."""
    from nmm.record import RunRecord, write
    from nmm.runs import load

    monkeypatch.setitem(STUDIES, "tiny", tiny)
    corpus = prepare_corpus(tiny, None, tmp_path)
    grid = tiny.grid(corpus)
    for config in grid.values():
        write(RunRecord(config=config, status="finished", losses={"caption": 1.0, "interleaved": 1.0, "text": 1.0},
                        tokens={"text": config.tokens, "image": 0, "padding": 0, "target": config.tokens}), tmp_path / "runs" / "tiny")
    outcome, folder = run_study("tiny", work=tmp_path)
    assert folder == tmp_path / "runs" / "tiny"
    assert outcome.skipped == list(grid)
    assert len(load(folder)) == len(grid) == 2
    patient, _ = run_study("tiny", runs_dir=folder, max_epochs=1, work=tmp_path)
    assert patient.skipped == list(grid), "the preset's own value names the same runs"


def test_the_data_of_a_study_names_its_records_folder(data, tmp_path, monkeypatch):
    """Generated and real records of one preset never share a folder, nor do those of two data folders."""
    seen = []
    monkeypatch.setattr(pipeline, "sweep", lambda grid, *, runs_dir, **settings: seen.append((runs_dir, settings)))
    for source in (None, data):
        run_study("smoke", data=source, work=tmp_path)
    (generated, first), (real, second) = seen
    assert generated == tmp_path / "runs" / "smoke"
    assert real == tmp_path / "runs" / f"smoke-{data.name}"
    assert first["entropy"].keys() == {"caption", "interleaved", "text"}
    assert second["entropy"] is None, "nobody knows the entropy of real data"


def test_max_epochs_reaches_the_runs(tiny, tmp_path, monkeypatch):
    grids = []
    monkeypatch.setitem(STUDIES, "tiny", tiny)
    monkeypatch.setattr(pipeline, "sweep", lambda grid, **settings: grids.append(grid))
    run_study("tiny", max_epochs=3, work=tmp_path)
    assert {config.data.max_epochs for config in grids[0].values()} == {3}
    assert json.dumps(sorted(grids[0])) != json.dumps(sorted(tiny.grid(prepare_corpus(tiny, None, tmp_path))))
    assert sorted(grids[0]) == sorted(replace(tiny, max_epochs=3).grid(prepare_corpus(tiny, None, tmp_path)))
