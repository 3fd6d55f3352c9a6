"""Preparing a corpus end to end: the same bytes whatever happens, bad input refused, the command line."""

import filecmp
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nmm.cli import main
from nmm.data.batches.loader import train_batches, validation_batches
from nmm.data.batches.mixture import Mixture
from nmm.data.corpus import store
from nmm.data.corpus.prepare import parse_source, prepare
from nmm.data.corpus.remembered import MEMORY
from nmm.data.corpus.show import report_table, samples_html
from nmm.data.geometry import Geometry
from tests.data.conftest import caption_members, image_bytes, sentence, write_jsonl, write_tar

SETTINGS = {"context": 112, "image_size": 32, "patch": 8, "vocab_size": 400, "validation": 0.1, "part_bytes": 40_000,
            "processes": 1, "progress": False}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Small sources of the three kinds, several files each."""
    root = tmp_path_factory.mktemp("files")
    for name in ("captions", "web/images", "text"):
        (root / name).mkdir(parents=True)
    for shard in range(4):
        write_tar(root / f"captions/{shard:05d}.tar", caption_members(range(shard * 30, shard * 30 + 30)))
        write_jsonl(root / f"text/{shard}.jsonl", [sentence(1000 * shard + k, 60) for k in range(60)])
        rows = [([None, f"{k % 9}.jpg", None], [sentence(k + 500 * shard, 30), None, sentence(k, 20)]) for k in range(40)]
        images, texts = zip(*rows)
        pq.write_table(pa.table({"images": images, "texts": texts}), root / f"web/{shard}.parquet")
    for k in range(9):
        (root / f"web/images/{k}.jpg").write_bytes(image_bytes(k))
    return root


def sources(files: Path) -> list[tuple[str, Path]]:
    return [("caption", files / "captions"), ("interleaved", files / "web"), ("text", files / "text")]


@pytest.fixture(scope="module")
def prepared(files, tmp_path_factory) -> store.Corpus:
    out = tmp_path_factory.mktemp("prepared") / "corpus"
    prepare(sources(files), out, **SETTINGS)
    return store.open(out)


def same_folders(one: Path, two: Path) -> bool:
    """Equal names and bytes all the way down, but for times that are remembered."""
    names = [sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and p.name != MEMORY) for root in (one, two)]
    assert names[0] == names[1]
    return not filecmp.cmpfiles(one, two, names[0], shallow=False)[1]


def texts_of(corpus: store.Corpus, split: str, kind: str) -> list[str]:
    """Documents of a split as text, put together from their pieces."""
    pieces = []
    for k in range(len(sequences := getattr(corpus.of_kind(kind)[0], split))):
        row = sequences[k]
        image = np.zeros(len(row.tokens), bool)
        for start, length in zip(row.starts, row.lengths):
            image[start:start + length] = True
        for number in range(row.documents.max() + 1):
            pieces.append(corpus.tokenizer.decode(row.tokens[(row.documents == number) & ~image]))
    return pieces


def test_report(prepared):
    report = prepared.report["sources"]
    assert {name: (s["documents"], s["images"], s["rejected"]) for name, s in report.items()} == {
        "caption": (120, 120, {}), "interleaved": (160, 160, {}), "text": (240, 0, {})}
    for name, source in report.items():
        splits = prepared.sources[name].train, prepared.sources[name].validation
        filled, rows = sum(split.tokens.sum() for split in splits), sum(map(len, splits))
        assert (source["tokens"]["total"], source["sequences"]) == (filled, rows)
        assert source["packing_waste"] == pytest.approx(1 - filled / (112 * rows))
        assert source["tokens"]["image"] == sum(split.image_tokens.sum() for split in splits)
        assert 0 < source["validation_documents"] < source["documents"] / 3
    assert report["caption"]["tokens"]["image"] == 120 * 16 and report["caption"]["tokens_per_image"] == 16
    assert report["caption"]["bytes_per_token"]["image"] == 192
    text = "".join(sentence(1000 * shard + k, 60) for shard in range(4) for k in range(60))
    assert report["text"]["bytes_per_token"]["text"] == pytest.approx(len(text) / report["text"]["tokens"]["text"])
    table = report_table(prepared.report)
    assert "interleaved" in table and "context 112" in table


def test_every_document_is_there_once_and_splits_are_disjoint(prepared):
    for kind, expected in (("caption", {sentence(n) for n in range(120)}),):
        held, trained = (texts_of(prepared, split, kind) for split in ("validation", "train"))
        clean = [re.sub(r"<\|\w+\|>", "", text) for text in held + trained]
        assert sorted(clean) == sorted(expected)
        assert not set(held) & set(trained)


def test_equal_documents_never_part(tmp_path):
    """Each text occurs three times, in different files and places; all three are on the same side."""
    (tmp_path / "data").mkdir()
    for shard in range(3):
        order = np.random.default_rng(shard).permutation(40)
        write_jsonl(tmp_path / f"data/{shard}.jsonl", [sentence(int(k), 10) for k in order])
    prepare([("text", tmp_path / "data")], tmp_path / "out", **SETTINGS)
    corpus = store.open(tmp_path / "out")
    joined = {split: "".join(texts_of(corpus, split, "text")) for split in store.SPLITS}
    for k in range(40):
        counts = [joined[split].count(sentence(k, 10) + "<|endofdocument|>") for split in store.SPLITS]
        assert max(counts) >= 2 and min(counts) == 0, (k, counts)  # a copy cut by a sequence's end does not count


def test_the_held_out_documents_do_not_depend_on_the_geometry(prepared, files, tmp_path):
    prepare(sources(files), tmp_path / "small", **{**SETTINGS, "image_size": 8, "patch": 8, "context": 128})
    other = store.open(tmp_path / "small")
    assert sorted(texts_of(prepared, "validation", "caption")) == sorted(texts_of(other, "validation", "caption"))


def test_processes_change_nothing(prepared, files, tmp_path):
    prepare(sources(files), tmp_path / "two", **{**SETTINGS, "processes": 2})
    assert same_folders(prepared.folder, tmp_path / "two")


def test_a_finished_corpus_is_left_alone(prepared, files):
    before = {p: p.stat().st_mtime_ns for p in prepared.folder.rglob("*") if p.is_file() and p.name not in (".lock", MEMORY)}
    assert prepare(sources(files), prepared.folder, **SETTINGS) == prepared.report
    assert before == {p: p.stat().st_mtime_ns for p in before}
    with pytest.raises(ValueError, match="already holds a corpus made from other data or settings"):
        prepare(sources(files), prepared.folder, **{**SETTINGS, "context": 113})


KILLED = """
import json, sys
from pathlib import Path
from nmm.data.corpus.prepare import prepare
if __name__ == "__main__":
    files, out, settings = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    print("begin", flush=True)
    prepare([("caption", files / "captions"), ("interleaved", files / "web"), ("text", files / "text")], out, **settings)
