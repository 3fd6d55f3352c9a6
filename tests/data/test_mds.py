"""The MDS store and object storage: the same sequences, order and losses as from local Arrow shards.

The S3 server is moto's, real HTTP on loopback.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nmm.cli import main
from nmm.config import GENERATED
from nmm.data.batches.loader import collate, train_batches
from nmm.data.batches.mixture import Mixture
from nmm.data.corpus import mds, store
from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.corpus.prepare import prepare
from tests.data.conftest import caption_members, sentence, write_jsonl, write_tar
from tests.data.test_loader import equal

SETTINGS = {"context": 112, "image_size": (16, 32), "patch": 8, "vocab_size": 400, "validation": 0.1, "processes": 1,
            "progress": False}
WEIGHTS = {"caption": 1, "text": 2}


def test_without_the_extra_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "streaming", None)
    with pytest.raises(ValueError, match=r"need mosaicml-streaming .*pip install 'nmm\[streaming\]'"):
        store.open("s3://bucket/corpus", tmp_path)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("files")
    (root / "captions").mkdir()
    (root / "text").mkdir()
    write_tar(root / "captions/0.tar", caption_members(range(90), ((40, 32), (20, 30))))
    write_jsonl(root / "text/0.jsonl", [sentence(k, 60) for k in range(120)])
    return root


@pytest.fixture(scope="module")
def corpora(files, tmp_path_factory) -> tuple[store.Corpus, store.Corpus]:
    """The same files in an Arrow and in an MDS corpus."""
    pytest.importorskip("streaming", reason="the extra `streaming` is not installed: pip install 'nmm[streaming]'")
    root = tmp_path_factory.mktemp("corpora")
    # Small shards, so that there are several.
    original, mds.SHARD_BYTES = mds.SHARD_BYTES, 40_000
    for kind in ("arrow", "mds"):
        prepare([("caption", files / "captions"), ("text", files / "text")], root / kind, store_kind=kind, **SETTINGS)
    mds.SHARD_BYTES = original
    return store.open(root / "arrow"), store.open(root / "mds")


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """A bucket on a server of this machine; credentials are whatever the environment says, as for any user."""
    server_module = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[s3,server]'")
    import boto3

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {"S3_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
                   "AWS_DEFAULT_REGION": "us-east-1"}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    client = boto3.client("s3", endpoint_url=environment["S3_ENDPOINT_URL"])
    client.create_bucket(Bucket="bucket")
    yield client
    server.stop()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture(scope="module")
def url(corpora, s3) -> str:
    mds.upload(corpora[1].folder, "s3://bucket/deep/corpus")
    return "s3://bucket/deep/corpus"


def test_generated_audio_and_video_in_both_stores(corpora, tmp_path):
    weights = {kind: 1.0 for kind in GENERATED}
    arrow = embedded_corpus(tmp_path / "arrow", tokens=5_000, weights=weights, kinds=GENERATED)
    (tmp_path / "mds").mkdir()
    mds.export(arrow, tmp_path / "mds")
    other = store.open(tmp_path / "mds")
    assert Mixture(arrow, weights, 0).realised(60) == Mixture(other, weights, 0).realised(60)
    for name, source in arrow.sources.items():
        one, two = ([split[k] for k in range(9)] for split in (source.train, other.sources[name].train))
        assert equal(collate(one), collate(two)), name


def test_row_counts_of_a_corpus_from_a_time_of_images_only(corpora, tmp_path):
    """Their table has two columns."""
    shutil.copytree(corpora[1].folder, tmp_path / "old")
    for table in (tmp_path / "old").rglob(mds.ROWS):
        np.save(table, np.load(table)[:, :2])
    old = store.open(tmp_path / "old").sources["caption"].train
    assert np.array_equal(old.image_tokens, corpora[0].sources["caption"].train.image_tokens) and not old.tokens_of("audio").any()


def losses(corpus: store.Corpus, workers: int = 0) -> list[float]:
    """Losses of a tiny model over the mixture's batches, images included."""
    torch.manual_seed(0)
    embed, patches, head = torch.nn.Embedding(400, 16), torch.nn.Linear(192, 16), torch.nn.Linear(16, 400)
    optimizer = torch.optim.AdamW([*embed.parameters(), *patches.parameters(), *head.parameters()], lr=0.01)
    values = []
    for batch in train_batches(Mixture(corpus, WEIGHTS, seed=2), batch_size=4, steps=8, num_workers=workers):
        hidden = embed(batch["input_ids"]) + patches(batch["patches"]).mean(1, keepdim=True)
        loss = torch.nn.functional.cross_entropy(head(hidden.cumsum(1)).flatten(0, 1), batch["labels"].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return values


def test_both_stores_hold_the_same_sequences(corpora):
    arrow, other = corpora
    assert other.description["store"] == "mds" and other.hash == arrow.hash and other.report == arrow.report
    assert len(other.description["sources"]["caption"]["train"]["shards"]) > 1
    for name, source in arrow.sources.items():
        for split in store.SPLITS:
            one, two = getattr(source, split), getattr(other.sources[name], split)
            assert len(one) == len(two) and np.array_equal(one.tokens, two.tokens)
            assert np.array_equal(one.image_tokens, two.image_tokens)
            for k in range(len(one)):
                for field in ("tokens", "documents", "starts", "lengths"):
                    assert np.array_equal(getattr(one[k], field), getattr(two[k], field)), (name, split, k, field)
                assert list(one[k].formats) == list(two[k].formats) and one[k].data == two[k].data


@pytest.mark.parametrize("workers", [0, 2])
def test_same_order_and_losses_from_disk_and_object_storage(corpora, url, tmp_path, workers):
    expected = losses(corpora[0])
    assert losses(corpora[1], workers) == expected
    assert losses(store.open(url, tmp_path), workers) == expected


def test_resuming_from_object_storage(corpora, url, tmp_path):
    whole = list(train_batches(Mixture(corpora[0], WEIGHTS, seed=2), batch_size=4, steps=8))
    resumed = train_batches(Mixture(store.open(url, tmp_path), WEIGHTS, seed=2), batch_size=4, steps=8, num_workers=1)
    resumed.dataset.load_state_dict(resumed.dataset.state_dict(5 * 4, True))
    assert all(map(equal, whole[5:], list(resumed)))


def test_only_the_shards_that_are_read_are_fetched_and_once(url, s3, tmp_path):
    corpus = store.open(url, tmp_path)
    split = corpus.sources["caption"].train
    assert split.tokens.sum() > 0 and not list(tmp_path.rglob("*.mds")), "mixing needs no shard"
    split[0]
    shard, = tmp_path.rglob("*.mds")
    before = shard.stat().st_mtime_ns
    assert store.open(url, tmp_path).sources["caption"].train[1].tokens.shape == (112,)
    assert shard.stat().st_mtime_ns == before and not list(tmp_path.rglob(".fetch-*"))


def test_damage_on_the_way_is_noticed(corpora, s3, tmp_path):
    mds.upload(corpora[1].folder, "s3://bucket/damaged")
    key = "damaged/caption/train/shard.00000.mds"
    body = bytearray(s3.get_object(Bucket="bucket", Key=key)["Body"].read())
    body[len(body) // 2] ^= 1
    s3.put_object(Bucket="bucket", Key=key, Body=bytes(body))
    corpus = store.open("s3://bucket/damaged", tmp_path)
    with pytest.raises(OSError, match=r"shard\.00000\.mds arrived damaged"):
        corpus.sources["caption"].train[0]
    index = "damaged/caption/train/index.json"
    text = s3.get_object(Bucket="bucket", Key=index)["Body"].read().decode()
    s3.put_object(Bucket="bucket", Key=index, Body=text.replace('"shard.00000.mds"', '"../../../../shard.00000.mds"').encode())
    with pytest.raises(ValueError, match="names a shard outside its folder"):
        store.open("s3://bucket/damaged", tmp_path / "other").sources["caption"].train[0]


def test_places_that_cannot_be_read_are_named(s3, tmp_path, capsys):
    with pytest.raises(OSError, match=r"s3://bucket/nothing/corpus\.json.*Check the address"):
        store.open("s3://bucket/nothing", tmp_path)
    with pytest.raises(OSError, match="no-such-bucket"):
        store.open("s3://no-such-bucket/corpus", tmp_path)
    with pytest.raises(ValueError, match="a URL starts with one of s3://, gs://, az://"):
        store.open("ftp://host/corpus", tmp_path)
    assert main(["data", "show", "s3://bucket/nothing"]) == 2
    assert capsys.readouterr().err.startswith("nmm data: s3://bucket/nothing/corpus.json")


def test_the_command_prepares_and_uploads(files, s3, tmp_path, capsys):
    assert main(["data", "prepare", "--source", f"text={files / 'text'}", "--out", str(tmp_path / "corpus"), "--context", "112",
                 "--image-size", "32", "--patch", "8", "--vocab-size", "400", "--validation", "0.1", "--store", "mds",
                 "--upload", "s3://bucket/command", "--processes", "1"]) == 0
    keys = {item["Key"] for item in s3.list_objects_v2(Bucket="bucket", Prefix="command/")["Contents"]}
    assert {"command/corpus.json", "command/tokenizer.json", "command/text/train/index.json"} <= keys
    assert not any("/." in key for key in keys), "unfinished parts were uploaded"
    assert store.open("s3://bucket/command", tmp_path / "cache").report["sources"]["text"]["documents"] == 120


KILLED = """
import json, os, signal, sys, time
from pathlib import Path
import numpy as np
import streaming.base.format.mds  # ten seconds, paid once: every call is a fork of this process
from nmm.data.corpus.prepare import prepare

files, out, settings = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
random = np.random.default_rng(0)
killed = 0
for pause in [*random.uniform(0.01, 0.4, 5), None]:
    child = os.fork()
    if not child:
        prepare([("caption", files / "captions"), ("text", files / "text")], out, store_kind="mds", **settings)
        os._exit(0)
    if pause is not None:
        time.sleep(pause)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    killed += os.WIFSIGNALED(status)
assert status == 0 and killed, (status, killed)
"""


def test_killed_at_any_moment_it_goes_on_to_the_same_corpus(corpora, files, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    subprocess.run([sys.executable, str(script), str(files), str(tmp_path / "out"), json.dumps(SETTINGS)], check=True)
    resumed = store.open(tmp_path / "out")
    assert resumed.hash == corpora[0].hash and losses(resumed) == losses(corpora[0])
    assert not (tmp_path / "out/.parts").exists()
