"""Video: files checked once when a corpus is prepared, and the tubelets of frames that a model sees.

Stored are `FRAMES` frames at equal distances in time, square and of the size that the model sees, side by side in one picture. A tubelet
is one patch over `DEPTH` frames; tubelets are read frames first, then row by row.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow

from nmm.data.geometry import Geometry
from nmm.data.images import MAX_PIXELS, MEAN, MIN_SIDE, STD, Draw
from nmm.data.media import BadMedia, declared_seconds, decoded, ends

FRAMES = 8                  # of a stored film
DEPTH = 2                   # frames of a tubelet
MOST_FRAMES = 20_000        # a longer film is passed over: all of it is decoded to know that it is whole
CUT = 0.05                  # share of a film, and at least so many seconds of it [s], that may be missing at its end
SLACK = 0.25


def dim(patch: int) -> int:
    """Numbers in a tubelet of a patch so large [pixels]."""
    return 3 * DEPTH * patch * patch


def check(data: bytes, geometry: Geometry) -> tuple[bytes, str, int]:
    """Decode a file of video fully and give the bytes to store, their format and the positions that it takes.

    Raises:
        BadMedia: empty, damaged, cut, of an unknown format, without frames, of one frame alone, too small, too large or too long.
    """
    side, kept, seconds = geometry.sizes[0], [], 0.0
    with decoded(data, "video") as (container, stream):
        if not ends(data):
            raise BadMedia("video is cut: the mark of its end is missing")
        declared = declared_seconds(container, stream)
        step, number = 1, 0
        for number, frame in enumerate(container.decode(stream), 1):
            if frame.width * frame.height > MAX_PIXELS:
                raise BadMedia(f"video above {MAX_PIXELS // 1_000_000} megapixels a frame")
            if min(frame.width, frame.height) < MIN_SIDE:
                raise BadMedia(f"video below {MIN_SIDE} pixels a side")
            if number > MOST_FRAMES:
                raise BadMedia(f"video above {MOST_FRAMES:,} frames")
            seconds = max(seconds, float(frame.time or 0.0) + _lasts(frame, stream))
            if (number - 1) % step == 0:
                kept.append(_square(frame.to_image(), side))
            if len(kept) == 8 * FRAMES:         # memory stays bounded: every second one goes, and will go
                kept, step = kept[::2], 2 * step
        if not number:
            raise BadMedia("video has no frames")
        if declared and seconds < declared - max(SLACK, CUT * declared):
            raise BadMedia("video is cut: it ends before its header says")
        if number < DEPTH:
            raise BadMedia("video has one frame: it is a picture")
    at = np.linspace(0, len(kept) - 1, FRAMES).round().astype(int)
    file = io.BytesIO()
    Pillow.fromarray(np.concatenate([kept[each] for each in at], axis=1)).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue(), "strip", FRAMES // DEPTH * geometry.patches(side)


def _lasts(frame, stream) -> float:
    """How long a frame is seen [s]."""
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return float(1 / stream.average_rate) if stream.average_rate else 0.0


def _square(image: Pillow.Image, side: int) -> np.ndarray:
    """The middle of a frame, (side, side, 3) uint8."""
    short, (width, height) = min(image.size), image.size
    box = ((width - short) / 2, (height - short) / 2, (width + short) / 2, (height + short) / 2)
    return np.asarray(image.convert("RGB").resize((side, side), Pillow.Resampling.BILINEAR, box=box))


def frames(blob: bytes) -> np.ndarray:
    """The frames of a stored film, (FRAMES, side, side, 3) uint8."""
    strip = np.asarray(Pillow.open(io.BytesIO(blob)).convert("RGB"))
    side = len(strip)
    return strip.reshape(side, FRAMES, side, 3).transpose(1, 0, 2, 3)


def decode(blobs: Sequence[bytes], positions: Sequence[int], geometry: Geometry, draws: Sequence[Draw]) -> np.ndarray:
    """Normalised tubelets of stored films one after the other, float32 (sum of positions, video_dim); the arguments of every decoder."""
    patch, found = geometry.patch, [np.zeros((0, geometry.video_dim), np.float32)]
    for blob in blobs:
        film = (frames(blob) / np.float32(255) - MEAN) / STD
        n = film.shape[1] // patch
        grid = film.reshape(FRAMES // DEPTH, DEPTH, n, patch, n, patch, 3).transpose(0, 2, 4, 1, 3, 5, 6)
        found.append(grid.reshape(-1, geometry.video_dim))
    return np.concatenate(found, dtype=np.float32)
