"""A prepared corpus for the eye: its report as a table, its samples as one self-contained page."""

import base64
import html
import io

import numpy as np
from PIL import Image as Pillow

from nmm.config import MODALITIES
from nmm.data import film, sound
from nmm.data.codes import ImageTokenizer
from nmm.data.corpus.formats import CODED, known
from nmm.data.corpus.store import Corpus, Sequence
from nmm.data.files import printable
from nmm.data.generated.audio import spectrogram
from nmm.data.generated.video import frames
from nmm.data.generated.world import GRID, PATCH, PATCH_DIM, PATCHES_PER_IMAGE, pixels
from nmm.data.generated.world import picture as scene
from nmm.data.geometry import Geometry
from nmm.data.images import decode, to_pixels

STYLE = """<style>.nmm-sample{border:1px solid #8886;border-radius:6px;margin:.8em 0;padding:.6em .8em;line-height:1.5;
overflow-wrap:anywhere}.nmm-sample img{height:7em;vertical-align:middle;margin:.2em;image-rendering:pixelated}
.nmm-sample p{margin:.3em 0;white-space:pre-wrap}.nmm-sample h4{margin:.1em 0 .5em;font-size:.9em}</style>"""


def report_table(report: dict) -> str:
    """The report as lines of text: one row a source, then what was rejected."""
    modalities = [name for name in MODALITIES if any(name in source["tokens"] for source in report["sources"].values())]
    head = ("source", "kind", "documents", "images", *(f"{name} tokens" for name in modalities), "waste",
            *(f"B/{name} token" for name in modalities), "held out")
    rows = [head]
    for name, source in report["sources"].items():
        rates = [source["bytes_per_token"].get(modality) for modality in modalities]
        rows.append((name, source["kind"], f"{source['documents']:,}", f"{source['images']:,}",
                     *(f"{source['tokens'].get(modality, 0):,}" for modality in modalities),
                     f"{source['packing_waste']:.2%}", *(f"{rate:.2f}" if rate else "-" for rate in rates),
                     f"{source['validation_documents']:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(w) if n < 2 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths)))
             for row in rows]
    sizes = Geometry(image_size=report["image_size"], patch=report["patch"]).sizes
    lines.append(
        f"context {report['context']}, images of {', '.join(map(str, sizes))} px in patches of {report['patch']} px, "
        f"vocabulary {report['vocab_size']:,}"
    )
    for name, source in report["sources"].items():
        for reason, entry in source["rejected"].items():
            lines.append(f"{name}: {entry['count']:,} x {reason}: {', '.join(entry['first'])}")
        lines += [f"{name}: {note}" for note in source.get("notes", ())]
        if (unread := source.get("files_not_read", {"count": 0}))["count"]:
            lines.append(f"{name}: {unread['count']:,} files that were not read: {', '.join(unread['first'])}")
    # names of files and keys are strangers' words
    return "\n".join(printable(line).replace("\n", "\\n") for line in lines)


def samples_html(corpus: Corpus, per_source: int = 3, split: str = "train", characters: int = 1200) -> str:
    """The first documents of each source as the model sees them, patches drawn, as one piece of HTML."""
    blocks = [STYLE]
    for source in corpus.sources.values():
        sequences = getattr(source, split)
        shown = 0
        for index in range(len(sequences)):
            sequence = sequences[index]
            for number in range(int(sequence.documents.max()) + 1):
                if shown < per_source:
                    body = _document_html(corpus, sequence, number, characters)
                    title = f"{source.name} ({source.kind}), {split} sequence {index}, document {number}"
                    blocks.append(f'<div class="nmm-sample"><h4>{html.escape(title)}</h4><p>{body}</p></div>')
                    shown += 1
            if shown >= per_source:
                break
    return "\n".join(blocks)


def _document_html(corpus: Corpus, sequence: Sequence, number: int, characters: int) -> str:
    inside = np.flatnonzero(sequence.documents == number)
    position, end = int(inside[0]), int(inside[-1]) + 1
    parts = []
    for span, (start, length) in enumerate(zip(sequence.starts.tolist(), sequence.lengths.tolist())):
        if position <= start < end and sequence.formats[span] not in CODED.values():      # codes are tokens: they stay among the words
            drawn = picture(sequence.data[span], sequence.formats[span], corpus.geometry, length)
            parts += [
                _text(corpus, sequence.tokens[position:start], characters),
                _img(drawn, known(sequence.formats[span]).modality),
            ]
            position = start + length
    parts.append(_text(corpus, sequence.tokens[position:end], characters))
    return "".join(parts)


def _text(corpus: Corpus, ids: np.ndarray, characters: int) -> str:
    text = corpus.tokenizer.decode(ids)
    return html.escape(text[:characters] + (" [...]" if len(text) > characters else ""))


def picture(data: bytes, name: str, geometry: Geometry, positions: int | None = None) -> np.ndarray:
    """An image, a clip or a video of a corpus as RGB pixels, enlarged, uint8 (height, width, 3).

    Images have their patches drawn apart; audio is a spectrogram, low tones below; video has its frames side by side.

    Args:
        data, name: the bytes and their storage format.
        positions: of the span in its sequence; default: those of the corpus's largest image.
    """
    if name == "notes":
        return spectrogram(data)
    if name == "film":
        return np.concatenate([_tiled(frame, PATCH) for frame in frames(data)], axis=1)
    if name == "strip":
        return np.concatenate([_tiled(frame, geometry.patch) for frame in film.frames(data)], axis=1)
    if name == "pcm":
        return sound.spectrogram(sound.decode([data], [positions or sound.positions(len(data) // 2)], geometry, [None]))
    positions = positions or geometry.patches_per_image
    if name == "scene":
        return _tiled(scene(data, positions), PATCH)
    return _tiled(to_pixels(decode([data], [positions], geometry, [None])[None], geometry)[0], geometry.patch)


def _tiled(square: np.ndarray, patch: int) -> np.ndarray:
    """A square image enlarged, with grey lines around its patches."""
    factor = max(1, 256 // len(square))
    n, step = len(square) // patch, patch * factor
    gap = max(1, step // 12)
    sheet = np.full((n, step + gap, n, step + gap, 3), 136, np.uint8)
    sheet[:, gap:, :, gap:] = square.repeat(factor, 0).repeat(factor, 1).reshape(n, step, n, step, 3)
    return np.pad(
        sheet.reshape(n * (step + gap), n * (step + gap), 3), ((0, gap), (0, gap), (0, 0)), constant_values=136
    )


def _img(pixels: np.ndarray, modality: str) -> str:
    file = io.BytesIO()
    Pillow.fromarray(pixels).quantize(64).save(file, "PNG", optimize=True)
    return f'<img alt="{modality}" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'


def codes(data: bytes, name: str, coder: ImageTokenizer) -> np.ndarray:
    """The codes of a generated image, clip or film, position by position, (positions,).

    Args:
        data, name: the bytes and their storage format, "scene", "notes" or "film".
        coder: of its modality.
    Raises:
        ValueError: another format.
    """
    if name not in ("scene", "notes", "film"):
        raise ValueError(f"format {name!r} is of a file, and codes of a scene, notes or a film are drawn here: draw it with `picture`")
    vectors = known(name).decode([data], [PATCHES_PER_IMAGE], Geometry(image_size=GRID * PATCH, patch=PATCH), [None])
    return coder.encode(vectors.reshape(-1, coder.patch_dim))


def kept(data: bytes, name: str, coder: ImageTokenizer) -> np.ndarray:
    """What the `codes` of a generated image, clip or film keep of it, drawn as `picture` draws it, uint8 (height, width, 3)."""
    again = coder.decode(codes(data, name, coder))
    if name == "notes":
        return sound.spectrogram(again)
    depth = coder.patch_dim // PATCH_DIM        # frames of a position
    steps = again.reshape(-1, GRID * GRID, depth, PATCH_DIM).transpose(0, 2, 1, 3).reshape(-1, GRID * GRID, PATCH_DIM)
    return np.concatenate([_tiled(pixels(frame), PATCH) for frame in steps], axis=1)
