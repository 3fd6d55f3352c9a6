"""Bad input at the command line: one line that names the thing, and an end that is quick and quiet."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tokenizers

from nmm import record as records
from nmm.book.chapters import parse_values, read_chapters
from nmm.book.layout import Layout
from nmm.cli import main
from nmm.data.corpus.tokenizer import MAX_VOCABULARY, Tokenizer
from nmm.data.files import printable
from tests.data.conftest import sentence, write_jsonl

ROOT = Path(__file__).resolve().parents[1]


def said(arguments: list[str], capsys) -> str:
    """The one line of a command that refuses."""
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize("size", [0, -1, 258, MAX_VOCABULARY + 1, 10**9, 10**30])
def test_sizes_of_a_vocabulary(tmp_path, capsys, size):
    line = said(["data", "prepare", "--source", f"text={tmp_path}", "--out", str(tmp_path / "out"), "--vocab-size", str(size)], capsys)
    assert f"vocabulary size {size} is out of range: at least 259" in line and not (tmp_path / "out").exists()


def test_tokenizers_that_cannot_serve(tmp_path):
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}))
    with pytest.raises(ValueError, match="the tokenizer cannot encode some text .*take one with an unknown token"):
        Tokenizer(words).encode(["b"])
    high = json.loads(tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")).to_str())
    high["model"]["vocab"]["b"] = 4_294_967_290
    for name, content, message in (("high.json", json.dumps(high).encode(), "ids up to 429496729"),
                                   ("latin.json", b'{"caf\xe9": 1}', "codec can't decode"),
                                   ("list.json", b"[]", "not a tokenizer"), ("empty.json", b"", "not a tokenizer")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is not a tokenizer.json") as raised:
            Tokenizer.load(tmp_path / name)
        assert message in str(raised.value)


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_ports(capsys, port):
    assert f"--port is a number from 0 to 65535: got {port}" in said(["book", "serve", "--port", str(port)], capsys)


def test_a_seed_below_zero(tmp_path, capsys):
    (tmp_path / "runs.csv").write_text("N,D,L\n1e6,1e8,3\n")
    assert "--seed is a whole number, at least 0: got -1" in said(["fit", str(tmp_path / "runs.csv"), "--seed", "-1"], capsys)


@pytest.mark.parametrize("content", [
    "[" * 100_000, '{"schema": 2, "id": ' + '{"a":' * 50_000, "[]", "3", '{"schema": 2}', '{"schema": [2]}', '{"schema": 1e999}', "\0",
])
def test_records_that_are_none(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(records.RecordError, match=r"x\.json is no valid run record"):
        records.read(tmp_path / "x.json")


def test_words_that_would_steer_a_terminal():
    assert printable("a\x1b[2Jb\u202ec\x07\nd\te é 漢") == "a\\x1b[2Jb\\u202ec\\x07\nd\te é 漢"


def test_names_are_printed_without_steering_the_terminal(tmp_path, capsys):
    (tmp_path / "a\x1b[31m.tar").write_bytes(b"no tar")
    line = said(["data", "prepare", "--source", f"caption={tmp_path}", "--out", str(tmp_path.parent / "out")], capsys)
    assert "\x1b" not in line and "a\\x1b[31m.tar" in line


def test_a_parameter_of_another_chapter_and_an_unknown_preset(capsys):
    book = read_chapters(Layout().notebooks)
    chapter = next(each for each in book if each.name == "08_fit_your_runs")
    with pytest.raises(ValueError, match=r"parameter 'compare_dir' is one of 0\d_.*only 08_fit_your_runs would be executed"):
        parse_values(["compare_dir="], [chapter], book)
    with pytest.raises(ValueError, match="unknown parameter 'nonsense': the book has no such parameter"):
        parse_values(["nonsense=1"], [chapter], book)
    assert "nonsense" in said(["book", "execute", "--preset", "nonsense"], capsys)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_end_of_prepare_is_quick_and_quiet(tmp_path, number, status):
    (tmp_path / "data").mkdir()
    for shard in range(8):
        write_jsonl(tmp_path / f"data/{shard}.jsonl", [sentence(1000 * shard + k, 400) for k in range(400)] * 8)
    command = [sys.executable, "-m", "nmm", "data", "prepare", "--source", f"text={tmp_path / 'data'}", "--out", str(tmp_path / "out"),
               "--processes", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT)
    while not list((tmp_path / "out/.parts/text").glob("*.partial-*")) and process.poll() is None:      # the workers are at work
        time.sleep(0.05)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "Traceback" not in err and "resource_tracker" not in err, err


def test_a_finished_corpus_where_nothing_can_be_written(tmp_path, capsys):
    write_jsonl(tmp_path / "a.jsonl", [sentence(k, 40) for k in range(60)])
    command = ["data", "prepare", "--source", f"text={tmp_path / 'a.jsonl'}", "--out", str(tmp_path / "out"), "--vocab-size", "300",
               "--image-size", "32", "--patch", "8", "--context", "112", "--processes", "1"]
    assert main(command) == 0
    before = sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "out").rglob("*"))
    real = os.access
    with pytest.MonkeyPatch.context() as patch:     # a user whom permissions bind would meet a disk that is mounted to be read
        patch.setattr(os, "access", lambda path, mode, **more: real(path, mode, **more) and not (mode & os.W_OK))
        assert main(command) == 0
    assert before == sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "out").rglob("*"))


def test_make_with_a_space_in_the_data_folder(tmp_path):
    (tmp_path / "my data").mkdir()
    command = ["make", "-n", "-o", ".venv/.ready", "book", f"DATA={tmp_path}/my data"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f'--data "{tmp_path}/my data" --corpus-dir work/corpora/laptop-my_data' in made.stdout
    assert "runs_dir=work/runs/laptop-my_data" in made.stdout
