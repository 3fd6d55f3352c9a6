"""Nothing is lost in silence: every file of a source is read, refused, or named; every sample is kept, or counted."""

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
import zstandard
from PIL import Image as Pillow

from nmm.data.corpus import store
from nmm.data.corpus.prepare import prepare
from nmm.data.corpus.show import report_table
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.documents import MAX_TEXT, Span
from nmm.data.geometry import Geometry
from nmm.data.images import check
from nmm.data.readers import BadShard, ImageRoot, files_of, read, tables
from nmm.data.readers.rejects import Rejects
from tests.data.conftest import caption_members, image_bytes, sentence, write_jsonl, write_tar
from tests.data.test_readers import good_documents, reasons

SETTINGS = {"context": 112, "image_size": 32, "patch": 8, "vocab_size": 300, "processes": 1, "progress": False}
PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress, ".xz": lzma.compress, ".bz2": bz2.compress}


def captions(path) -> int:
    return len(good_documents(path, "caption", Rejects()))


# Tars ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tar(tmp_path):
    return write_tar(tmp_path / "1.tar", caption_members(range(20)))


def headers(path) -> list[int]:
    with tarfile.open(path) as archive:
        return [member.offset for member in archive]


@pytest.mark.parametrize("harm", [
    "byte", "checksum", "zeros", "zeros of an empty file", "long zeros", "zeros to the end", "size below zero",
])
def test_a_damaged_header_is_an_error_with_its_offset(tmp_path, tar, harm):
    at = headers(tar)[30]
    data = bytearray(tar.read_bytes())
    if harm == "byte":
        data[at + 3] ^= 1
    elif harm == "checksum":
        data[at + 148:at + 156] = b"garbage!"
    elif harm == "zeros":
        data[at:at + 512] = bytes(512)
    elif harm == "zeros of an empty file":
        at = headers(write_tar(tar, [*caption_members(range(4)), ("e.jpg", b""), *caption_members(range(5, 9))]))[12]
        data = bytearray(tar.read_bytes())
        data[at:at + 512] = bytes(512)
    elif harm == "long zeros":      # a hole that ends where a member begins
        end = headers(tar)[42]
        data[at:end] = bytes(end - at)
    elif harm == "zeros to the end":    # a download that was given its size before its bytes
        data[at:] = bytes(len(data) - at)
    else:
        header = tarfile.TarInfo.frombuf(bytes(data[at:at + 512]), "utf-8", "strict")
        field = bytearray(header.tobuf(tarfile.GNU_FORMAT))
        field[124:136] = b"\xff" * 12
        field[148:156] = b" " * 8
        field[148:156] = b"%06o\0 " % sum(field)
        data[at:at + 512] = field
    tar.write_bytes(data)
    with pytest.raises(BadShard, match=rf"1\.tar: .* (at|from|before) byte {at}" if harm != "size below zero" else rf"byte {at}"):
        captions(tar)


@pytest.mark.parametrize("blocks", [0, 1, 2, 5])
def test_concatenated_tars_are_read_to_the_end(tmp_path, blocks):
    """As `cat`, by writers that fill up to a record and by those that write the bare mark."""
    one, two = (write_tar(tmp_path / f"{k}.tar", caption_members(range(k, k + 5))).read_bytes() for k in (0, 10))
    if blocks == 2:
        one = one.rstrip(b"\0") + bytes(-len(one.rstrip(b"\0")) % 512 + 1024)
    both = tmp_path / "both.tar"
    both.write_bytes(one + two + (bytes(512 * blocks) if blocks == 5 else b""))
    assert captions(both) == 10
    both.write_bytes(one + b"junk" * 128 + two)
    with pytest.raises(BadShard, match=rf"both\.tar: damaged or cut at byte {len(one)}"):
        captions(both)


@pytest.mark.parametrize("codec", PACK)
def test_compressed_tars_are_read(tmp_path, codec):
    data = PACK[codec](write_tar(tmp_path / "plain", caption_members(range(20))).read_bytes())
    path = tmp_path / f"1.tar{codec}"
    path.write_bytes(data)
    assert captions(path) == 20
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadShard, match=r"1\.tar"):
        captions(path)


