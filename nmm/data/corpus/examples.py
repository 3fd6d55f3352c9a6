"""A handful of small files in the study's real formats, some of them broken: what a reader can try the pipeline on.

Pictures show two shapes, captions and stories name them. Nothing is downloaded; the same bytes are written every time.
"""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

SIDE = 96  # of a picture [pixels]
COLOURS = {"red": "#d1495b", "blue": "#2e6fba", "green": "#3f9b5f",
           "yellow": "#edae49", "violet": "#8d5fb0", "black": "#22252a"}
SHAPES = ("disc", "square", "triangle", "cross")
PLACES = ("left of", "right of", "above", "below")
CAPTIONS, STORIES, TEXTS = 150, 60, 90  # good documents of each data type


def write_examples(folder: str | Path, seed: int = 0) -> list[tuple[str, Path]]:
    """Write the example files: `caption` (a WebDataset tar), `interleaved` (parquet beside `images`), `text`
    (jsonl.zst).

    Among the good samples of each data type are a few broken ones of different sorts, under 5 %.

    Returns:
        (data type, its folder), as `nmm.data.corpus.prepare.prepare` takes sources.
    Raises:
        OSError: a file cannot be written.
    """
    random = np.random.default_rng(seed)
    made = {"caption": _captions, "interleaved": _interleaved, "text": _text}
    for kind, write in made.items():
        (Path(folder) / kind).mkdir(parents=True, exist_ok=True)
        write(Path(folder) / kind, random)
    return [(kind, Path(folder) / kind) for kind in made]


def _captions(folder: Path, random: np.random.Generator) -> None:
    members = []
    for number in range(CAPTIONS):
        pixels, words = _picture(random)
        members += [(f"{number:05d}.jpg", pixels), (f"{number:05d}.txt", words.encode())]
    pixels, words = _picture(random)
    for name, image, caption in (
        ("cut-in-the-middle", pixels[: len(pixels) // 2], words.encode()), ("no-bytes", b"", words.encode()),
        ("no-caption", pixels, b"  "), ("not-utf-8", pixels, b"a caf\xe9"),
    ):
        members += [(f"{name}.jpg", image), (f"{name}.txt", caption)]
    with tarfile.open(folder / "00000.tar", "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def _interleaved(folder: Path, random: np.random.Generator) -> None:
    (folder / "images").mkdir(exist_ok=True)
    rows = []
    for number in range(STORIES):
        images, texts = [None], [f"Story {number + 1}. Here is how the shapes were laid out."]
        for part in range(int(random.integers(1, 4))):
            pixels, words = _picture(random)
            name = f"{number:03d}-{part}.jpg"
            (folder / "images" / name).write_bytes(pixels)
            images += [name, None]
            texts += [None, f"In this picture there is {words} After that, something was moved."]
        rows.append((images, texts))
    rows[7][0][1] = "never-downloaded.jpg"  # the document stays, without this image
    rows += [(["000-0.jpg"], ["one text", "too many"]), (["000-0.jpg"], ["both are set"])]
    images, texts = zip(*rows)
    pq.write_table(pa.table({"images": images, "texts": texts}), folder / "00000.parquet")


def _text(folder: Path, random: np.random.Generator) -> None:
    lines = []
    for number in range(TEXTS):
        sentences = [f"Note {number + 1}."] + [
            f"I remember {_scene(random)[1]}" for _ in range(int(random.integers(3, 9)))
        ]
        lines.append(json.dumps({"text": " ".join(sentences), "url": f"https://example.org/{number}"}))
    lines += ['{"text": null}', "this line is no JSON"]
    with pa.output_stream(str(folder / "00000.jsonl.zst"), compression="zstd") as file:
        file.write("".join(line + "\n" for line in lines).encode())


def _scene(random: np.random.Generator) -> tuple[list[tuple[str, str]], str]:
    """Two coloured shapes and the words for them."""
    shapes = [(str(random.choice(list(COLOURS))), str(random.choice(SHAPES))) for _ in range(2)]
    (colour, shape), (other_colour, other_shape) = shapes
    return shapes, f"a {colour} {shape} {random.choice(PLACES)} a {other_colour} {other_shape}."


def _picture(random: np.random.Generator) -> tuple[bytes, str]:
    """A JPEG of two shapes and its caption."""
    shapes, words = _scene(random)
    image = Image.new("RGB", (SIDE, SIDE), "#e9e6df")
    pen, half, size = ImageDraw.Draw(image), SIDE // 2, SIDE * 0.36
    corners = {"left of": ((0, 0.5), (1, 0.5)), "right of": ((1, 0.5), (0, 0.5)),
               "above": ((0.5, 0), (0.5, 1)), "below": ((0.5, 1), (0.5, 0))}
    place = next(place for place in PLACES if f" {place} " in words)
    for (colour, shape), (x, y) in zip(shapes, corners[place]):
        left, top = 6 + x * (half - 4), 6 + y * (half - 4)
        box = [left, top, left + size, top + size]
        if shape == "disc":
            pen.ellipse(box, COLOURS[colour])
        elif shape == "square":
            pen.rectangle(box, COLOURS[colour])
        elif shape == "triangle":
            pen.polygon([(left, top + size), (left + size, top + size), (left + size / 2, top)], COLOURS[colour])
        else:
            pen.line([left, top, left + size, top + size], COLOURS[colour], 8)
            pen.line([left, top + size, left + size, top], COLOURS[colour], 8)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue(), words
