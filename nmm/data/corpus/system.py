"""A small real set of four modalities from what packages of the system offer, made on the spot; nothing is downloaded.

Speech is spoken by espeak-ng, sounds are those of the freedesktop theme, images are icons, films are icons that move, texts are the
licences that every Debian system has. What is taken, and under which licence, is in `TAKEN`, and beside the files as LICENCES.txt.
"""

import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Pillow

SOUNDS, ICONS, TEXTS = Path("/usr/share/sounds/freedesktop/stereo"), Path("/usr/share/icons/Adwaita"), Path("/usr/share/common-licenses")
SIZES = ("96x96", "64x64", "48x48")     # of icons, the first that there is of each
VOICES = ("en-gb", "en-us", "en-gb-scotland")
SPOKEN = 90                 # sentences
WORDS = (3, 9)              # of a spoken sentence
FILMED = 60                 # icons that move
SHOWN = 400                 # icons
SIDE, FRAMES, MILLISECONDS = 48, 8, 100     # of a film
MOTIONS = ("comes in from the left", "comes in from the right", "grows", "shrinks")


@dataclass(frozen=True)
class Taken:
    """What is taken of a package."""

    package: str
    what: str
    licence: str
    place: str          # that it is looked for: a file or folder, or a program

    @property
    def there(self) -> bool:
        return Path(self.place).exists() if self.place.startswith("/") else shutil.which(self.place) is not None


TAKEN = (
    Taken("espeak-ng", "speech that it makes of sentences of the licences", "GPL-3+ (the program; what it says is not bound by it)",
          "espeak-ng"),
    Taken("sound-theme-freedesktop", "sounds and their names", "CC-BY-SA-3.0, CC-BY-3.0, GPL-2, GPL-2+, file by file", str(SOUNDS)),
    Taken("adwaita-icon-theme", "icons and their names, still and moving", "CC-BY-SA-3.0 or LGPL-3", str(ICONS)),
    Taken("base-files", "texts of licences", "each its own; verbatim copies are allowed", str(TEXTS)),
)


def missing() -> list[Taken]:
    """What the system lacks."""
    return [each for each in TAKEN if not each.there]


def write_system_examples(folder: str | Path) -> list[tuple[str, Path]]:
    """Write the set: `caption`, `audio` and `video` as WebDataset tars, `text` as JSON lines, and LICENCES.txt.

    Returns:
        (data type, its folder), as `nmm.data.corpus.prepare.prepare` takes sources.
    Raises:
        ValueError: packages are missing; how to install them is said.
        OSError: a file cannot be written.
    """
    folder = Path(folder)
    if lacks := missing():
        raise ValueError(f"no {', no '.join(f'{each.what} ({each.place})' for each in lacks)}: apt-get install "
                         f"{' '.join(each.package for each in lacks)}")
    made = {"caption": _icons(), "audio": _clips(), "video": _films()}
    for kind, members in made.items():
        _tar(folder / kind / "00000.tar", members)
    (folder / "text").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": text}) for text in _paragraphs()]
    (folder / "text" / "00000.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "LICENCES.txt").write_text("\n".join(said()) + "\n", encoding="utf-8")
    return [(kind, folder / kind) for kind in ("caption", "text", "audio", "video")]


def said() -> list[str]:
    """What is taken and under which licence, a line a package."""
    return [f"{each.package}: {each.what}; {each.licence}" for each in TAKEN]


def _tar(path: Path, members: Iterator[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def _paragraphs() -> Iterator[str]:
    seen = set()
    for file in sorted(TEXTS.iterdir()):
        for paragraph in re.split(r"\n\s*\n", file.read_text(encoding="utf-8", errors="ignore")) if file.is_file() else ():
            text = " ".join(paragraph.split())
            if len(text) > 80 and text not in seen:
                seen.add(text)
                yield text


def _sentences() -> list[str]:
    found = []
    for paragraph in _paragraphs():
        for sentence in re.split(r"[.;:,()\"]", paragraph):
            words = re.findall(r"[A-Za-z']+", sentence)
            text = " ".join(words).lower()
            if WORDS[0] <= len(words) <= WORDS[1] and text not in found:
                found.append(text)
        if len(found) >= SPOKEN:
            break
    return found[:SPOKEN]


def _clips() -> Iterator[tuple[str, bytes]]:
    for number, sentence in enumerate(_sentences()):
        voice = VOICES[number % len(VOICES)]
        spoken = subprocess.run(["espeak-ng", "-v", voice, "--stdout", sentence], capture_output=True, check=True).stdout
        # a stream's header has no size: it is written in, so that a reader can tell a whole file
        size = len(spoken)
        spoken = b"RIFF" + (size - 8).to_bytes(4, "little") + spoken[8:40] + (size - 44).to_bytes(4, "little") + spoken[44:]
        yield from ((f"speech-{number:03d}.wav", spoken), (f"speech-{number:03d}.txt", sentence.encode()))
    for file in sorted(SOUNDS.glob("*.oga")):
        yield from ((f"sound-{file.stem}.oga", file.read_bytes()), (f"sound-{file.stem}.txt", file.stem.replace("-", " ").encode()))


def _pictures() -> dict[str, Path]:
    """Icons by name, in the largest of `SIZES`; each is shown once."""
    found: dict[str, Path] = {}
    for size in SIZES:
        for file in sorted((ICONS / size).rglob("*.png")):
            if "symbolic" not in file.stem and not file.is_symlink():
                found.setdefault(file.stem, file)
    return dict(sorted(found.items()))


def _icons() -> Iterator[tuple[str, bytes]]:
    for name, file in list(_pictures().items())[:SHOWN]:
        yield from ((f"{name}.png", file.read_bytes()), (f"{name}.txt", name.replace("-", " ").encode()))


def _films() -> Iterator[tuple[str, bytes]]:
    for number, (name, file) in enumerate(list(_pictures().items())[::3][:FILMED]):
        motion = MOTIONS[number % len(MOTIONS)]
        icon, frames = Pillow.open(file).convert("RGBA"), []
        for step in range(FRAMES):
            ground = Pillow.new("RGBA", (SIDE, SIDE), "white")
            part = (step + 1) / FRAMES
            scale = {"grows": part, "shrinks": 1 - step / FRAMES}.get(motion, 0.8)
            side = max(2, round(SIDE * scale))
            left = {"comes in from the left": round(SIDE * (part - 0.9)), "comes in from the right": round(SIDE * (1.1 - part))}.get(
                motion, (SIDE - side) // 2)
            small = icon.resize((side, side), Pillow.Resampling.BICUBIC)
            ground.paste(small, (left, (SIDE - side) // 2), small)
            frames.append(ground.convert("RGB"))
        file_out = io.BytesIO()
        frames[0].save(file_out, "GIF", save_all=True, append_images=frames[1:], duration=MILLISECONDS, loop=0)
        yield from ((f"{name}.gif", file_out.getvalue()), (f"{name}.txt", f"{name.replace('-', ' ')} {motion}".encode()))