def test_a_header_that_asks_for_much_memory(tmp_path):
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    (tmp_path / "1.tar").write_bytes(name.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(BadShard, match="a header of 8589"):
        captions(tmp_path / "1.tar")


def test_keys_with_dots(tmp_path):
    picture = image_bytes(0)
    write_tar(tmp_path / "1.tar", [
        ("IMG_1.v1.jpg", picture), ("IMG_1.v1.txt", b"one"), ("IMG_1.v2.jpg", image_bytes(1)), ("IMG_1.v2.txt", b"two"),
        ("3.jpg", image_bytes(2)), ("3.mask.png", image_bytes(3, fmt="PNG")), ("3.txt", b"three"),
        ("a.b/4.5.jpg", image_bytes(4)), ("a.b/4.5.json", b'{"caption": "four"}'),
        ("5.6.jpg", image_bytes(5)), ("7.cls", b"7"), ("._8.jpg", b"x"), ("._8.txt", b"x")])
    rejects = Rejects()
    found = good_documents(tmp_path / "1.tar", "caption", rejects)
    assert [document.name for document in found] == ["1.tar:IMG_1.v1", "1.tar:IMG_1.v2", "1.tar:3", "1.tar:a.b/4.5"]
    assert reasons(rejects) == {"neither an image nor a caption": 4, "no caption": 1} and rejects.documents == 1


def test_very_many_keys_with_the_same_beginning_need_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("nmm.data.readers.tars.HELD", 20_000)
    write_tar(tmp_path / "1.tar", [(f"shop.example_{name}", data) for name, data in caption_members(range(200))])
    tracemalloc.start()
    documents = sum(1 for _ in read(tmp_path / "1.tar", "caption", Rejects()))
    assert documents == 200 and tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()


# Files of a source ---------------------------------------------------------------------------------------------------


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(("name", "content", "said"), [
    ("2.tar", LFS, "pointer of a file in git-lfs"), ("2.tar", b"<!doctype html><p>404", "is plain text"),
    ("2.tar", b'{"error": "not found"}\n', "is JSON lines"), ("2.tar", image_bytes(0), "is an image"), ("2.tgz", b"", "is empty"),
    ("2.tar.gz", gzip.compress(b"<html>"), "is plain text"), ("2.parquet", b"<html>", "is plain text"),
    ("2.parquet", b"PAR1 cut", "damaged parquet"), ("2.tar.zst", zstandard.compress(bytes(range(256)) * 99)[:200], "damaged zstd"),
    ("2.jsonl.xz", LFS, "git-lfs"), ("2.jsonl.xz", lzma.compress(b'{"text": "x"}\n' * 99)[:40], "damaged xz"),
])
def test_a_bad_file_beside_good_ones_is_an_error(tmp_path, name, content, said):
    kind = "text" if "jsonl" in name else "caption"
    write_tar(tmp_path / "1.tar", caption_members(range(3)))
    write_jsonl(tmp_path / "1.jsonl", ["x"])
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadShard, match=rf"{name}.*{said}"):
        files_of(tmp_path, kind)


def test_text_that_is_not_utf8_and_dangling_links(tmp_path):
    (tmp_path / "1.txt").write_text("good text")
    (tmp_path / "2.txt").write_bytes("un café".encode("latin-1"))
    with pytest.raises(BadShard, match=r"2\.txt: is of an unknown format"):
        files_of(tmp_path, "text")
    (tmp_path / "2.txt").unlink()
    (tmp_path / "2.txt").symlink_to(tmp_path / "gone")
    with pytest.raises(BadShard, match=r"2\.txt: is a link to nothing"):
        files_of(tmp_path, "text")