"""


def no_process_left(session: int, patience: float = 10.0) -> bool:
    """Whether all processes of a session end in time (always true where there is no /proc)."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        stats = [path for path in Path("/proc").glob("[0-9]*/stat")]
        alive = 0
        for path in stats:
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            alive += int(fields[3]) == session and fields[0] != "Z"
        if not alive:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(prepared, files, tmp_path, processes):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(files), str(tmp_path / "out"),
               json.dumps({**SETTINGS, "processes": processes})]
    random = np.random.default_rng(processes)
    kills = 0
    for _ in range(4):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        process.stdout.readline()
        time.sleep(random.uniform(0.02, 0.5 if processes == 1 else 2.5))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)  # the parent alone: its workers must not be left behind
        process.wait()
        process.stdout.close()
        assert no_process_left(process.pid), "a worker outlives its killed parent"
    assert kills, "every call finished before it was killed"
    subprocess.run(command, check=True)
    assert same_folders(prepared.folder, tmp_path / "out")


def test_killed_while_shards_are_moved_it_goes_on(prepared, files, tmp_path):
    """The states that a kill in the last moments leaves: some shards moved, or all of them and the parts half removed."""
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="of its documents were rejected"):
        bad = write_tar(tmp_path / "bad.tar", [*caption_members(range(9)), ("x.jpg", b""), ("x.txt", b"x")])
        prepare([("caption", bad)], out, **SETTINGS)
    shard = out / ".parts/caption/00000/train/00000.arrow"
    moved = out / "caption/train/00000.arrow"
    moved.parent.mkdir(parents=True)
    shard.rename(moved)
    prepare([("caption", bad)], out, **SETTINGS, max_rejects=0.2)
    whole = prepare([("caption", bad)], tmp_path / "whole", **SETTINGS, max_rejects=0.2)
    assert whole["sources"]["caption"]["documents"] == 9 and same_folders(out, tmp_path / "whole")
    (out / ".parts/caption/00000").mkdir(parents=True)
    prepare([("caption", bad)], out, **SETTINGS, max_rejects=0.2)
    assert same_folders(out, tmp_path / "whole") and not (out / ".parts").exists()


