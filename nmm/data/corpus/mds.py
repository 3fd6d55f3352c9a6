"""MDS shards, the store for object storage, through mosaicml-streaming (the extra `streaming`).

The library writes, uploads, fetches, checks and decodes the shards. Its `StreamingDataset` is not used: the order of
samples is `nmm.data.batches.mixture`'s for both stores, and several runs on one machine share one cache folder.
Credentials are the storage libraries' own affair (environment, profiles, instance roles).
"""

import json
import os
import shutil
import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np

from nmm.config import INPUTS, MODALITIES
from nmm.data.corpus.sequence import Sequence
from nmm.data.files import naming, write_json
from nmm.data.geometry import Geometry

SCHEMES = {"s3": "s3", "gs": "gs", "az": "azure"}  # of a URL -> the library's name for it
CACHE = Path("~/.cache/nmm")
SHARD_BYTES = 64 << 20
CHECKSUM = "xxh3_64"
# (n, 4) int32 beside the shards: tokens of each row, then of each modality but text; so mixing fetches none
ROWS = "rows.npy"


def is_url(path: str | Path) -> bool:
    """Whether a place is in object storage."""
    return "://" in str(path)


def _library():
    """The streaming library; its import costs some ten seconds, so it waits until a shard is touched.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import streaming.base.format.mds
    except ImportError as error:
        raise ValueError(f"MDS shards need mosaicml-streaming ({error}): pip install 'nmm[streaming]'") from None
    return streaming


def _native(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or not rest:
        raise ValueError(f"cannot read {url!r}: a URL starts with one of {', '.join(f'{s}://' for s in SCHEMES)}")
    return f"{SCHEMES[scheme]}://{rest.rstrip('/')}"


# Writing -------------------------------------------------------------------------------------------------------------


def export(corpus, out: Path) -> None:
    """Write an opened Arrow corpus as MDS into the local folder `out`. A killed call can be repeated."""
    writer = _library().MDSWriter
    columns = {"tokens": f"ndarray:int32:{corpus.context}", "documents": f"ndarray:int16:{corpus.context}",
               "slots": "json", "images": "bytes"}
    description = json.loads(json.dumps(corpus.description))
    for name, source in corpus.sources.items():
        for split_name in ("train", "validation"):
            folder, split = out / name / split_name, getattr(source, split_name)
            partial = folder.with_suffix(".partial")
            if not folder.exists():
                shutil.rmtree(partial, ignore_errors=True)
                with naming(folder):
                    with writer(out=str(partial), columns=columns, hashes=[CHECKSUM], size_limit=SHARD_BYTES) as sink:
                        for index in range(len(split)):
                            sink.write(_to_sample(split[index]))
                    table = [split.tokens, *(split.tokens_of(entry.name) for entry in INPUTS)]
                    np.save(partial / ROWS, np.stack(table, 1).astype(np.int32))
                    os.replace(partial, folder)
            shards = json.loads((folder / "index.json").read_text())["shards"]
            description["sources"][name][split_name]["shards"] = [{"rows": shard["samples"]} for shard in shards]
    for name in ("tokenizer.json", "report.json"):
        with naming(out / name):
            shutil.copyfile(corpus.folder / name, out / name)
    write_json(out / "corpus.json", {**description, "store": "mds"})


def upload(folder: Path, url: str) -> None:
    """Copy a local MDS corpus into object storage, `corpus.json` last: readers see it whole or not at all.

    Raises:
        ValueError: a bad URL. OSError: the storage refuses.
    """
    _library()
    from streaming.base.storage.upload import CloudUploader

    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not any(
        part.startswith(".") for part in p.relative_to(folder).parts) and p.name not in ("corpus.json", "samples.html")]
    with _storage(url):
        uploader = CloudUploader.get((str(folder), _native(url)), keep_local=True, exist_ok=True)
        for path in [*files, folder / "corpus.json"]:
            uploader.upload_file(str(path.relative_to(folder)))


def _to_sample(sequence: Sequence) -> dict:
    slots = {"starts": sequence.starts.tolist(), "lengths": sequence.lengths.tolist(),
             "formats": list(sequence.formats), "sizes": [len(data) for data in sequence.data]}
    return {"tokens": sequence.tokens, "documents": sequence.documents, "slots": slots,
            "images": b"".join(sequence.data)}


# Reading -------------------------------------------------------------------------------------------------------------


class _storage:
    """Context manager: whatever a storage library raises becomes an OSError that names the place."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, Exception) and not isinstance(error, ValueError | FileNotFoundError):
            raise OSError(f"{self.url}: {error}. Check the address, the network and your credentials") from error


def fetch(url: str, target: Path, checksum: str | None = None) -> None:
    """Copy one object into a local file, which is there whole or not at all; several processes may do so at once.

    Raises:
        OSError: it cannot be had, or not with the given checksum.
    """
    native = _native(url)
    _library()
    from streaming.base.hashing import get_hash
    from streaming.base.storage.download import CloudDownloader

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
        part = Path(folder) / target.name
        with _storage(url):
            CloudDownloader.direct_download(native, str(part))
        if checksum is not None and get_hash(CHECKSUM, part.read_bytes()) != checksum:
            raise OSError(f"{url} arrived damaged (another checksum than the index says): fetch it again")
        os.replace(part, target)


