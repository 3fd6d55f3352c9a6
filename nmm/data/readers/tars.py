"""Image-caption pairs in WebDataset tars, as img2dataset writes them: KEY.jpg|png|webp with KEY.txt or KEY.json."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from nmm.data.documents import Document, Span, Text
from nmm.data.readers.detect import bad_shard
from nmm.data.readers.images import ImageRoot
from nmm.data.readers.rejects import Rejects

IMAGES = ("jpg", "jpeg", "png", "webp")
TEXTS = ("txt", "json")
MAX_MEMBER = 64 << 20  # larger members are passed over unread [bytes]
EXPECTED = "a whole WebDataset tar"


def read_caption_tar(path: Path, rejects: Rejects, images: ImageRoot | None = None) -> Iterator[Document]:
    """One document per key: the image, then its caption (`txt`, else `caption` of `json`)."""
    seen = set()
    for key, members in _samples(path, rejects):
        name = f"{path.name}:{key}"
        if key in seen:
            rejects.add("duplicate key", name)
            continue
        seen.add(key)
        reason, document = _pair(members, name)
        if document is None:
            rejects.add(reason, name)
        else:
            yield document


def _pair(members: list[tuple[str, bytes | str]], name: str) -> tuple[str, Document | None]:
    """A document, or the reason why there is none. A member's content is a string where it was refused, saying why."""
    refused = next((content for _, content in members if isinstance(content, str)), None)
    if refused:
        return refused, None
    names = [extension for extension, _ in members]
    if len(set(names)) < len(names):
        return "duplicate key", None
    files = dict(members)
    found = [extension for extension in IMAGES if extension in files]
    if len(found) != 1:
        return ("no image" if not found else "more than one image"), None
    try:
        if "txt" in files:
            caption = files["txt"].decode("utf-8")
        elif "json" in files:
            record = json.loads(files["json"].decode("utf-8"))
            caption = record.get("caption") if isinstance(record, dict) else None
        else:
            caption = None
    except UnicodeDecodeError:
        return "caption is not UTF-8", None
    except (ValueError, RecursionError):
        return "json is damaged", None
    if not isinstance(caption, str):
        return "no caption", None
    return "", Document((Span(files[found[0]], found[0]), Text(caption)), name)


def _samples(path: Path, rejects: Rejects) -> Iterator[tuple[str, list[tuple[str, bytes | str]]]]:
    """Consecutive members of one key, as (extension, content)."""
    key, members = None, []
    for member_key, extension, content in _members(path, rejects):
        if member_key != key and members:
            yield key, members
            members = []
        key = member_key
        members.append((extension, content))
    if members:
        yield key, members


def _members(path: Path, rejects: Rejects) -> Iterator[tuple[str, str, bytes | str]]:
    """Key, extension and content of each image and caption member; other members are passed over."""
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # tarfile keeps every header; a long archive would fill the memory
                name = PurePosixPath(member.name)
                stem, _, extension = name.name.partition(".")
                extension = extension.lower()
                if member.isdir() or extension not in IMAGES + TEXTS:
                    continue
                if name.is_absolute() or ".." in name.parts:
                    content = "path outside the archive"
                elif not member.isfile():
                    content = "not a regular file"
                elif member.size > MAX_MEMBER:
                    content = f"file above {MAX_MEMBER >> 20} MB"
                else:
                    content = archive.extractfile(member).read()
                    if len(content) != member.size:
                        raise bad_shard(path, f"ends inside {member.name}", EXPECTED)
                yield str(name.parent / stem), extension, content
            # Every writer closes an archive with zero blocks; without them it was cut between two members.
            file.seek(archive.offset)
            if len(file.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:
                raise bad_shard(path, "ends without the end-of-archive mark, so it was cut", EXPECTED)
    except (tarfile.TarError, EOFError) as error:
        raise bad_shard(path, f"damaged or cut ({error})", EXPECTED) from None