def test_parts_that_are_finished_are_not_made_again(files, tmp_path):
    (tmp_path / "text").mkdir()
    write_jsonl(tmp_path / "text/0.jsonl", [sentence(k, 60) for k in range(120)])
    (tmp_path / "text/1.jsonl").write_bytes(b'{"text": "x"}\n' * 10 + b"\x28\xb5\x2f\xfd" * 9000)
    (tmp_path / "text/2.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd" + b"broken" * 8000)
    with pytest.raises(ValueError, match=r"2\.jsonl\.zst: damaged zstd stream"):
        prepare([("text", tmp_path / "text")], tmp_path / "out", **SETTINGS)
    (tmp_path / "text/2.jsonl.zst").unlink()
    write_jsonl(tmp_path / "text/1.jsonl", [sentence(k, 60) for k in range(120, 240)])
    with pytest.raises(ValueError, match="40 x"):
        write_jsonl(tmp_path / "text/2.jsonl", [""] * 40)
        prepare([("text", tmp_path / "text")], tmp_path / "out", **SETTINGS)
    part = tmp_path / "out/.parts/text/00000/train/00000.arrow"
    before = part.stat().st_mtime_ns
    prepare([("text", tmp_path / "text")], tmp_path / "out", **{**SETTINGS, "max_rejects": 0.5})
    assert (tmp_path / "out/text/train/00000.arrow").stat().st_mtime_ns == before


def test_too_many_rejects_refuse_and_the_report_says_why(tmp_path):
    bad = [(f"bad{k}.jpg", b"") for k in range(3)]
    write_tar(tmp_path / "a.tar", caption_members(range(40)) + [
        m for name, data in bad for m in ((name, data), (name.replace("jpg", "txt"), b"caption"))])
    said = r"7\.0% of its documents were rejected, more than the 5\.0% allowed \(3 x image is empty, the first in a\.tar:bad0\)"
    with pytest.raises(ValueError, match=said):
        prepare([("caption", tmp_path / "a.tar")], tmp_path / "out", **SETTINGS)
    report = json.loads((tmp_path / "out/report.json").read_text())["sources"]["caption"]
    assert report["rejected"] == {"image is empty": {"count": 3, "first": [f"a.tar:bad{k}" for k in range(3)]}}
    with pytest.raises(ValueError, match="did not finish"):
        store.open(tmp_path / "out")
    assert prepare([("caption", tmp_path / "a.tar")], tmp_path / "out", **SETTINGS, max_rejects=0.1)["sources"]["caption"] == report


def test_a_caption_of_a_megabyte_is_rejected(tmp_path):
    members = [("long.jpg", image_bytes(0)), ("long.txt", b"word " * 200_000)]
    write_tar(tmp_path / "a.tar", caption_members(range(40)) + members)
    report = prepare([("caption", tmp_path / "a.tar")], tmp_path / "out", **SETTINGS)
    assert report["sources"]["caption"]["rejected"] == {"longer than the context": {"count": 1, "first": ["a.tar:long"]}}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_named_and_the_next_call_goes_on(prepared, files, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"cannot write .*report\.json: .*No space left on device.*Free some space"):
        prepare(sources(files), out, **SETTINGS)
    (out / "report.partial").unlink()
    prepare(sources(files), out, **SETTINGS)
    assert same_folders(prepared.folder, out)

    writer = store.Writer(tmp_path / "shards", 24)
    (tmp_path / "shards/00000.partial").symlink_to("/dev/full")
    geometry = Geometry(image_size=8, patch=8)
    writer.add(store.Sequence(np.zeros(24, np.int32), np.zeros(24, np.int16), np.zeros(0, np.int32), np.zeros(0, np.int32),
                              [], [], geometry))
    with pytest.raises(OSError, match=r"cannot write .*00000\.arrow: .*No space left on device"):
        writer.close()


