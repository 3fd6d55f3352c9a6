"""Images: odd files are converted, bad ones refused with a reason, augmentation is deterministic and in range."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from nmm.data.geometry import Geometry
from nmm.data.images import MEAN, STD, BadImage, check, decode, to_pixels
from tests.data.conftest import image_bytes

GEOMETRY = Geometry(image_size=32, patch=8)


def encoded(image: Pillow.Image, fmt: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, fmt, **options)
    return file.getvalue()


def seen(blobs: list[bytes], draws: list) -> np.ndarray:
    """Patches of images that are all seen at 32 pixels, (n, 16, 192)."""
    return decode(blobs, [16] * len(blobs), GEOMETRY, draws).reshape(-1, 16, 192)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP"])
def test_plain_images_are_kept_byte_for_byte(fmt):
    data = image_bytes(1, fmt=fmt)
    assert check(data, GEOMETRY) == (data, fmt.lower(), (40, 32))


def png_bomb(width: int, height: int) -> bytes:
    """A small valid PNG file that says it has width x height pixels."""
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    rows = zlib.compress(b"\0" * 100_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) \
        + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("data", "reason"), [
    (b"", "image is empty"),
    (b"no image at all", "not a JPEG, PNG or WebP image"),
    (image_bytes(0, (64, 64))[:200], "image is damaged"),
    (image_bytes(0, (64, 64), "PNG")[:-40], "image is damaged"),
    (image_bytes(0, (300, 300), "WEBP")[:60], "image is damaged"),
    (image_bytes(0, (1, 1), "PNG"), "below 8 pixels"),
    (image_bytes(0, (4000, 4), "PNG"), "below 8 pixels"),
    (png_bomb(20_000, 20_000), "above 50 megapixels"),
    (png_bomb(20_000, 100), "16384 pixels a side"),
    (image_bytes(0, (64, 64), "GIF", "P"), "not a JPEG, PNG or WebP image"),
])
def test_bad_images_are_refused_with_a_reason(data, reason):
    with pytest.raises(BadImage, match=reason):
        check(data, GEOMETRY)


def test_random_damage_never_escapes_the_check():
    """Any flipped or cut byte either leaves an image that decodes or is a BadImage."""
    random = np.random.default_rng(0)
    for trial in range(300):
        fmt = ("JPEG", "PNG", "WEBP")[trial % 3]
        data = bytearray(image_bytes(trial, (48, 40), fmt))
        for _ in range(random.integers(1, 6)):
            data[random.integers(0, len(data))] = random.integers(0, 256)
        data = bytes(data[: random.integers(1, len(data) + 1)]) if trial % 2 else bytes(data)
        try:
            stored, _, _ = check(data, GEOMETRY)
        except BadImage:
            continue
        assert seen([stored], [(0,)]).shape == (1, 16, 192)


@pytest.mark.parametrize(("mode", "fmt"), [
    ("CMYK", "JPEG"), ("L", "JPEG"), ("P", "PNG"), ("RGBA", "PNG"), ("I;16", "PNG"), ("LA", "PNG"), ("1", "PNG"),
])
def test_other_modes_become_rgb_and_look_alike(mode, fmt):
    stored, name, size = check(image_bytes(3, (64, 64), fmt, mode), GEOMETRY)
    image = Pillow.open(io.BytesIO(stored))
    assert (name, size, image.mode) == ("jpeg", (64, 64), "RGB")
    if mode not in ("P", "1"):
        plain = Pillow.open(io.BytesIO(image_bytes(3, (64, 64), "PNG")))
        if mode in ("L", "LA", "I;16"):
            plain = plain.convert("L").convert("RGB")
        difference = np.abs(np.asarray(image, int) - np.asarray(plain, int)).mean()
        assert difference < 6, f"{mode} differs from RGB by {difference:.1f} of 255 levels"


def test_transparency_is_laid_over_white():
    stored, _, _ = check(encoded(Pillow.new("RGBA", (32, 32), (255, 0, 0, 0)), "PNG"), GEOMETRY)
    assert np.asarray(Pillow.open(io.BytesIO(stored))).min() > 250


@pytest.mark.parametrize("fmt", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_kept(fmt):
    frames = [Pillow.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    stored, name, _ = check(encoded(frames[0], fmt, save_all=True, append_images=frames[1:], duration=50), GEOMETRY)
    image = Pillow.open(io.BytesIO(stored))
    assert name == "jpeg" and not getattr(image, "is_animated", False)
    assert np.abs(np.asarray(image, int) - [254, 0, 0]).max() < 8


def test_large_images_are_made_smaller_when_stored():
    stored, name, size = check(image_bytes(0, (400, 300), "PNG"), GEOMETRY)
    assert size == (400, 300) and Pillow.open(io.BytesIO(stored)).size == (85, 64) and name == "jpeg"


def test_patches_are_row_major_channels_last_and_normalised():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    patches = seen([encoded(Pillow.fromarray(pixels), "PNG")], [None])
    assert patches.shape == (1, 16, 192) and patches.dtype == np.float32
    expected = (pixels[8:16, 16:24].reshape(-1, 3) / 255 - MEAN) / STD  # second row, third column
    assert np.allclose(patches[0, 6], expected.reshape(-1), atol=1e-5)
    assert np.array_equal(to_pixels(patches, GEOMETRY)[0], pixels)


def test_validation_crops_the_centre():
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = 200
    patches = seen([encoded(Pillow.fromarray(wide), "PNG")], [None])
    assert to_pixels(patches, GEOMETRY).min() > 190


def test_augmentation_is_a_function_of_its_draw_alone():
    data = image_bytes(0, (60, 48))
    draws = [(0, 1, 2, 3, 0), (0, 1, 2, 4, 0), (1, 1, 2, 3, 0), (0, 1, 2, 3, 1)]
    together = seen([data] * 4, draws)
    for k, draw in enumerate(draws):
        assert np.array_equal(seen([data], [draw])[0], together[k])
    assert len({patches.tobytes() for patches in together}) == 4


def test_crops_have_the_scales_and_flips_of_the_paper():
    """A picture whose red is its x and green its y shows which box was cut and whether it was flipped."""
    y, x = np.mgrid[:200, :200]
    data = encoded(Pillow.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8)), "PNG")
    pixels = to_pixels(seen([data] * 400, [(7, k) for k in range(400)]), GEOMETRY).astype(float)
    red, green = pixels[:, 16, :, 0], pixels[:, :, 16, 1]
    flipped = red[:, -1] < red[:, 0]
    width, height = (np.abs(side[:, -1] - side[:, 0]) * 32 / 31 for side in (red, green))
    area = width * height / 200**2
    assert abs(flipped.mean() - 0.5) < 0.1, flipped.mean()
    assert 0.37 < area.min() < 0.45 and 0.9 < area.max() < 1.03, (area.min(), area.max())
    ratio = width / height
    assert 0.72 < ratio.min() and ratio.max() < 1.39, (ratio.min(), ratio.max())


def test_scaled_decoding_of_large_jpegs_is_close_to_the_exact_one():
    y, x = np.mgrid[:600, :800]
    smooth = np.stack([x / 4, y / 3, 120 + 100 * np.sin(x / 60) * np.sin(y / 45)], -1).astype(np.uint8)
    image = Pillow.fromarray(smooth)
    for draw in (None, (3,), (4,)):
        fast = to_pixels(seen([encoded(image, "JPEG", quality=95)], [draw]), GEOMETRY).astype(int)
        exact = to_pixels(seen([encoded(image, "PNG")], [draw]), GEOMETRY).astype(int)
        assert np.abs(fast - exact).mean() < 2, (draw, np.abs(fast - exact).mean())