def test_what_is_not_read_is_named_and_what_can_be_is_read(tmp_path, capsys):
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    for name, codec in (("1.jsonl", ""), ("2.jsonl.xz", ".xz"), ("3.jsonl.bz2", ".bz2")):
        write_jsonl(data / name, [sentence(int(name[0]) * 100 + k, 30) for k in range(30)])
        (data / name).write_bytes(PACK[codec]((data / name).read_bytes()))
    write_jsonl(elsewhere / "4.jsonl", [sentence(400 + k, 30) for k in range(30)])
    (data / "linked").symlink_to(elsewhere, target_is_directory=True)
    (data / "linked" / "around").symlink_to(data, target_is_directory=True)
    (data / "notes.txt").write_text("some notes")
    (data / ".part.jsonl").write_text("x")
    os.mkfifo(data / "pipe")
    report = prepare([("text", data)], tmp_path / "out", **SETTINGS)
    assert report["sources"]["text"]["documents"] == 120
    assert report["sources"]["text"]["files_not_read"] == {"count": 3, "first": [".part.jsonl", "notes.txt", "pipe"]}
    assert "3 files that were not read: .part.jsonl, notes.txt, pipe" in report_table(report)


def test_parquet_with_images_beside_tars_is_read(tmp_path):
    write_tar(tmp_path / "1.tar", caption_members(range(3)))
    pq.write_table(pa.table({"jpg": [image_bytes(7)], "caption": ["seven"]}), tmp_path / "2.parquet")
    pq.write_table(pa.table({"url": ["x"], "caption": ["y"]}), tmp_path / "1.parquet")
    chosen, passed = files_of(tmp_path, "caption")
    assert [p.name for p in chosen] == ["1.tar", "2.parquet"] and [p.name for p in passed] == ["1.parquet"]


def test_a_compressed_tar_of_images_by_name_is_an_error(tmp_path):
    (tmp_path / "images.tar.gz").write_bytes(gzip.compress(write_tar(tmp_path / "t", [("0.jpg", image_bytes(0))]).read_bytes()))
    with pytest.raises(BadShard, match=r"images\.tar\.gz: is compressed, and images are looked up by name"):
        ImageRoot(tmp_path).read("0.jpg", 1 << 20)


# Pictures and text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_data_say(orientation):
    from PIL import ImageOps

    picture = Pillow.open(io.BytesIO(image_bytes(0, (40, 24), "PNG")))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=exif, quality=95)
    data, _, size = check(file.getvalue(), Geometry(image_size=16, patch=8))
    upright = np.asarray(ImageOps.exif_transpose(Pillow.open(io.BytesIO(file.getvalue()))), float)
    seen = np.asarray(Pillow.open(io.BytesIO(data)), float)
    assert size == (upright.shape[1], upright.shape[0]) and seen.shape == upright.shape
    assert abs(seen - upright).mean() < 6, abs(seen - upright).mean()
    assert (data == file.getvalue()) == (orientation == 1)


def test_a_small_picture_in_a_large_file_is_stored_small():
    data = image_bytes(0) + bytes(5 << 20)
    assert len(check(data, Geometry(image_size=32, patch=8))[0]) < 1 << 20


def test_text_that_a_tokenizer_would_lose_is_counted(tmp_path):
    words = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    words.save(str(tmp_path / "t.json"))
    lossy = Tokenizer.load(tmp_path / "t.json")
    assert [None if ids is None else ids.tolist() for ids in lossy.encode(["abba", "xyz", "ab x", "a\tb"])] == [[2, 1, 0], None, None, [2]]
    write_jsonl(tmp_path / "x.jsonl", ["ab" * k for k in range(1, 40)] + ["xyz"])
    settings = {**SETTINGS, "vocab_size": None, "tokenizer": tmp_path / "t.json"}
    report = prepare([("text", tmp_path / "x.jsonl")], tmp_path / "out", **settings)
    assert report["sources"]["text"]["rejected"] == {
        "characters that the tokenizer has no token for": {"count": 1, "first": ["x.jsonl:line 40"]}}
    write_jsonl(tmp_path / "y.jsonl", ["ab", "xyz"])
    with pytest.raises(ValueError, match=r"50\.0% of its documents were rejected.*1 x characters that the tokenizer has no token for"):
        prepare([("text", tmp_path / "y.jsonl")], tmp_path / "out2", **settings)


