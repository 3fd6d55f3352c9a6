"""The worst of some five hundred bad inputs: each gets one line that names it, and nothing of somebody else's is lost."""

import gzip
import json
import os
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nmm import record as records
from nmm.atlas.entries import ENTRIES
from nmm.atlas.fit import fit_folder
from nmm.book.chapters import read_notebook
from nmm.cli import main
from nmm.data.corpus import mds, store
from nmm.data.corpus.prepare import prepare
from nmm.laws.core.checks import columns, usable_rows
from nmm.laws.forms.eq1 import Eq1
from nmm.laws.use.reading import MOST, read_table
from nmm.runs import finished, load
from nmm.studies.sizing import room
from nmm.sweep import pulse, queued, read_family, sweep
from nmm.sweep.status import status
from tests.data.conftest import sentence, write_jsonl, write_tar

SETTINGS = {"context": 112, "image_size": 32, "patch": 8, "vocab_size": 300, "processes": 1, "progress": False}
WORDS = ["--context", "112", "--image-size", "32", "--patch", "8", "--vocab-size", "300", "--processes", "1"]
ROOT = Path(__file__).resolve().parents[1]
DEEP = "[" * 100_000


def refused(arguments: list[str], capsys) -> str:
    """The one line of a command that refuses its input, by itself or by its parser."""
    try:
        code = main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    lines = [line for line in capsys.readouterr().err.splitlines()
             if line and not line.startswith(("usage:", " ", "tokenizer:", "prepare:"))]
    assert code == 2 and len(lines) == 1, (code, lines)
    return lines[0]


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "a.jsonl"
    write_jsonl(path, [sentence(k, 40) for k in range(60)])
    return path


@pytest.fixture(scope="module")
def prepared(text, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "corpus"
    prepare([("text", text)], out, **SETTINGS)
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    N, D = (each.ravel() for each in np.meshgrid(np.geomspace(1e7, 1e9, 4), np.geomspace(1e9, 3e10, 4)))
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    noise = np.random.default_rng(0).normal(1, 1e-3, len(N))
    pd.DataFrame({"N": N, "D": D, "L": noise * (1.8 + 400 / N**0.34 + 410 / D**0.28)}).to_csv(path, index=False)
    return path


# Paths -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [
    ["data", "prepare", "--source", "text=x", "--out"], ["sweep", "--runs-dir"], ["sweep", "--corpus-dir"], ["sweep", "--write-jobs"],
    ["status"], ["fit"],
])
@pytest.mark.parametrize("empty", ["", " ", "a\0b"])
def test_no_command_takes_an_empty_path_for_the_folder_it_is_called_in(words, empty, capsys):
    assert "names no file or folder" in refused([*words, empty], capsys)


@pytest.mark.parametrize("edition", ["../../x", "", "a/b", ".", "..", "/tmp/x", "a\0b"])
@pytest.mark.parametrize("step", ["execute", "build"])
def test_an_edition_stays_within_its_folder(step, edition, capsys):
    assert "is no name of a folder" in refused(["book", step, "--edition", edition], capsys)


@pytest.mark.parametrize("command", ["fit", "design", "plan", "atlas"])
def test_what_cannot_be_written_is_said_before_anything_is_fitted(command, runs, tmp_path, capsys):
    words = {"fit": ["fit", str(runs)], "design": ["design", str(runs), "--budget", "1e20"],
             "plan": ["plan", "--flops", "1e21", "--law", "early"], "atlas": ["atlas", "fit", str(tmp_path)]}[command]
    assert "is a folder: name a file" in refused([*words, "--json", str(tmp_path)], capsys)
    assert "there is no folder" in refused([*words, "--json", str(tmp_path / "none/a.json")], capsys)


def test_a_link_to_itself_as_a_source(tmp_path, capsys):
    (tmp_path / "loop").symlink_to("loop")
    words = ["data", "prepare", "--source", f"text={tmp_path / 'loop'}", "--out", str(tmp_path / "out")]
    assert "loop does not exist" in refused(words, capsys)


