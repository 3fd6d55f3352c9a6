"""Pairs in WebDataset tars: KEY.jpg|png|webp with KEY.txt or KEY.json, as img2dataset writes them; audio and video likewise."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from nmm.data.documents import MAX_TEXT, Document, Span, Text
from nmm.data.readers.archives import MAX_MEMBER, members
from nmm.data.readers.images import ImageRoot
from nmm.data.readers.rejects import Rejects

TEXTS = ("txt", "json")
HELD = 64 << 20     # of a key's members, while it is not known whether their others will come [bytes]
Sample = list[tuple[str, bytes | str]]      # extension and content of each member; a string says why it was refused


@dataclass(frozen=True)
class Pair:
    """What a pair is of: a file with one of some endings, and a text."""

    endings: tuple[str, ...]
    one: str            # of it, in reasons
    text: str
    keys: tuple[str, ...]       # of the text in a `json` member

    @property
    def other(self) -> str:
        article = "an" if self.one[0] in "aeiou" else "a"
        return f"neither {article} {self.one} nor a {self.text}"


PAIRS = {
    "caption": Pair(("jpg", "jpeg", "png", "webp"), "image", "caption", ("caption",)),
    "audio": Pair(("wav", "flac", "ogg", "oga", "mp3"), "clip", "transcript", ("transcript", "text", "caption")),
    "video": Pair(("mp4", "webm", "gif"), "video", "caption", ("caption", "text")),
}


def read_pair_tar(path: Path, rejects: Rejects, images: ImageRoot | None = None, *, of: Pair) -> Iterator[Document]:
    """One document per key: the image (clip, video), then its text (`txt`, else that of `json`).

    A key may have dots, `IMG_1.v2.jpg` with `IMG_1.v2.txt`. Where only one of several names that share their part
    before the first dot is a pair (`1.jpg` and `1.txt` beside `1.mask.png`), the others are members of another sort.
    """
    seen, paired = set(), None
    for first, group in _groups(path, rejects, of):
        pairs = [(key, *_pair(members, f"{path.name}:{key}", of)) for key, members in group.items()]
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
            elif paired == first and reason in (f"no {of.one}", f"no {of.text}"):
                rejects.add(of.other, name, "none")
            else:
                rejects.add(reason, name)


read_caption_tar, read_audio_tar, read_video_tar = (partial(read_pair_tar, of=PAIRS[kind]) for kind in ("caption", "audio", "video"))


def _pair(members: Sample, name: str, of: Pair) -> tuple[str, Document | None]:
    """A document, or the reason why there is none."""
    refused = next((content for _, content in members if isinstance(content, str)), None)
    if refused:
        return refused, None
    names = [extension for extension, _ in members]
    if len(set(names)) < len(names):
        return "duplicate key", None
    files = dict(members)
    found = [extension for extension in of.endings if extension in files]
    if len(found) != 1:
        return (f"no {of.one}" if not found else f"more than one {of.one}"), None
    try:
        if "txt" in files:
            caption = files["txt"].decode("utf-8")
        elif "json" in files:
            record = json.loads(files["json"].decode("utf-8"))
            caption = next((record[key] for key in of.keys if key in record), None) if isinstance(record, dict) else None
        else:
            caption = None
    except UnicodeDecodeError:
        return f"{of.text} is not UTF-8", None
    except (ValueError, RecursionError):
        return "json is damaged", None
    if not isinstance(caption, str):
        return f"no {of.text}", None
    return "", Document((Span(files[found[0]], found[0]), Text(caption)), name)


def _groups(path: Path, rejects: Rejects, of: Pair) -> Iterator[tuple[str, dict[str, Sample]]]:
    """Members by key, of consecutive keys that share their part before the first dot: of them alone it is not known
    which are samples. Where very many share it they come in several groups.
    """
    first, last, held, group = "", "", 0, {}
    for start, key, extension, content in _members(path, rejects, of):
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


def _members(path: Path, rejects: Rejects, of: Pair) -> Iterator[tuple[str, str, str, Callable[[], bytes] | str]]:
    """Key up to its first dot, key, extension and what reads each image (clip, video) and text; other members are counted."""
    for member, read in members(path):
        if member.isdir():
            continue
        name = PurePosixPath(member.name)
        stem, _, extension = name.name.rpartition(".")
        extension = extension.lower()
        if extension not in of.endings + TEXTS or name.name.startswith("."):
            rejects.add(of.other, f"{path.name}:{member.name}", "none")
            continue
        largest = MAX_MEMBER if extension in of.endings else MAX_TEXT
        if name.is_absolute() or ".." in name.parts:
            found = "path outside the archive"
        elif not member.isfile() or member.issparse():
            found = "not a regular file"
        elif member.size > largest:
            found = f"file above {largest >> 20} MB"
        else:
            found = read
        yield str(name.parent / stem.partition(".")[0]), str(name.parent / stem), extension, found
