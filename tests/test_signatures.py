"""Checkpoints that this machine wrote, and all others: what a stranger put into a runs folder is never unpickled."""

import multiprocessing
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nmm.sweep import SCRATCH
from nmm.training import signatures
from nmm.training.checkpoints import LATEST, settle
from nmm.training.run import train
from nmm.training.signatures import KEY_FILE, Damaged, Unsigned, key_file, require, sign, signing
from tests import sweeping

pytestmark = pytest.mark.usefixtures("one_thread")


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


@pytest.fixture
def key(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "state/key"))
    return tmp_path / "state/key"


def written(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with signing(path) as file:
        torch.save({"state": torch.arange(1000)}, file)
    return path


def test_what_is_signed_is_read_and_what_is_changed_is_not(tmp_path, key):
    path = written(tmp_path / "ba1-rank0.pt")
    require(path)
    assert torch.load(path, weights_only=True)["state"].sum() == 499_500
    data = path.read_bytes()
    for at in (0, len(data) // 2, len(data) - 1, len(data) - signatures.TRAILER - 5):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        with pytest.raises(Damaged, match="it is not what was signed"):
            require(path)
    path.write_bytes(data[:-100])
    with pytest.raises(Damaged, match="is cut"):
        require(path)


def test_the_key_is_made_once_and_nobody_else_reads_it(tmp_path, key):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        keys = pool.map(signatures._key, [key] * 8)
    assert len(set(keys)) == 1 and stat.S_IMODE(key.stat().st_mode) == 0o600 and [p.name for p in key.parent.iterdir()] == ["key"]
    signatures._key.cache_clear()
    key.chmod(0o644)
    with pytest.raises(ValueError, match=f"{key} can be read by others: chmod 600"):
        written(tmp_path / "a.pt")
    key.chmod(0o600)
    key.write_bytes(b"short")
    with pytest.raises(ValueError, match="has 5 bytes, a key has 32"):
        written(tmp_path / "a.pt")
    signatures._key.cache_clear()


def test_the_key_of_a_user_is_in_the_state_directory(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY_FILE, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert key_file() == tmp_path / "nmm/checkpoint.key"


def test_another_machine_with_the_same_key_file(tmp_path, key, monkeypatch):
    path = written(tmp_path / "run/ba1-rank0.pt")
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "other/key"))
    with pytest.raises(Unsigned, match=f"another key than {tmp_path}/other/key.*set {KEY_FILE} to that machine's key file"):
        require(path)
    (tmp_path / "other/key").write_bytes(key.read_bytes())
    signatures._key.cache_clear()
    require(path)


def test_an_unsigned_checkpoint_is_refused_with_the_remedy_which_works(tmp_path, key):
    path = tmp_path / "run/ba3-rank0.pt"
    path.parent.mkdir()
    torch.save({"state": 1}, path)
    (path.parent / LATEST).symlink_to(path.name)
    with pytest.raises(Unsigned, match=f"bears no signature.*Delete {path.parent}.*python -m nmm.training.signatures {path.parent}"):
        settle(path.parent)
    signatures.main([str(path.parent)])
    settle(path.parent)
    assert (path.parent / LATEST).resolve() == path
    sign(path)
    require(path)
    assert signatures.main([str(tmp_path / "none")]) == 2


@pytest.mark.parametrize("link", [True, False])
def test_a_pickle_in_a_runs_folder_is_not_executed(run, corpus, tmp_path, key, link):
    bomb = {"state": {"model": Bomb(tmp_path / "executed")}, "rng": Bomb(tmp_path / "executed")}
    scratch = tmp_path / "runs" / SCRATCH / run.id
    scratch.mkdir(parents=True)
    torch.save(bomb, scratch / "ba5-rank0.pt")
    (scratch / "trunk-ba5-rank0.pt").write_bytes(pickle.dumps(bomb))
    if link:
        (scratch / LATEST).symlink_to("ba5-rank0.pt")
    with pytest.raises(Unsigned, match="could run any code, and is not read"):
        train(run, corpus, scratch=scratch)
    assert not (tmp_path / "executed").exists()
    torch.load(scratch / "ba5-rank0.pt", weights_only=False)
    assert (tmp_path / "executed").exists(), "the bomb is none"


def test_a_sweep_names_the_refusal_and_trains_the_others(corpus, tmp_path, key):
    runs, mark = tmp_path / "runs", tmp_path / "executed"
    first = next(iter(sweeping.grid(corpus)))
    (runs / SCRATCH / first).mkdir(parents=True)
    torch.save({"state": Bomb(mark)}, runs / SCRATCH / first / LATEST)
    summary = sweeping.run(corpus.folder, runs)
    assert not mark.exists() and list(summary.failed) == [first] and len(summary.finished) == 3
    assert "bears no signature" in summary.failed[first] and not (runs / f"{first}.json").exists()


def test_the_command(tmp_path):
    path = tmp_path / "run/ba3-rank0.pt"
    path.parent.mkdir()
    torch.save({"state": 1}, path)
    environment = {**os.environ, KEY_FILE: str(tmp_path / "key")}
    command = [sys.executable, "-m", "nmm.training.signatures", str(tmp_path)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"1 checkpoints signed with {tmp_path}/key" in said.stdout