def test_settings_and_sources_are_checked_before_any_work(files, tmp_path):
    for changed, message in (
        ({"context": 16}, "does not fit the context"), ({"image_size": 33}, "not a multiple of patch"),
        ({"validation": 0}, "validation is 0"), ({"validation": 30}, "validation is 30"),
        ({"max_rejects": 2}, "max_rejects is 2"), ({"max_images": 0}, "max_images is 0"),
        ({"processes": 0}, "processes is 0"), ({"store_kind": "lmdb"}, "the store is 'lmdb'"),
        ({"upload": "s3://bucket"}, "only mds can be uploaded"), ({"tokenizer": files / "x.json"}, "not both"),
        ({"vocab_size": 100}, "vocabulary size 100 is out of range"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(sources(files), tmp_path / "out", **{**SETTINGS, **changed})
    text = ("text", files / "text")
    for given, message in (([text, text], "need different names"), ([], "one at least"), ([("film", "x")], "source 'film=x'")):
        with pytest.raises(ValueError, match=message):
            prepare(given, tmp_path / "out", **SETTINGS)
    for bad in ("text", "text=", "sound=x", "caption:a/b=x"):
        with pytest.raises(ValueError, match=re.escape(repr(bad) if "/" not in bad else "a/b")):
            parse_source(bad)
    assert parse_source("caption:dfn=/data=1") == ("caption", "dfn", Path("/data=1"))


def test_training_batches_of_a_prepared_corpus(prepared):
    mixture = Mixture(prepared, "45-45-10", seed=0, max_epochs=20)
    batch = next(iter(train_batches(mixture, batch_size=4, steps=3)))
    assert batch["patches"].shape[2] == 192 and abs(float(batch["patches"].mean())) < 3
    for source in prepared.sources.values():
        assert len(next(iter(validation_batches(source.validation, 2)))["input_ids"]) >= 1


def test_the_command(files, tmp_path, capsys):
    out = tmp_path / "corpus"
    command = ["data", "prepare", "--source", f"caption:emoji={files / 'captions'}", "--source", f"text={files / 'text'}",
               "--out", str(out), "--context", "96", "--image-size", "32", "--patch", "8", "--vocab-size", "400",
               "--validation", "0.1", "--processes", "1"]
    assert main(command) == 0
    assert "emoji" in capsys.readouterr().out
    assert main(["data", "show", str(out)]) == 0
    page = (out / "samples.html").read_text()
    assert page.count("data:image/png;base64,") == 3 and "http" not in page
    assert "emoji" in capsys.readouterr().out
    assert main([*command, "--context", "97"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("nmm data: ") and "other data or settings" in error
    assert main(["data", "show", str(tmp_path)]) == 2


def test_samples_of_the_generated_corpus(generated):
    page = samples_html(generated, 2)
    stories = [generated.sources["interleaved"].train[k] for k in range(2)]
    assert page.count("data:image/png;base64,") == 2 + sum(len(row.data) for row in stories) and "&lt;|endofdocument|&gt;" in page


def test_real_files(real_mini, tmp_path):
    """974 captions in tars, 34 interleaved documents with 187 images, 181 texts under zstd."""
    report = prepare([("caption", real_mini / "image_caption"), ("interleaved", real_mini / "interleaved"),
                      ("text", real_mini / "text")], tmp_path / "out", context=256, image_size=64, patch=16, vocab_size=1024,
                     progress=False)
    assert {name: (s["documents"], s["images"], s["rejected"]) for name, s in report["sources"].items()} == {
        "caption": (974, 974, {}), "interleaved": (34, 187, {}), "text": (181, 0, {})}
    for name, source in report["sources"].items():
        assert source["packing_waste"] < 0.05, (name, source["packing_waste"])
    corpus = store.open(tmp_path / "out")
    captions = texts_of(corpus, "train", "caption")
    assert any("double exclamation mark" in text for text in captions)
    assert os.environ.get("TOKENIZERS_PARALLELISM") != "false", "a worker's setting leaked into this process"
