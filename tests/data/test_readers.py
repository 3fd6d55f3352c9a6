"""Readers: the formats by content, every kind of bad sample counted by reason, every bad file named."""

import gzip
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from nmm.data.documents import MAX_TEXT, Document, Span, Text
from nmm.data.geometry import Geometry
from nmm.data.readers import BadShard, ImageRoot, files_of, read
from nmm.data.readers.clean import clean
from nmm.data.readers.detect import detect
from nmm.data.readers.rejects import Rejects
from tests.data.conftest import caption_members, image_bytes, sentence, write_jsonl, write_tar

GEOMETRY = Geometry(image_size=32, patch=8)
GOOD = image_bytes(0)


def good_documents(path, kind, rejects, images=None, max_images=30) -> list[Document]:
    """What is left after reading and cleaning."""
    cleaned = (clean(document, kind, GEOMETRY, max_images, rejects) for document in read(path, kind, rejects, images))
    return [document for document in cleaned if document is not None]


def seen(number: int) -> Span:
    """An image of `image_bytes` after cleaning: 4 x 4 patches."""
    return Span(image_bytes(number), "jpeg", 16)


def reasons(rejects: Rejects) -> dict[str, int]:
    return {reason: entry["count"] for reason, entry in rejects.reasons.items()}


# Text ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["", ".zst", ".gz"])
def test_json_lines_plain_zstd_and_gzip(tmp_path, codec):
    texts = [sentence(k) for k in range(50)]
    content = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    if codec == ".zst":  # two frames, as shards that were concatenated
        half = content.index(b"\n", len(content) // 2) + 1
        content = zstandard.compress(content[:half]) + zstandard.compress(content[half:])
    elif codec == ".gz":
        content = gzip.compress(content)
    path = tmp_path / "data.bin"  # the name says nothing
    path.write_bytes(content)
    assert detect(path) == "jsonl"
    assert [d.segments[0].text for d in read(path, "text", Rejects())] == texts


def test_bad_lines_are_counted_and_their_neighbours_stay(tmp_path):
    lines = [json.dumps({"text": sentence(0)}), "not json", '{"text": null}', '{"text": 3}', "[1, 2]", '{"other": "x"}',
             '{"text": "   "}', '{"text": "lone \\ud800 surrogate"}', "", '{"text": "' + "x" * (MAX_TEXT + 10) + '"}',
             "[" * 100_000, json.dumps({"text": sentence(1)}), '{"text": "cut',
             json.dumps({"text": sentence(2)})]
    path = tmp_path / "a.jsonl"
    path.write_bytes("\n".join(lines).encode() + b'\n{"text": "\xff\xfe"}\n')
    rejects = Rejects()
    assert [d.segments[0].text for d in good_documents(path, "text", rejects)] == [sentence(0), sentence(1), sentence(2)]
    assert reasons(rejects) == {"line is not JSON": 4, "no `text` string": 4, "empty document": 1,
                                "text is not valid Unicode": 1, "line above 16 MB": 1}
    assert rejects.reasons["line is not JSON"]["first"][0] == "a.jsonl:line 2"


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_a_cut_compressed_file_is_named(tmp_path, codec):
    content = "".join(json.dumps({"text": sentence(k)}) + "\n" for k in range(20_000)).encode()
    packed = zstandard.compress(content) if codec == "zstd" else gzip.compress(content)
    path = tmp_path / "cut.jsonl.zst"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(BadShard, match=r"cut\.jsonl\.zst: cannot be read to its end"):
        list(read(path, "text", Rejects()))


def test_plain_text_is_cut_at_line_ends_and_nothing_is_lost(tmp_path):
    text = "\n".join(sentence(k, words=12) for k in range(5000))
    (tmp_path / "book").write_text(text)
    documents = list(read(tmp_path / "book", "text", Rejects()))
    assert len(documents) > 3 and "\n".join(d.segments[0].text for d in documents) == text


def test_text_tables(tmp_path):
    pq.write_table(pa.table({"text": [sentence(0), None, ""], "url": ["a", "b", "c"]}), tmp_path / "t.parquet")
    rejects = Rejects()
    assert len(good_documents(tmp_path / "t.parquet", "text", rejects)) == 1
    assert reasons(rejects) == {"no `text` string": 1, "empty document": 1}
    pq.write_table(pa.table({"content": ["x"]}), tmp_path / "u.parquet")
    with pytest.raises(BadShard, match=r"u\.parquet: has the columns \(content: string\); expected a column `text`"):
        list(read(tmp_path / "u.parquet", "text", Rejects()))


# Captions ------------------------------------------------------------------------------------------------------------


def test_img2dataset_tars(tmp_path):
    write_tar(tmp_path / "00000.tar", caption_members(range(12)))
    rejects = Rejects()
    documents = good_documents(tmp_path / "00000.tar", "caption", rejects)
    assert not rejects.reasons and len(documents) == 12
    assert documents[3].segments == (seen(3), Text(sentence(3)))
    assert documents[3].name == "00000.tar:00003"


def test_bad_pairs_are_counted_and_their_neighbours_stay(tmp_path):
    bad = [
        ("e0.jpg", b""), ("e0.txt", b"zero bytes"),
        ("e1.jpg", GOOD[:100]), ("e1.txt", b"cut image"),
        ("e2.jpg", GOOD), ("e2.txt", b"   \n"),
        ("e3.jpg", GOOD), ("e3.txt", b"\xff\xfe\x00"),
        ("e4.jpg", GOOD),
        ("e5.txt", b"no image"),
        ("e6.jpg", GOOD), ("e6.json", b"{broken"),
        ("e7.jpg", GOOD), ("e7.json", b'{"caption": null}'),
        ("../../etc/e8.jpg", GOOD), ("../../etc/e8.txt", b"outside"),
        ("/abs/e9.jpg", GOOD), ("/abs/e9.txt", b"outside"),
        ("ea.jpg", image_bytes(0, (1, 1), "PNG")), ("ea.txt", b"one pixel"),
        ("00001.jpg", GOOD), ("00001.txt", b"the key again"),
        ("eb.jpg", GOOD), ("eb.jpg", GOOD), ("eb.txt", b"twice"),
        ("ec.jpg", GOOD), ("ec.png", image_bytes(0, fmt="PNG")), ("ec.txt", b"two images"),
        ("ed.jpg", b"<html>not found</html>"), ("ed.txt", b"a web page"),
    ]
    write_tar(tmp_path / "x.tar", caption_members(range(3)) + bad + caption_members(range(10, 13)))
    rejects = Rejects()
    documents = good_documents(tmp_path / "x.tar", "caption", rejects)
    assert [d.name for d in documents] == [f"x.tar:{n:05d}" for n in (0, 1, 2, 10, 11, 12)]
    assert reasons(rejects) == {
        "image is empty": 1, "image is damaged": 1, "empty caption": 1, "caption is not UTF-8": 1, "no caption": 2,
        "no image": 1, "json is damaged": 1, "path outside the archive": 2, "image below 8 pixels a side": 1,
        "duplicate key": 2, "more than one image": 1, "not a JPEG, PNG or WebP image": 1}
    assert rejects.documents == 15 and rejects.images == 0


def test_links_in_a_tar_are_refused(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, content in caption_members(range(2)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "00000.jpg")):
            info = tarfile.TarInfo(f"link{kind.decode()}.jpg")
            info.type, info.linkname = kind, target
            archive.addfile(info)
    rejects = Rejects()
    assert len(good_documents(tmp_path / "x.tar", "caption", rejects)) == 2
    assert reasons(rejects) == {"not a regular file": 2}


@pytest.mark.parametrize("keep", ["middle of an image", "between members", "middle of a header"])
def test_a_tar_cut_in_the_middle_is_named(tmp_path, keep):
    path = write_tar(tmp_path / "cut.tar", caption_members(range(20)))
    with tarfile.open(path) as archive:
        member = archive.getmembers()[30]
    size = {"middle of an image": member.offset_data + 100, "between members": member.offset,
            "middle of a header": member.offset + 300}[keep]
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BadShard, match=r"cut\.tar: .*expected a whole WebDataset tar"):
        list(read(path, "caption", Rejects()))


