"""Image-caption pairs in WebDataset tars, as img2dataset writes them: KEY.jpg|png|webp with KEY.txt or KEY.json."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from nmm.data.documents import MAX_TEXT, Document, Span, Text
from nmm.data.readers.archives import MAX_MEMBER, members
from nmm.data.readers.images import ImageRoot
from nmm.data.readers.rejects import Rejects

IMAGES = ("jpg", "jpeg", "png", "webp")
TEXTS = ("txt", "json")
HELD = 64 << 20     # of a key's members, while it is not known whether their others will come [bytes]
OTHER = "neither an image nor a caption"
Sample = list[tuple[str, bytes | str]]      # extension and content of each member; a string says why it was refused


def read_caption_tar(path: Path, rejects: Rejects, images: ImageRoot | None = None) -> Iterator[Document]:
    """One document per key: the image, then its caption (`txt`, else `caption` of `json`).

    A key may have dots, `IMG_1.v2.jpg` with `IMG_1.v2.txt`. Where only one of several names that share their part
    before the first dot is a pair (`1.jpg` and `1.txt` beside `1.mask.png`), the others are members of another sort.
    """
    seen, paired = set(), None
    for first, group in _groups(path, rejects):
        pairs = [(key, *_pair(members, f"{path.name}:{key}")) for key, members in group.items()]
        if any(document is not None for _, _, document in pairs):
            paired = first
        for key, reason, document in pairs:
            name = f"{path.name}:{key}"
            if key in seen:
                rejects.add("duplicate key", name)
                continue
            seen.add(key)
            if document is not None:
                yield document
            elif paired == first and reason in ("no image", "no caption"):
                rejects.add(OTHER, name, "none")
            else:
                rejects.add(reason, name)


def _pair(members: Sample, name: str) -> tuple[str, Document | None]:
    """A document, or the reason why there is none."""
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


def _groups(path: Path, rejects: Rejects) -> Iterator[tuple[str, dict[str, Sample]]]:
    """Members by key, of consecutive keys that share their part before the first dot: of them alone it is not known
    which are samples. Where very many share it they come in several groups.
    """
    first, last, held, group = "", "", 0, {}
    for start, key, extension, content in _members(path, rejects):
        if group and (start != first or (held > HELD and key != last)):
            yield first, group
            group, held = {}, 0
        first, last = start, key
        members = group.setdefault(key, [])
        again = any(extension == other for other, _ in members)
        members.append((extension, b"" if again else content() if callable(content) else content))
        held += len(members[-1][1])
    if group:
        yield first, group


def _members(path: Path, rejects: Rejects) -> Iterator[tuple[str, str, str, Callable[[], bytes] | str]]:
    """Key up to its first dot, key, extension and what reads each image and caption; other members are counted."""
    for member, read in members(path):
        if member.isdir():
            continue
        name = PurePosixPath(member.name)
        stem, _, extension = name.name.rpartition(".")
        extension = extension.lower()
        if extension not in IMAGES + TEXTS or name.name.startswith("."):
            rejects.add(OTHER, f"{path.name}:{member.name}", "none")
            continue
        largest = MAX_MEMBER if extension in IMAGES else MAX_TEXT
        if name.is_absolute() or ".." in name.parts:
            found = "path outside the archive"
        elif not member.isfile() or member.issparse():
            found = "not a regular file"
        elif member.size > largest:
            found = f"file above {largest >> 20} MB"
        else:
            found = read
        yield str(name.parent / stem.partition(".")[0]), str(name.parent / stem), extension, found
