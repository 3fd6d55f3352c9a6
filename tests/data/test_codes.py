"""Image tokenizers: codes of patches and back, for generated scenes and for photographs-to-be of 64 pixels."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from nmm.data import images
from nmm.data.codes import ImageTokenizer, bounds, fit_means, quality
from nmm.data.corpus.examples import _picture
from nmm.data.generated.world import PATCH_DIM, World, render
from nmm.data.geometry import Geometry
from nmm.models.image_tokenizer import Autoencoder, train

pytestmark = pytest.mark.usefixtures("one_thread")

REAL = Geometry(image_size=64, patch=8)


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    """Patches of 200 generated images, (200, 16, 192)."""
    spans, _, _ = World()._scenes(np.random.default_rng(0), 200, 0)
    return render([span.data for span in spans])


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Patches of 60 JPEGs seen at 64 pixels, (60, 64, 192)."""
    rng = np.random.default_rng(0)
    return images.decode([_picture(rng)[0] for _ in range(60)], [64] * 60, REAL, [None] * 60).reshape(60, 64, -1)


@pytest.fixture(scope="module")
def fsq(scenes, one_thread) -> ImageTokenizer:
    return train(scenes.reshape(-1, PATCH_DIM), steps=200, trained={"corpus": "abc"})


@pytest.fixture(scope="module")
def means(scenes) -> ImageTokenizer:
    return fit_means(scenes.reshape(-1, PATCH_DIM), 60)


def held_out() -> np.ndarray:
    spans, _, _ = World()._scenes(np.random.default_rng(1), 100, 0)
    return render([span.data for span in spans])


@pytest.mark.parametrize("kind", ["fsq", "means"])
def test_it_keeps_something_of_patches_it_has_not_seen(kind, request):
    found = quality(request.getfixturevalue(kind), held_out())
    assert 12 < found.used <= found.codes and 2 < found.perplexity < found.used
    assert found.error < 0.8, "the mean patch has an error of 1"


@pytest.mark.parametrize("kind", ["fsq", "means"])
def test_codes_to_pixels_to_codes_is_stable(kind, request):
    """For codes that occur, and for those that a model may make up: none drifts."""
    tokenizer = request.getfixturevalue(kind)
    codes = tokenizer.encode(held_out())
    assert (tokenizer.encode(tokenizer.decode(codes)) == codes).all()
    any_code = tokenizer.encode(tokenizer.decode(np.arange(tokenizer.codes)))
    assert (tokenizer.encode(tokenizer.decode(any_code)) == any_code).all()
    assert (any_code == np.arange(tokenizer.codes)).mean() > 0.3, "few codes fall together"


def test_means_are_nearer_the_more_there_are(scenes):
    errors = [quality(fit_means(scenes.reshape(-1, PATCH_DIM), n), held_out()).error for n in (8, 60, 240)]
    assert errors[0] > errors[1] > errors[2]


def test_real_images_of_64_pixels_are_8_by_8_codes(pictures):
    tokenizer = train(pictures[:40].reshape(-1, REAL.patch_dim), steps=150)
    codes = tokenizer.encode(pictures)
    assert codes.shape == (60, 64)
    found = quality(tokenizer, pictures[40:])
    assert found.error < 0.6 and found.used > 5, found
    seen = images.to_pixels(tokenizer.decode(codes[:2]), REAL)
    assert seen.shape == (2, 64, 64, 3)
    assert np.abs(seen.astype(int) - images.to_pixels(pictures[:2], REAL)).mean() < 30, "levels of 255"


@pytest.mark.parametrize("levels", [(8, 6, 5), (3, 3), (5, 4, 3, 2)])
def test_every_code_is_a_place_of_the_levels(levels):
    """Rounding reaches every level and no other, and the numbers of codes are those of their places."""
    half, offset, shift = bounds(levels)
    wide = np.linspace(-20, 20, 4001)[:, None]
    places = np.round(half * np.tanh(wide + shift) - offset)
    for axis, count in enumerate(levels):
        assert sorted(set(places[:, axis] + count // 2)) == list(range(count))
    assert np.allclose(half * np.tanh(shift) - offset, 0), "0 is encoded as the middle"


def test_inference_without_torch_is_what_was_trained(scenes, fsq):
    model = Autoencoder(PATCH_DIM, fsq.levels)
    model.load_state_dict({
        **{name: value for name, value in model.state_dict().items() if name in ("reach", "offset", "shift", "steps")},
        **{name + ("" if name.endswith("bias") else ".weight"): torch.from_numpy(array.copy()) for name, array in fsq.weights.items()},
    })
    patches = scenes[:50].reshape(-1, PATCH_DIM)
    with torch.no_grad():
        again, whole, _ = model(torch.from_numpy(patches))
    codes = fsq.encode(patches)
    place = (whole.round().numpy().astype(int) + np.array(fsq.levels) // 2) @ np.array([1, 8, 48])
    settled = place == codes
    assert settled.mean() > 0.9 and (fsq.encode(fsq.decode(place)) == codes).mean() > 0.99
    np.testing.assert_allclose(fsq.decode(codes)[settled], again.numpy()[settled], atol=1e-4)


def test_training_is_a_function_of_its_seed(scenes):
    before = torch.get_rng_state()
    patches = scenes[:100].reshape(-1, PATCH_DIM)
    one, same, other = (train(patches, (4, 4), steps=20, seed=seed).hash for seed in (0, 0, 1))
    assert one == same != other
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["fsq", "means"])
def test_written_and_read(kind, request, tmp_path):
    tokenizer = request.getfixturevalue(kind)
    found = ImageTokenizer.read(tokenizer.write(tmp_path / "codes.safetensors"))
    assert found.hash == tokenizer.hash and found.trained == tokenizer.trained
    assert (found.encode(held_out()) == tokenizer.encode(held_out())).all()


def test_bad_input_is_named(fsq, tmp_path, scenes):
    with pytest.raises(ValueError, match="patches of 108 numbers, and the image tokenizer .* takes 192"):
        fsq.encode(np.zeros((4, 108)))
    with pytest.raises(ValueError, match="codes from -1 to 240: .* codes from 0 to 239"):
        fsq.decode([-1, 240])
    with pytest.raises(ValueError, match="500 means of 1 different patches"):
        fit_means(np.zeros((1000, 3)), 500)
    with pytest.raises(ValueError, match="0 patches to train"):
        train(np.zeros((0, 192), np.float32))
    with pytest.raises(ValueError, match="unknown kind of image tokenizer 'vae'"):
        ImageTokenizer("vae", (2,), {}, {})
    with pytest.raises(FileNotFoundError, match="no image tokenizer"):
        ImageTokenizer.read(tmp_path / "none.safetensors")
    path = fsq.write(tmp_path / "codes.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="is no image tokenizer"):
        ImageTokenizer.read(path)
    save_file({**load_file(fsq.write(tmp_path / "other.safetensors")), "encoder.0.bias": np.zeros(128, np.float32)}, path,
              {"kind": "fsq", "levels": "[8, 6, 5]", "hash": fsq.hash})
    with pytest.raises(ValueError, match="its weights hash to"):
        ImageTokenizer.read(path)