@pytest.mark.parametrize("struct", [False, True])
def test_caption_tables(tmp_path, struct):
    images = [image_bytes(k) for k in range(3)] + [None]
    column = [None if i is None else {"bytes": i, "path": "x"} for i in images] if struct else images
    captions = [sentence(0), None, sentence(2), "no image"]
    pq.write_table(pa.table({"key": ["a", "b", "c", "d"], "caption": captions, "image" if struct else "jpg": column}),
                   tmp_path / "c.parquet")
    rejects = Rejects()
    documents = good_documents(tmp_path / "c.parquet", "caption", rejects)
    assert [d.segments for d in documents] == [(seen(k), Text(sentence(k))) for k in (0, 2)]
    assert reasons(rejects) == {"no caption": 1, "no image": 1}


# Interleaved ---------------------------------------------------------------------------------------------------------


def interleaved_table(path, rows):
    images, texts = zip(*rows)
    pq.write_table(pa.table({"images": pa.array(images, pa.list_(pa.string())),
                             "texts": pa.array(texts, pa.list_(pa.string()))}), path)
    return path


@pytest.fixture
def image_root(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    for k in range(4):
        (root / f"{k}.jpg").write_bytes(image_bytes(k))
    (root / "cut.jpg").write_bytes(GOOD[:150])
    (root / "outside.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "secret.jpg").write_bytes(GOOD)
    return root


def test_obelics_tables_keep_their_order(tmp_path, image_root):
    path = interleaved_table(tmp_path / "o.parquet", [([None, "0.jpg", None, "1.jpg", None],
                                                       ["one", None, "two", None, "three"])])
    document, = good_documents(path, "interleaved", Rejects(), ImageRoot(image_root))
    assert document.segments == (Text("one"), seen(0), Text("two"), seen(1),
                                 Text("three"))


def test_bad_interleaved_rows_and_images(tmp_path, image_root):
    path = interleaved_table(tmp_path / "o.parquet", [
        (["0.jpg", None], [None, "good"]),
        (["0.jpg"], [None, "lengths differ"]),
        (["0.jpg", None], ["both set", "x"]),
        (None, ["no list"]),
        (["missing.jpg", None], [None, "the image is missing, the document stays"]),
        (["cut.jpg", None, "2.jpg"], [None, "one is cut", None]),
        (["../secret.jpg", "/etc/passwd", "outside.jpg", None], [None, None, None, "paths outside"]),
        ([None, None], [None, "nothing at the first position"]),
        (["missing.jpg"], [None]),
        (["3.jpg", None], [None, "good"]),
    ])
    rejects = Rejects()
    documents = good_documents(path, "interleaved", rejects, ImageRoot(image_root))
    assert [d.name.split()[-1] for d in documents] == ["0", "4", "5", "6", "7", "9"]
    assert [sum(isinstance(s, Span) for s in d.segments) for d in documents] == [1, 0, 1, 0, 0, 1]
    assert reasons(rejects) == {
        "images and texts differ in length": 2, "image and text at one position": 1, "missing image file": 2,
        "image is damaged": 1, "image path outside the image root": 3, "empty document": 1}
    assert (rejects.documents, rejects.images) == (4, 6)


def test_images_from_tars_and_from_columns(tmp_path, image_root):
    tars = tmp_path / "tars"
    tars.mkdir()
    write_tar(tars / "a.tar", [("deep/0.jpg", image_bytes(0)), ("1.jpg", image_bytes(1))])
    path = interleaved_table(tmp_path / "o.parquet", [(["deep/0.jpg", "1.jpg", None], [None, None, "x"])])
    for root in (tars, tars / "a.tar"):
        document, = good_documents(path, "interleaved", Rejects(), ImageRoot(root))
        assert [s.data for s in document.segments[:2]] == [image_bytes(0), image_bytes(1)]
    for kind in (pa.binary(), pa.struct([("bytes", pa.binary()), ("path", pa.string())])):
        values = [image_bytes(2) if kind == pa.binary() else {"bytes": image_bytes(2), "path": "p"}, None]
        table = pa.table({"images": pa.array([values], pa.list_(kind)), "texts": [[None, "y"]]})
        pq.write_table(table, tmp_path / "b.parquet")
        document, = good_documents(tmp_path / "b.parquet", "interleaved", Rejects())
        assert document.segments == (seen(2), Text("y"))


def test_the_cap_on_images_and_joined_texts(tmp_path, image_root):
    path = interleaved_table(tmp_path / "o.parquet", [(["0.jpg", "1.jpg", "2.jpg", None, None], [None, None, None, "a", "b"])])
    rejects = Rejects()
    document, = good_documents(path, "interleaved", rejects, ImageRoot(image_root), max_images=2)
    assert document.segments == (seen(0), seen(1), Text("a\n\nb"))
    assert reasons(rejects) == {"image beyond the cap of 2 in a document": 1} and rejects.images == 0


def test_names_without_an_image_root_are_rejected(tmp_path):
    path = interleaved_table(tmp_path / "o.parquet", [(["0.jpg", None], [None, "x"])])
    rejects = Rejects()
    assert len(good_documents(path, "interleaved", rejects)) == 1
    assert reasons(rejects) == {"image by name, but no image root given": 1}


# Files ---------------------------------------------------------------------------------------------------------------


def test_folders_are_read_by_content_and_sidecars_passed_over(tmp_path):
    write_tar(tmp_path / "00000.tar", caption_members(range(2)))
    (tmp_path / "00000_stats.json").write_text('{"count": 2}')
    pq.write_table(pa.table({"url": ["x"], "caption": ["y"]}), tmp_path / "00000.parquet")  # img2dataset's metadata
    (tmp_path / ".hidden").write_text("x")
    found, passed = files_of(tmp_path, "caption")
    assert [f.name for f in found] == ["00000.tar"] and {f.name for f in passed} == {"00000.parquet", "00000_stats.json", ".hidden"}


def test_bad_paths_and_files_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "zero.tar").touch()
    (tmp_path / "noise.bin").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "fake.parquet").write_bytes(b"PAR1 and nothing else")
    write_jsonl(tmp_path / "a.jsonl", ["x"])
    for path, kind, error, message in (
        (tmp_path / "absent", "text", OSError, "absent does not exist: give a file or folder with JSON lines"),
        (tmp_path / "empty", "caption", ValueError, "has no data for a caption source"),
        (tmp_path / "zero.tar", "caption", BadShard, r"zero\.tar: is empty; expected WebDataset tars"),
        (tmp_path / "noise.bin", "text", BadShard, r"noise\.bin: is of an unknown format"),
        (tmp_path / "a.jsonl", "caption", BadShard, r"a\.jsonl: is JSON lines; expected WebDataset"),
        (tmp_path, "caption", BadShard, r"zero\.tar: is empty; expected a tar file"),
    ):
        with pytest.raises(error, match=message):
            files_of(path, kind)
    for kind in ("text", "caption", "interleaved"):
        with pytest.raises(BadShard, match=r"fake\.parquet: damaged parquet"):
            list(read(tmp_path / "fake.parquet", kind, Rejects()))
    for kind, expected in (("caption", "image bytes in one of the columns"), ("interleaved", "columns `images`")):
        pq.write_table(pa.table({"text": ["x"]}), tmp_path / "t.parquet")
        with pytest.raises(BadShard, match=rf"t\.parquet: has the columns \(text: string\); expected {expected}"):
            list(read(tmp_path / "t.parquet", kind, Rejects()))
    with pytest.raises(OSError, match="image root .* does not exist"):
        ImageRoot(tmp_path / "nowhere")


def test_a_parquet_cut_or_damaged_in_its_pages_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": [sentence(k, 50) for k in range(2000)]}), path, compression="zstd")
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadShard, match=r"t\.parquet: damaged parquet"):
        list(read(path, "text", Rejects()))
    content[len(content) // 3: len(content) // 3 + 64] = bytes(64)
    path.write_bytes(content)
    with pytest.raises(BadShard, match=r"t\.parquet: damaged parquet"):
        list(read(path, "text", Rejects()))


def test_strings_that_are_not_utf8_in_a_table(tmp_path):
    bad = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\4\0\0\0\6\0\0\0"), pa.py_buffer(b"good\xff\xfe")])
    pq.write_table(pa.table({"text": bad}), tmp_path / "t.parquet")
    rejects = Rejects()
    assert [d.segments[0].text for d in good_documents(tmp_path / "t.parquet", "text", rejects)] == ["good"]
    assert reasons(rejects) == {"text is not valid Unicode": 1}