def test_pipes_and_devices_are_not_waited_for(tmp_path, capsys):
    os.mkfifo(tmp_path / "a.jsonl")
    for path in (tmp_path / "a.jsonl", Path("/dev/zero")):
        words = ["data", "prepare", "--source", f"text={path}", "--out", str(tmp_path / "out")]
        assert "is neither file nor folder" in refused(words, capsys)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_an_error_of_the_disk_names_the_file(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").symlink_to("/proc/self/mem")      # EIO at its first byte
    said = refused(["data", "prepare", "--source", f"text={tmp_path / 'in'}", "--out", str(tmp_path / "out")], capsys)
    assert f"cannot read {tmp_path / 'in/a.jsonl'}: Input/output error" in said


def test_file_names_that_are_no_utf8(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    name = os.fsdecode(b"\xff\xfe.jsonl")
    write_jsonl(folder / name, [sentence(k, 40) for k in range(60)])
    (folder / os.fsdecode(b"\xfd.docx")).write_bytes(b"x\0")
    out = tmp_path / os.fsdecode(b"out\xff")
    assert main(["data", "prepare", "--source", f"text={folder}", "--out", str(out), *WORDS]) == 0
    assert "files that were not read: \\udcfd.docx" in capsys.readouterr().out
    assert main(["data", "prepare", "--source", f"text={folder}", "--out", str(out), *WORDS]) == 0
    (folder / name).write_text('{"a": 1}\n' * 30)
    said = refused(["data", "prepare", "--source", f"text={folder}", "--out", str(tmp_path / "other"), *WORDS], capsys)
    assert "30 x no `text` string, the first in \\udcff\\udcfe.jsonl:line 1" in said


def test_a_name_with_a_newline_makes_no_second_line(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a\nnmm data: all is well.jsonl").write_text('{"a": 1}\n' * 30)
    words = ["data", "prepare", "--source", f"text={tmp_path / 'in'}", "--out", str(tmp_path / "out"), *WORDS]
    assert "no `text` string" in refused(words, capsys)


# Data ------------------------------------------------------------------------------------------------------------------


def test_a_description_of_somebody_else_is_not_deleted(text, tmp_path):
    (tmp_path / "corpus.json").write_text('{"mine": true}')
    prepare([("text", text)], tmp_path, **SETTINGS)
    assert (tmp_path / "corpus.json.damaged").read_text() == '{"mine": true}' and store.open(tmp_path).report


@pytest.mark.parametrize(("name", "content", "what"), [
    ("a.parquet", b"<html>404</html>", "a parquet file, as its name says"), ("a.tar", b'{"text": "x"}\n', "a tar file, as its name says"),
    ("a.jsonl", b"PAR1", "JSON lines, as its name says"),
])
def test_a_single_file_is_what_its_name_says(tmp_path, name, content, what, capsys):
    (tmp_path / name).write_bytes(content)
    said = refused(["data", "prepare", "--source", f"text={tmp_path / name}", "--out", str(tmp_path / "out")], capsys)
    assert name in said and what in said


@pytest.mark.parametrize("share", ["inf", "nan", "0", "1", "2", "-0.1"])
def test_shares_that_are_none(text, tmp_path, share, capsys):
    words = ["data", "prepare", "--source", f"text={text}", "--out", str(tmp_path / "o"), f"--validation={share}"]
    assert "a share between 0 and 1" in refused(words, capsys)


@pytest.mark.parametrize(("change", "named"), [
    ({"context": "x"}, "context: 'x' is no number"), ({"context": -1}, "context: -1"), ({"vocab_size": 0}, "vocab_size: 0"),
    ({"hash": 7}, "hash 7"),
    ({"store": "floppy"}, "store 'floppy'"), ("kind", "source 'text' is of kind 'smell'"), ("rows", "rows of text/train: -1"),
    ("name", "source '../../x' leads out of the folder"),
])
def test_descriptions_with_values_that_no_corpus_has(prepared, tmp_path, change, named):
    shutil.copytree(prepared, tmp_path / "corpus")
    path = tmp_path / "corpus/corpus.json"
    plain = json.loads(path.read_text())
    if change == "kind":
        plain["sources"]["text"]["kind"] = "smell"
    elif change == "rows":
        plain["sources"]["text"]["train"]["shards"][0]["rows"] = -1
    elif change == "name":
        plain["sources"]["../../x"] = plain["sources"]["text"]
    else:
        plain |= change
    path.write_text(json.dumps(plain))
    with pytest.raises(ValueError, match=r"corpus\.json is damaged \(" + named):
        store.open(tmp_path / "corpus")


@pytest.mark.parametrize("content", ["{", "[]", "{}", DEEP, '{"sources": {"text": null}}', '{"sources": {"text": {}}}', "\udcff", None])
def test_a_damaged_report_is_named(prepared, tmp_path, content, capsys):
    shutil.copytree(prepared, tmp_path / "corpus")
    path = tmp_path / "corpus/report.json"
    path.unlink() if content is None else path.write_text(content, errors="surrogateescape")
    assert f"{path} is missing or damaged" in refused(["data", "show", str(tmp_path / "corpus")], capsys)


def test_samples_below_zero_and_bad_addresses(prepared, capsys):
    assert "--samples is a number of documents, at least 0: got -1" in refused(["data", "show", str(prepared), "--samples", "-1"], capsys)
    for url in ("ftp://host/x", "s3://"):
        assert f"cannot read '{url}" in refused(["data", "show", url], capsys)


# Names from elsewhere: see also tests/data/test_mds.py ------------------------------------------------------------------------


@pytest.mark.parametrize("found", ["/etc", "../x", "..", "", "a/b", "a\\b", "ABC", 7, None, ["a"], "0123\n"])
def test_the_hash_in_a_remote_description_is_hexadecimal(tmp_path, found):
    (tmp_path / "corpus.json").write_text(json.dumps({"hash": found, "sources": {"text": {}}}))
    with pytest.raises(ValueError, match=r"s3://b/c/corpus\.json has the hash .*do not use this corpus"):
        mds.remote_hash("s3://b/c", tmp_path / "corpus.json")


@pytest.mark.parametrize("name", ["..", ".", "", "/etc", "../../x", "a/b", "a\\b", "a\0b", ".ssh"])
def test_sources_in_a_remote_description_stay_within(tmp_path, name):
    (tmp_path / "corpus.json").write_text(json.dumps({"hash": "0123abcd", "sources": {name: {}}}))
    with pytest.raises(ValueError, match="leads out of its folder: do not use this corpus"):
        mds.remote_hash("s3://b/c", tmp_path / "corpus.json")


@pytest.mark.parametrize("content", ["", "[]", "3", "{}", DEEP, '{"hash": "ab"}', '{"hash": "ab", "sources": 3}'])
def test_remote_descriptions_that_are_none(tmp_path, content):
    (tmp_path / "corpus.json").write_text(content)
    with pytest.raises(ValueError, match=r"s3://b/c/corpus\.json is no description of a corpus"):
        mds.remote_hash("s3://b/c", tmp_path / "corpus.json")


@pytest.mark.parametrize(("name", "message"), [
    ("/etc/passwd", "outside its folder"), ("../x.mds", "outside its folder"), ("..", "outside its folder"),
    ("", "outside its folder"), (7, "outside its folder"), ("a\\b", "outside its folder"), (None, "outside its folder"),
])
def test_shards_in_an_index_stay_within(tmp_path, name, message):
    (tmp_path / "index.json").write_text(json.dumps({"shards": [{"samples": 1, "raw_data": {"basename": name}}]}))
    with pytest.raises(ValueError, match=message):
        mds.MdsFolder(tmp_path, None).index
    (tmp_path / "index.json").write_text(DEEP)
    with pytest.raises(ValueError, match="is no MDS index"):
        mds.MdsFolder(tmp_path, None).index


# Runs ------------------------------------------------------------------------------------------------------------------


SIGN = {"tokens": 1, "total": 2, "where": "h 1", "job": "", "at": 1.0, "reported": 1.0, "first_tokens": 0, "first": 1.0}


@pytest.mark.parametrize("content", [
    b"{", b"[]", b"3", b"", b"\xff\xfe", DEEP.encode(), b'{"executor": 1}', b'{"executor": "slurm", "id": [], "tries": "x"}',
])
def test_notes_of_jobs_and_signs_that_are_damaged_are_none(tmp_path, content):
    scratch = tmp_path / ".scratch/abc"
    scratch.parent.mkdir()
    queued.path_of(scratch).write_bytes(content)
    pulse.path_of(scratch).write_text(json.dumps(SIGN))
    assert queued.read(scratch) is None and pulse.read(scratch) == pulse.Sign(**SIGN)
    (one,) = status(tmp_path)
    assert (one.run, one.state, one.tokens) == ("abc", "stopped", 1)
    pulse.path_of(scratch).write_bytes(content)
    assert pulse.read(scratch) is None and status(tmp_path)[0].state == "queued"
    pulse.path_of(scratch).write_text(json.dumps({**SIGN, "at": "yesterday"}))
    assert pulse.read(scratch) is None
    queued.note(scratch, queued.Job(executor="slurm", id="7", tries=1))
    assert queued.read(scratch).id == "7"


def test_a_record_that_is_a_link_to_nothing_hides_no_other(tmp_path):
    (tmp_path / "a.json").symlink_to("nothing")
    (tmp_path / "b.json").write_text("{")
    assert [(one.run, one.state) for one in status(tmp_path)] == [("a", "damaged"), ("b", "damaged")]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_time_between_checkpoints(seconds, tmp_path):
    with pytest.raises(ValueError, match="checkpoint_seconds, the time between checkpoints, must be finite and not negative"):
        sweep({}, corpus=tmp_path, runs_dir=tmp_path / "runs", checkpoint_seconds=seconds)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("change", "message"), [
    ({"checkpoint_seconds": "x"}, "checkpoint_seconds must be a number of seconds, at least 0: got 'x'"),
    ({"checkpoint_seconds": -1}, "at least 0: got -1"),
    ({"entropy": "x"}, "entropy must be an object: got 'x'"), ({"weights": ["x"]}, "weights must be an object"),
])
def test_job_files_of_which_a_value_is_wrong(tmp_path, change, message):
    record = json.loads(next((ROOT / "runs/laptop").glob("*.json")).read_text())
    (tmp_path / "job.json").write_text(json.dumps({"runs": [record["config"]], "corpus": "c", "runs_dir": "r", **change}))
    with pytest.raises(ValueError, match=rf"job\.json is no job: .*{message}"):
        read_family(tmp_path / "job.json")


def test_seeds_and_columns_that_are_none():
    path = next((ROOT / "runs/laptop").glob("*.json"))
    with pytest.raises(ValueError, match="RunConfig.seed must be at least 0: got -1"):
        replace(records.read(path).config, seed=-1)
    with pytest.raises(ValueError, match="no column 'nope' to separate by"):
        finished(load(path.parent), "early", by=["nope"])


def test_corrupt_records_are_warned_of_in_a_line_each(tmp_path, capsys):
    for name in "ab":
        (tmp_path / f"{name}.json").write_text("{")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["fit", str(tmp_path)]) == 2
    first, second, last = capsys.readouterr().err.strip().splitlines()
    assert f"nmm fit: {tmp_path}/a.json is no valid run record" in first and "b.json" in second and "no row has usable" in last


# Tables and laws ---------------------------------------------------------------------------------------------------------


def test_tables_that_cannot_be_unpacked_or_read(tmp_path, runs):
    whole = gzip.compress(runs.read_bytes())
    for name, content, message in (
        ("cut.csv.gz", whole[:-15], "broken gzip"), ("junk.csv.gz", b"\x1f\x8b" + b"junk" * 9, "broken gzip"),
        ("deep.json", DEEP.encode(), "JSON within JSON"),
        ("none.json", b"{}", "has no columns"), ("bomb.csv.gz", gzip.compress(b"N,D,L\n" + bytes(MOST), 1), "holds more than 512 MB"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message) as raised:
            read_table(tmp_path / name)
        assert name in str(raised.value)


@pytest.mark.parametrize("value", [1e300, 1e-300])
def test_numbers_whose_products_would_overflow(value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"no row has usable N.*N is not between 1e-40 and 1e\+40"):
            usable_rows(pd.DataFrame({"N": [value]}), ("N",))
        with pytest.raises(ValueError, match=r"N must lie between 1e-40 and 1e\+40"):
            columns(N=[value, 1.0])


@pytest.mark.parametrize(("words", "message"), [
    (["fit", "RUNS", "--columns", "S=x"], "--columns S=x: the law 'eq1' does not take it"),
    (["fit", "RUNS", "--law", "sparse", "--budget", "1e21"], "--budget 1e21: the law 'sparse' does not take it"),
    (["fit", "RUNS", "--law", "compression", "--bytes-per-token", "text=0"], "takes positive numbers: got text=0"),
    (["design", "RUNS", "--budget", "1e20", "--studies", "0"], "must be at least 2: got 0"),
    (["plan", "--flops", "1e-5", "--law", "early"], "give a larger budget"),
    (["plan", "--flops", "1e21", "--law", "early", "--where", "a=1"], "--where chooses rows of --runs"),
    (["plan", "--flops", "1e21", "--law", "early", "--inference-tokens", "inf"], "must be finite and not negative: got inf"),
    (["plan", "--flops", "1e21", "--coefficients", "1", "400", "inf", ".3", ".3"], "B of Eq. 1 must be a finite number: got inf"),
])
def test_options_that_would_be_ignored_or_make_no_plan(words, message, runs, capsys):
    assert message in refused([str(runs) if word == "RUNS" else word for word in words], capsys)


def test_coefficients_that_are_no_numbers():
    with pytest.raises(ValueError, match="alpha of Eq. 1 must be a finite number: got nan"):
        Eq1(E=1, A=1, B=1, alpha=float("nan"), beta=1)


@pytest.mark.parametrize("gigabytes", [0, -5, float("nan"), float("inf")])
def test_memory_of_a_gpu(gigabytes):
    with pytest.raises(ValueError, match="--gpu-memory is the memory of one GPU in gigabytes, above 0"):
        room("H100", gigabytes)


@pytest.mark.parametrize("content", ["{", "{}", '{"tables": [1]}', '{"tables": [{"name": "mine"}]}', DEEP])
def test_the_atlas_overwrites_no_file_of_another_kind(tmp_path, content, capsys):
    (tmp_path / "a.json").write_text(content)
    said = refused(["atlas", "fit", str(tmp_path), "--json", str(tmp_path / "a.json")], capsys)
    assert "a.json was not written by `nmm atlas fit --json`" in said and (tmp_path / "a.json").read_text() == content


@pytest.mark.parametrize("wrong", [{"level": 3}, {"level": float("nan")}, {"bootstrap": 1}, {"seed": -1}])
def test_the_atlas_checks_its_numbers_first(tmp_path, wrong):
    assert ENTRIES
    with pytest.raises(ValueError, match="must be"):
        next(fit_folder(tmp_path, **wrong))


@pytest.mark.parametrize("content", [
    "", "{", "[]", "3", "{}", DEEP, '{"nbformat": 99, "metadata": {}, "cells": []}',
    '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": 3}',
])
def test_notebooks_that_are_none(tmp_path, content):
    (tmp_path / "a.ipynb").write_text(content)
    with pytest.raises(ValueError, match=r"a\.ipynb is not a readable notebook: ."):
        read_notebook(tmp_path / "a.ipynb")


def test_the_first_of_what_is_rejected_is_named(tmp_path, capsys):
    write_tar(tmp_path / "a.tar", [(f"{k}.txt", b"words") for k in range(9)])
    said = refused(["data", "prepare", "--source", f"caption={tmp_path / 'a.tar'}", "--out", str(tmp_path / "out"), *WORDS], capsys)
    assert "9 x no image, the first in a.tar:0" in said