# Small sources, and what is held out ---------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.05, 1e-9, 1 - 1e-9])
def test_a_small_source_has_both_splits(tmp_path, share):
    """With 10 documents, a hash leaves out either split most of the time."""
    for seed in range(3):
        write_jsonl(tmp_path / f"{seed}.jsonl", [sentence(100 * seed + k, 20) for k in range(10)])
        report = prepare([("text", tmp_path / f"{seed}.jsonl")], tmp_path / f"out{seed}", **SETTINGS, validation=share)
        held = report["sources"]["text"]["validation_documents"]
        assert 1 <= held <= 9 and report["sources"]["text"]["documents"] == 10
        assert held == {1e-9: 1, 1 - 1e-9: 9}.get(share, held)


def test_bad_documents_are_not_what_is_held_out(tmp_path):
    for k in range(6):
        bad = [member for n in range(90) for member in ((f"b{k}{n}.jpg", b"x"), (f"b{k}{n}.txt", b"x"))]
        write_tar(tmp_path / "a.tar", caption_members(range(4)) + bad)
        report = prepare([("caption", tmp_path / "a.tar")], tmp_path / f"out{k}", **SETTINGS, max_rejects=1, validation=1e-6)
        assert (report["sources"]["caption"]["documents"], report["sources"]["caption"]["validation_documents"]) == (4, 1)


def test_copies_of_the_held_out_document_stay_together(tmp_path):
    for shard in range(3):
        write_jsonl(tmp_path / f"{shard}.jsonl", [sentence(k, 12) for k in range(6)])
    (tmp_path / "data").mkdir()
    for shard in range(3):
        (tmp_path / f"{shard}.jsonl").rename(tmp_path / f"data/{shard}.jsonl")
    report = prepare([("text", tmp_path / "data")], tmp_path / "out", **SETTINGS, validation=1e-9, part_bytes=100)
    assert report["sources"]["text"]["validation_documents"] == 3


def test_small_sources_prepare_with_the_defaults(tmp_path):
    """417 pairs, 10 documents with 65 images, 40 texts: nothing but what the formats ask for is given."""
    (tmp_path / "web/images").mkdir(parents=True)
    write_tar(tmp_path / "pairs.tar", caption_members(range(417), ((230, 240),)))
    write_jsonl(tmp_path / "text.jsonl", [sentence(k, 50) for k in range(40)])
    for k in range(65):
        (tmp_path / f"web/images/{k}.jpg").write_bytes(image_bytes(k, (240, 226)))
    names = [[f"{k}.jpg" for k in range(65)][n::10] for n in range(10)]
    pq.write_table(pa.table({"images": [[*row, None] for row in names],
                             "texts": [[*[None] * len(row), sentence(n, 9)] for n, row in enumerate(names)]}), tmp_path / "web/1.parquet")
    report = prepare([("caption", tmp_path / "pairs.tar"), ("interleaved", tmp_path / "web"), ("text", tmp_path / "text.jsonl")],
                     tmp_path / "out", progress=False)
    found = {name: (s["documents"], s["images"], s["validation_documents"] > 0) for name, s in report["sources"].items()}
    assert found == {"caption": (417, 417, True), "interleaved": (10, 65, True), "text": (40, 0, True)}


