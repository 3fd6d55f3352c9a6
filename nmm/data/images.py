"""Encoded images (JPEG, PNG, WebP): checked once when a corpus is prepared, decoded and augmented when read."""

import io
import math
import struct
import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow

from nmm.data.geometry import Geometry

Draw = tuple[int, ...] | None  # what seeds an item's augmentation; None: no randomness

FORMATS = ("JPEG", "PNG", "WEBP")
MIN_SIDE = 8               # smaller images are tracking pixels and spacers [pixels]
MAX_PIXELS = 50_000_000    # larger images are refused before they are decoded [pixels]
MAX_SIDE = 16_384          # [pixels]
SPARE = 1 << 20            # what a file may hold beside its pixels, as a thumbnail or a colour profile [bytes]
ORIENTATION = 0x0112       # EXIF's tag
TURNS = {2: Pillow.Transpose.FLIP_LEFT_RIGHT, 3: Pillow.Transpose.ROTATE_180, 4: Pillow.Transpose.FLIP_TOP_BOTTOM,
         5: Pillow.Transpose.TRANSPOSE, 6: Pillow.Transpose.ROTATE_270, 7: Pillow.Transpose.TRANSVERSE,
         8: Pillow.Transpose.ROTATE_90}     # as in pillow's ImageOps.exif_transpose
SCALE = (0.4, 1.0)         # area of the crop against the image's (Shukor et al. 2025, App. A)
RATIO = (3 / 4, 4 / 3)     # aspect ratio of the crop, as in torchvision's RandomResizedCrop
FLIP = 0.5                 # probability of a horizontal flip (App. A)
MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # ImageNet statistics of RGB in [0, 1]
STD = np.array([0.229, 0.224, 0.225], np.float32)

# What pillow's parsers raise on damaged files besides OSError; seen in its issue tracker and fuzzing reports.
BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, IndexError, KeyError, TypeError, OverflowError,
          ZeroDivisionError)


class BadImage(ValueError):
    """An image that cannot be used; the message is the reason as reports count it."""


def check(data: bytes, geometry: Geometry) -> tuple[bytes, str, tuple[int, int]]:
    """Decode an image fully and give the bytes to store, their format and the original (width, height).

    RGB files of a fitting size are kept byte for byte. Others (CMYK, palette, 16-bit, alpha, animated: the first
    frame; turned by their EXIF orientation; more bytes than their pixels need; a short side above twice the model's
    largest image) are converted to RGB JPEG, so that reading never has to.

    Raises:
        BadImage: empty, damaged, of an unknown format, too small or too large.
    """
    if not data:
        raise BadImage("image is empty")
    with warnings.catch_warnings():
        # pillow warns above its own pixel limit; ours is stricter and checked below
        warnings.simplefilter("ignore")
        too_large = f"image above {MAX_PIXELS // 1_000_000} megapixels or {MAX_SIDE} pixels a side"
        try:
            image = Pillow.open(io.BytesIO(data), formats=FORMATS)
        except Pillow.DecompressionBombError:  # pillow's own limit, above ours
            raise BadImage(too_large) from None
        except Pillow.UnidentifiedImageError:
            raise BadImage("not a JPEG, PNG or WebP image") from None
        except BROKEN:
            raise BadImage("image is damaged") from None
        size = image.size
        if size[0] * size[1] > MAX_PIXELS or max(size) > MAX_SIDE:
            raise BadImage(too_large)
        if min(size) < MIN_SIDE:
            raise BadImage(f"image below {MIN_SIDE} pixels a side")
        try:
            image.load()
            turn = _turn(image)
            plain = image.mode == "RGB" and not getattr(image, "is_animated", False) and turn is None
            name = image.format.lower()
            limit = 2 * geometry.sizes[-1]
            if plain and min(size) <= limit and len(data) <= SPARE + 4 * size[0] * size[1]:
                return data, name, size
            rgb = to_rgb(image)
            if turn is not None:
                rgb = rgb.transpose(turn)
                size = rgb.size
        except BROKEN:
            raise BadImage("image is damaged") from None
    if min(size) > limit:
        scale = limit / min(size)
        rgb = rgb.resize((round(size[0] * scale), round(size[1] * scale)), Pillow.Resampling.BICUBIC)
    out = io.BytesIO()
    rgb.save(out, "JPEG", quality=95)
    return out.getvalue(), "jpeg", size


