"""What the tests of several folders share: a small generated corpus and its smallest run."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from nmm.config import RunConfig
from nmm.data.corpus.embedded import embedded_corpus
from nmm.studies import MIXTURE, Study, find_study


def pytest_make_parametrize_id(val, argname):
    """Bytes are named by their argument: packed ones may hold the time, and two workers must collect the same names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session", autouse=True)
def key_of_its_own(tmp_path_factory):
    """Checkpoints of tests are not signed with the user's key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NMM_KEY_FILE", str(tmp_path_factory.mktemp("state") / "key"))
        yield


@pytest.fixture(scope="module")
def one_thread():
    """As in a sweep: sums of two threads are not reproducible."""
    import torch  # many tests need none

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny() -> Study:
    """The smoke study with one width and fewer held-out sequences."""
    return replace(find_study("smoke"), name="tiny", widths=(16,), budgets=(10_000, 20_000), warmup_tokens=2_000, validation_sequences=8)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A generated corpus for 20,000 tokens."""
    return embedded_corpus(tmp_path_factory.mktemp("corpus"), tokens=20_000, weights=MIXTURE)


@pytest.fixture
def run(tiny, corpus) -> RunConfig:
    """The smallest run: 16 wide, 10,000 tokens."""
    return next(iter(tiny.grid(corpus, budgets=(10_000,)).values()))


@pytest.fixture(scope="session")
def shape() -> SimpleNamespace:
    """What a configuration needs to know of a corpus, without one."""
    return SimpleNamespace(hash="0123456789abcdef", context=130, vocab_size=512, patch_dim=192, audio_dim=0, video_dim=0)