def test_one_document_cannot_be_parted(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", ["the same text"] * 5)
    with pytest.raises(ValueError, match="source 'text' has no .* documents among its 5: it needs two good documents that differ"):
        prepare([("text", tmp_path / "a.jsonl")], tmp_path / "out", **SETTINGS)


def test_another_share_says_what_it_changes(tmp_path, capsys):
    write_tar(tmp_path / "a.tar", [*caption_members(range(9)), ("x.jpg", b""), ("x.txt", b"x")])
    with pytest.raises(ValueError, match="rejected"):
        prepare([("caption", tmp_path / "a.tar")], tmp_path / "out", **SETTINGS)
    prepare([("caption", tmp_path / "a.tar")], tmp_path / "out", **SETTINGS, max_rejects=0.2, validation=0.3)
    said = "other settings than in the unfinished call before (validation was 0.05, is 0.3): its parts are made again"
    assert said in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"from other data or settings \(validation was 0\.3, is 0\.1\): choose another folder"):
        prepare([("caption", tmp_path / "a.tar")], tmp_path / "out", **SETTINGS, max_rejects=0.2, validation=0.1)


# Damage and change ---------------------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path):
    (tmp_path / "data").mkdir()
    for shard in range(3):
        write_jsonl(tmp_path / f"data/{shard}.jsonl", [sentence(100 * shard + k, 40) for k in range(60)])

    def make():
        prepare([("text", tmp_path / "data")], tmp_path / "out", **SETTINGS, part_bytes=10_000)
        return store.open(tmp_path / "out")

    make()
    return make


@pytest.mark.parametrize("harm", [
    "cut", "one byte", "gone", "two", "tokenizer", "report", "corpus.json", "list", "format alone", "parts too",
])
def test_what_is_damaged_is_made_again(tmp_path, made, harm, capsys):
    out = tmp_path / "out"
    before = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file() and not p.name.startswith(".")}
    shard = out / "text/train/00001.arrow"
    untouched = (out / "text/train/00000.arrow").stat().st_ino
    if harm in ("cut", "two", "parts too"):
        shard.write_bytes(shard.read_bytes()[:-700])
    if harm == "one byte":
        data = bytearray(shard.read_bytes())
        data[len(data) // 3] ^= 1
        shard.write_bytes(data)
    elif harm == "gone":
        shard.unlink()
    elif harm == "two":
        (out / "text/validation/00000.arrow").write_bytes(b"")
    elif harm in ("tokenizer", "report"):
        (out / f"{harm}.json").write_text("{}")
    elif harm == "parts too":
        (out / "parts.json").write_text("[1]")
    elif harm in ("corpus.json", "list", "format alone"):
        (out / "corpus.json").write_text({"corpus.json": "{", "list": "[]", "format alone": '{"format": 1}'}[harm])
        with pytest.raises(ValueError, match=r"corpus\.json is damaged .*: prepare the corpus again"):
            store.open(out)
    made()
    assert "made again" in capsys.readouterr().out
    if harm in ("corpus.json", "list", "format alone"):     # it may be somebody else's
        assert (out / "corpus.json.damaged").read_text() in ("{", "[]", '{"format": 1}')
        (out / "corpus.json.damaged").unlink()
    after = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file() and not p.name.startswith(".")}
    assert after == before
    if harm in ("cut", "one byte", "gone", "tokenizer"):
        assert (out / "text/train/00000.arrow").stat().st_ino == untouched, "a whole shard was made again"
    made()
    assert "made again" not in capsys.readouterr().out


def test_a_source_edited_at_equal_size_is_another_source(tmp_path, made):
    path = tmp_path / "data/1.jsonl"
    path.write_text(path.read_text().replace("fox", "cat").replace("dog", "cow"))
    with pytest.raises(ValueError, match=r"other data or settings \(the files of source text\)"):
        made()


def test_a_moved_source_is_the_same_source(tmp_path, made):
    before = made().hash
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert prepare([("text", tmp_path / "elsewhere")], tmp_path / "out", **SETTINGS, part_bytes=10_000)
    assert store.open(tmp_path / "out").hash == before


def test_a_damaged_beginning_is_begun_anew(tmp_path, made, capsys):
    (tmp_path / "out/corpus.json").unlink()
    (tmp_path / "out/.parts").mkdir()
    (tmp_path / "out/.parts/identity.json").write_text("not json")
    made()
    assert "it is begun anew" in capsys.readouterr().out