def _turn(image: Pillow.Image) -> Pillow.Transpose | None:
    """How a picture is to be turned to be seen upright, as its EXIF data say; None where they say nothing readable."""
    try:
        return TURNS.get(image.getexif().get(ORIENTATION))
    except BROKEN:
        return None


def to_rgb(image: Pillow.Image) -> Pillow.Image:
    """RGB version of any pillow image; transparency is laid over white; 16 bits are scaled, not clipped."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float64)
        top = 65535.0 if image.mode.startswith("I") else max(float(values.max()), 1.0)
        image = Pillow.fromarray(np.clip(values / top * 255, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Pillow.new("RGBA", image.size, "white")
        image = Pillow.alpha_composite(ground, image)
    return image.convert("RGB")


def decode(blobs: Sequence[bytes], positions: Sequence[int], geometry: Geometry, draws: Sequence[Draw]) -> np.ndarray:
    """Normalised patches of encoded images one after the other, float32 (sum of positions, patch_dim).

    An image of `positions` patches is seen with a side of sqrt(positions) * patch pixels. Its patches are in row-major
    order; a patch is its pixels row by row, channels last. An item with a draw is augmented (random resized crop,
    horizontal flip; a function of the draw alone); one without is resized and centre-cropped.
    Source: Shukor et al. 2025, App. A.
    """
    patch = geometry.patch
    patches = np.empty((sum(positions), patch, patch, 3), np.float32)
    first = 0
    for blob, length, draw in zip(blobs, positions, draws):
        side = math.isqrt(length)
        grid = _square(blob, side * patch, draw).reshape(side, patch, side, patch, 3)
        patches[first:first + length].reshape(side, side, patch, patch, 3)[:] = grid.transpose(0, 2, 1, 3, 4)
        first += length
    patches = patches.reshape(-1, 3)
    patches *= 1 / (255 * STD)
    patches -= MEAN / STD
    return patches.reshape(-1, geometry.patch_dim)


def to_pixels(patches: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The inverse of `decode` for images of one size, for pictures.

    Args:
        patches: (n, positions, patch_dim).
    Returns:
        RGB pixels, uint8 (n, height, width, 3).
    """
    side, patch = math.isqrt(patches.shape[1]), geometry.patch
    grid = patches.reshape(-1, side, side, patch, patch, 3).transpose(0, 1, 3, 2, 4, 5)
    scaled = grid.reshape(-1, side * patch, side * patch, 3) * STD + MEAN
    return np.clip(scaled * 255 + 0.5, 0, 255).astype(np.uint8)


def _square(blob: bytes, size: int, draw: Draw) -> np.ndarray:
    """One image as uint8 (size, size, 3)."""
    image = Pillow.open(io.BytesIO(blob), formats=FORMATS)
    width, height = image.size
    flip = False
    if draw is None:
        side = min(width, height)
        box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    else:
        random = np.random.default_rng(draw)
        box = _random_box(random, width, height)
        flip = random.random() < FLIP
    if image.format == "JPEG":
        # Let the JPEG decoder scale by 1/2, 1/4 or 1/8 where the crop still has more pixels than the target.
        shrink = min(box[2] - box[0], box[3] - box[1]) / size
        if shrink >= 2:
            image.draft("RGB", (math.ceil(width / shrink), math.ceil(height / shrink)))
            box = tuple(edge * image.size[i % 2] / (width, height)[i % 2] for i, edge in enumerate(box))
    # Bilinear over the whole footprint of a pixel, torchvision's default; the paper does not say.
    image = image.convert("RGB").resize((size, size), Pillow.Resampling.BILINEAR, box=box)
    pixels = np.asarray(image)
    return pixels[:, ::-1] if flip else pixels


def _random_box(random: np.random.Generator, width: int, height: int) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a random crop; as torchvision's RandomResizedCrop, ten tries, then the centre."""
    for _ in range(10):
        area = width * height * random.uniform(*SCALE)
        ratio = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.integers(0, width - w + 1), random.integers(0, height - h + 1)
            return left, top, left + w, top + h
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
