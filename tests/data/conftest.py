"""Real files made on the spot: images, tars, tables and text, whole and broken."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.corpus.write import write_corpus
from nmm.data.generated.world import CONTEXT, World

WORDS = "the quick brown fox jumps over a lazy dog while seven old wizards quietly mix fresh paint"


def image_bytes(seed: int = 0, size: tuple[int, int] = (40, 32), fmt: str = "JPEG", mode: str = "RGB", **options) -> bytes:
    """An image of random blocks, encoded."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (4, 4, 3), np.uint8)
    image = Pillow.fromarray(blocks).resize(size, Pillow.Resampling.NEAREST)
    if mode == "I;16":
        image = Pillow.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert(mode)
    file = io.BytesIO()
    image.save(file, fmt, **options)
    return file.getvalue()


def sentence(seed: int, words: int = 8) -> str:
    random = np.random.default_rng(seed)
    return " ".join(random.choice(WORDS.split(), words)) + f" {seed}"


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    """A tar of (name, content); names are kept as they are, also bad ones."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def caption_members(numbers: range, sizes: tuple[tuple[int, int], ...] = ((40, 32),)) -> list[tuple[str, bytes]]:
    """Good pairs in img2dataset's layout; the sizes of their images take turns."""
    return [member for n in numbers for member in (
        (f"{n:05d}.jpg", image_bytes(n, sizes[n % len(sizes)])), (f"{n:05d}.txt", sentence(n).encode()),
        (f"{n:05d}.json", json.dumps({"caption": sentence(n), "key": f"{n:05d}"}).encode()))]


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "url": "x"}) + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def world() -> World:
    return World(0)


@pytest.fixture(scope="session")
def generated(world, tmp_path_factory):
    """A small generated corpus with the three data types."""
    documents = {kind: (kind, world.documents(kind, 40_000, seed=0)) for kind in ("caption", "interleaved", "text")}
    return write_corpus(documents, tmp_path_factory.mktemp("generated"), Tokenizer(world.tokenizer()), context=CONTEXT,
                        image_size=32, patch=8, validation=20, identity="test")


@pytest.fixture(scope="session")
def real_mini() -> Path:
    """The folder of real data for development; tests that need it are skipped where it is absent."""
    shared = Path(os.environ.get("NMM_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data") / "real-mini"
    if not shared.is_dir():
        pytest.skip(f"no real data at {shared}: set NMM_SHARED_DATA to the folder that holds real-mini")
    return shared