def test_a_corpus_of_a_later_version_is_left_alone(tmp_path, made):
    path = tmp_path / "out/corpus.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(ValueError, match="has format 2, and this version of nmm reads 1: update nmm"):
        made()
    assert path.exists()


def test_output_and_source_in_one_another_are_refused(tmp_path):
    (tmp_path / "data").mkdir()
    write_jsonl(tmp_path / "data/a.jsonl", ["x", "y"])
    for source, out in (("data", "data/out"), ("data", "data"), ("data", "data/../data/.out")):
        with pytest.raises(ValueError, match="lie in one another: choose an output folder outside of the data"):
            prepare([("text", tmp_path / source)], tmp_path / out, **SETTINGS)
    (tmp_path / "text").mkdir()
    write_jsonl(tmp_path / "text/a.jsonl", ["x", "y"])
    with pytest.raises(ValueError, match="lie in one another"):     # shards would go to tmp_path/text/train
        prepare([("text", tmp_path / "text")], tmp_path, **SETTINGS)
    assert sorted(p.name for p in (tmp_path / "text").iterdir()) == ["a.jsonl"]


# Memory --------------------------------------------------------------------------------------------------------------


def test_texts_beyond_all_use_are_counted_unread(tmp_path):
    pq.write_table(pa.table({"text": ["x" * (MAX_TEXT + 1), "good", "y" * (MAX_TEXT + 1)]}), tmp_path / "t.parquet")
    rejects = Rejects()
    assert len(good_documents(tmp_path / "t.parquet", "text", rejects)) == 1
    assert reasons(rejects) == {"text above 16 MB": 2}
    write_tar(tmp_path / "t.tar", [("0.jpg", image_bytes(0)), ("0.txt", b"x" * (MAX_TEXT + 1)), *caption_members(range(1, 2))])
    rejects = Rejects()
    assert len(good_documents(tmp_path / "t.tar", "caption", rejects)) == 1 and reasons(rejects) == {"file above 16 MB": 1}


def test_a_table_that_unpacks_without_end_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "t.parquet"
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())]), compression="zstd", use_dictionary=False) as out:
        out.write_table(pa.table({"text": [letter * (30 << 20) for letter in "abcdefghijkl"]}))
    assert path.stat().st_size < 200_000
    before = pa.total_allocated_bytes()
    with pytest.raises(BadShard, match=r"t\.parquet: unpacks from [\d,]+ to 37\d,[\d,]+ bytes in text"):
        next(read(path, "text", Rejects()))
    assert pa.total_allocated_bytes() - before < 1 << 20


def test_a_value_named_many_times_is_held_once(tmp_path):
    """A dictionary of 8 MB, two hundred times: laid out it would be 1.6 GB."""
    image = np.random.default_rng(0).bytes(8 << 20)
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 200, pa.int32()), pa.array([image], pa.binary()))
    pq.write_table(pa.table({"image": values, "caption": ["x"] * 200}), tmp_path / "t.parquet",
                   dictionary_pagesize_limit=64 << 20, store_schema=False)
    pool = pa.default_memory_pool()
    before, most = pool.bytes_allocated(), 0
    for number, _ in enumerate(read(tmp_path / "t.parquet", "caption", Rejects())):
        most = max(most, pool.bytes_allocated() - before)
    assert number == 199 and most < 200 << 20, (number, most)


def test_images_of_a_document_are_read_up_to_a_number_of_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "HELD", 10_000)
    big = image_bytes(0, (64, 64), "PNG") + bytes(4000)
    (tmp_path / "0.png").write_bytes(big)
    pq.write_table(pa.table({"images": [["0.png"] * 150 + [None]], "texts": [[None] * 150 + ["words"]]}), tmp_path / "t.parquet")
    rejects = Rejects()
    document, = read(tmp_path / "t.parquet", "interleaved", rejects, ImageRoot(tmp_path))
    kept = sum(isinstance(segment, Span) for segment in document.segments)
    assert kept == 10_000 // len(big) and rejects.images == 150 - kept
    assert list(reasons(rejects)) == ["images of a document above the room for them"]