def is_name(name: object) -> bool:
    """Whether a word from elsewhere names something in a folder, and nothing outside of it."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")


def remote_hash(url: str, description: Path) -> str:
    """The hash in a remote description, whose words become names of folders here.

    Raises:
        ValueError: it is none, or a name in the description leads out of the folder.
    """
    try:
        plain = json.loads(description.read_text(encoding="utf-8"))
        found, names = plain["hash"], list(plain["sources"])
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ValueError(f"{url}/corpus.json is no description of a corpus: check the address") from None
    if not (isinstance(found, str) and found and set(found) <= set("0123456789abcdef")):
        raise ValueError(f"{url}/corpus.json has the hash {found!r}, which is none: do not use this corpus")
    for name in names:
        if not is_name(name) or name.startswith("."):
            raise ValueError(f"{url}/corpus.json names the source {name!r}, which leads out of its folder: do not "
                             "use this corpus")
    return found


def fetch_corpus(url: str, cache: str | Path | None) -> Path:
    """The local folder of a remote corpus, with its descriptions; shards follow when they are read."""
    _native(url)        # a bad address is said before a folder is made
    root = Path(cache if cache is not None else CACHE).expanduser()
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".open-") as temporary:
        description = Path(temporary) / "corpus.json"
        fetch(f"{url.rstrip('/')}/corpus.json", description)
        folder = root / remote_hash(url, description)
        folder.mkdir(exist_ok=True)
        os.replace(description, folder / "corpus.json")
    for name in ("tokenizer.json", "report.json"):
        if not (folder / name).exists():
            fetch(f"{url.rstrip('/')}/{name}", folder / name)
    return folder


def is_whole(folder: Path, rows: int) -> bool:
    """Whether a local split has all its rows, in shards of the sizes and checksums that its index says."""
    _library()
    from streaming.base.hashing import get_hash

    try:
        split = MdsFolder(folder, None)
        listed = [(folder / shard["raw_data"]["basename"], shard["raw_data"]) for shard in split.index]
        return len(split.table) == rows == sum(shard["samples"] for shard in split.index) and all(
            path.stat().st_size == raw["bytes"] and get_hash(CHECKSUM, path.read_bytes()) == raw["hashes"][CHECKSUM]
            for path, raw in listed)
    except (OSError, ValueError, LookupError, TypeError):
        return False


class MdsFolder:
    """One split: its files, fetched when first needed."""

    def __init__(self, folder: Path, url: str | None) -> None:
        self.folder, self.url = folder, url

    def __getstate__(self) -> dict:
        return {"folder": self.folder, "url": self.url}

    def file(self, name: str, checksum: str | None = None) -> Path:
        """The local path of a file of this split."""
        path = self.folder / name
        if not path.exists() and self.url is not None:
            fetch(f"{self.url}/{name}", path, checksum)
        return path

    @cached_property
    def index(self) -> list[dict]:
        """The shards as MDS's own index lists them."""
        path = self.file("index.json")
        try:
            shards = json.loads(path.read_text(encoding="utf-8"))["shards"]
            names = [shard["raw_data"]["basename"] for shard in shards]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise ValueError(f"{path} is no MDS index: prepare the corpus again") from None
        for name in names:
            if not is_name(name):
                raise ValueError(f"{path} names a shard outside its folder: {name!r}")
        return shards

    @cached_property
    def table(self) -> np.ndarray:
        """Tokens of each row, all and by modality, (n, 4); (n, 2) where the corpus is of a time when there were images
        only.
        """
        return np.load(self.file(ROWS))

    def shards(self, rows: list[int]) -> list["MdsShard"]:
        """The shards, from the numbers of their rows."""
        first = np.cumsum([0, *rows]).tolist()
        return [MdsShard(self, number, count, first[number]) for number, count in enumerate(rows)]


class MdsShard:
    """One MDS shard of a split."""

    def __init__(self, folder: MdsFolder, number: int, rows: int, first: int) -> None:
        self.folder, self.number, self.rows, self.first = folder, number, rows, first

    def __getstate__(self) -> dict:
        return {"folder": self.folder, "number": self.number, "rows": self.rows, "first": self.first}

    @cached_property
    def reader(self):
        """MDS's own reader of the shard, which is fetched now.

        Raises:
            OSError: it cannot be fetched.
            ValueError: it is damaged, or holds columns that would run code when read.
        """
        MDSReader = _library().base.format.mds.MDSReader
        information = self.folder.index[self.number]
        raw = information["raw_data"]
        path = self.folder.file(raw["basename"], raw["hashes"].get(CHECKSUM))
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: prepare the corpus again")
        if path.stat().st_size != raw["bytes"]:
            raise ValueError(
                f"{path} has {path.stat().st_size} bytes, its index says {raw['bytes']}: delete it, or prepare "
                "the corpus again"
            )
        reader = MDSReader.from_json(str(self.folder.folder), None, information)
        reader.validate(allow_unsafe_types=False)
        return reader

    def row(self, number: int, geometry: Geometry) -> Sequence:
        """One sequence."""
        sample = self.reader[number]
        slots, images = sample["slots"], sample["images"]
        ends = np.cumsum(slots["sizes"], dtype=np.int64).tolist()
        return Sequence(sample["tokens"], sample["documents"], np.array(slots["starts"], np.int32),
                        np.array(slots["lengths"], np.int32), slots["formats"],
                        [images[end - size:end] for size, end in zip(slots["sizes"], ends)], geometry)

    def tokens(self) -> np.ndarray:
        """Positions of each row that are not padding, (rows,)."""
        return self.folder.table[self.first:self.first + self.rows, 0]

    def tokens_of(self, modality: str) -> np.ndarray:
        """Positions of one modality other than text in each row, (rows,)."""
        column, table = MODALITIES[modality].number, self.folder.table
        rows = table[self.first:self.first + self.rows]
        return rows[:, column] if column < table.shape[1] else np.zeros(self.rows, np.int32)
