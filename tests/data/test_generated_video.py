"""Generated video: objects that really move, captions that can be read from the tubelets, and the entropy of the words."""

import numpy as np
import pytest

from nmm.data.generated import audio as generated_audio
from nmm.data.generated import video
from nmm.data.generated.surprisal import surprisal
from nmm.data.generated.video import FRAMES, MOTIONS, Films
from nmm.data.generated.world import (
    COLOURS,
    GRID,
    N_NAMES,
    N_WORDS,
    PATCH,
    PATTERNS,
    SHAPES,
    TEXTURES,
    World,
    draw_objects,
    picture,
    render,
)

WORLD = World(0)
FILMS = Films(WORLD)
WORDS = [*WORLD.vocabulary, *generated_audio.WORDS, *video.WORDS]


def first(n: int, seed: int = 0) -> list:
    return [document for _, document in zip(range(n), FILMS.documents(10**9, seed), strict=False)]


def moving(film: bytes) -> np.ndarray:
    """Frames drawn pixel by pixel from the first one: (FRAMES, 32, 32, 3), columns moving as rings."""
    objects = [film[5 * column:5 * column + 5] for column in range(GRID)]
    patches = render([b"".join(item[:4] for item in objects)])[0].reshape(GRID, GRID, PATCH, PATCH, 3)
    still = patches.transpose(1, 2, 0, 3, 4).reshape(GRID * PATCH, GRID * PATCH, 3)
    frames = np.stack([still] * FRAMES)
    for column, item in enumerate(objects):
        speed = 4 * list(MOTIONS.values())[item[4]]
        for frame in range(FRAMES):
            strip = slice(column * PATCH, (column + 1) * PATCH)
            frames[frame, :, strip] = np.roll(still[:, strip], speed * frame, axis=0)
    return frames


def from_tubelets(tubelets: np.ndarray) -> np.ndarray:
    """Frames from tubelets, (FRAMES, 32, 32, 3): time, then column, then row; two frames of a patch one after the other."""
    cut = tubelets.reshape(FRAMES // 2, GRID, GRID, 2, PATCH, PATCH, 3)          # time, column, row, frame, y, x, channel
    return cut.transpose(0, 3, 2, 4, 1, 5, 6).reshape(FRAMES, GRID * PATCH, GRID * PATCH, 3)


def test_tubelets_are_those_of_moving_pictures():
    films = [document.segments[1].data for document in first(50)]
    tubelets = video.render(films)
    assert tubelets.shape == (50 * video.POSITIONS, video.VIDEO_DIM) == (50 * 32, 384) and tubelets.dtype == np.float32
    for film, own in zip(films, tubelets.reshape(50, 32, 384)):
        assert np.array_equal(from_tubelets(own), moving(film))


def test_a_film_at_rest_is_its_picture():
    scene = bytes([0, 1, 2, 3, 3, 7, 5, 20, 2, 4, 11, 31, 1, 0, 0, 0])
    film = b"".join(scene[4 * column:4 * column + 4] + b"\0" for column in range(GRID))
    frames = video.frames(film)
    assert frames.shape == (FRAMES, 32, 32, 3) and all(np.array_equal(frame, picture(scene)) for frame in frames)


def test_a_description_is_a_function_of_the_tubelets():
    """Nothing of it is uncertain: what stands in a column, and how it moves, is found in the pixels alone."""
    colour, shape, texture = (axis.ravel() for axis in np.meshgrid(range(len(COLOURS)), range(len(SHAPES)), range(TEXTURES), indexing="ij"))
    objects = draw_objects(*(np.repeat(axis[:, None], GRID, 1) for axis in (colour, shape, texture)))
    for document in first(40):
        frames = from_tubelets(video.render([document.segments[1].data]))
        expected = []
        for column in range(GRID):
            strip = frames[:, :, column * PATCH:(column + 1) * PATCH]
            motions = [name for name, speed in MOTIONS.items()
                       if all(np.array_equal(strip[frame], np.roll(strip[0], 4 * speed * frame, axis=0)) for frame in range(FRAMES))]
            assert len(motions) == 1, motions
            rows = strip[0].reshape(GRID, -1)
            (row,) = np.flatnonzero(rows.any(1))
            kind = ((objects[:, column] - rows[row])**2).sum(1).argmin()
            name = WORLD.kind_name[colour[kind], shape[kind], texture[kind]]
            looks = [COLOURS[colour[kind]], SHAPES[shape[kind]], PATTERNS[texture[kind]]]
            expected += [*looks, WORDS[WORLD.first_id("name") + name], motions[0]]
        said = document.segments[2].ids[:5 * GRID]
        assert [WORDS[i] for i in said] == expected
    assert len(WORDS) == 756 + 21 + 6 and 111 + N_NAMES + N_WORDS == 756


def test_entropy_is_the_mean_surprise_of_the_words():
    """-log p of each word under the generator's tables, averaged over 1,500 documents: within four standard errors."""
    own = surprisal(WORLD, first(1500))
    error = own.std() / len(own) ** 0.5
    assert abs(own.mean() - FILMS.entropy()) < 4 * error, (own.mean(), FILMS.entropy(), error)
    assert error < 0.01 * FILMS.entropy()
    p = 1 / np.arange(1, 9) ** 2 / (1 / np.arange(1, 9) ** 2).sum()
    assert FILMS.entropy() == pytest.approx(-(p * np.log(p)).sum() * 33 / 55)


def test_rows_and_motions_are_uniform():
    values = np.frombuffer(b"".join(document.segments[1].data for document in first(4000)), np.uint8).reshape(-1, 5)
    for column, kinds in ((0, GRID), (4, len(MOTIONS))):
        assert np.bincount(values[:, column], minlength=kinds) / len(values) == pytest.approx(1 / kinds, abs=0.015)


def test_a_longer_corpus_begins_with_the_shorter():
    short, long = (list(FILMS.documents(tokens, 3)) for tokens in (video.LENGTH * 300, video.LENGTH * 1400))
    assert len(short) == 300 and len(long) == 1400 and len({document.name for document in long}) == 1400
    assert [d.digest() for d in short] == [d.digest() for d in long[:300]] != [d.digest() for d in first(300, seed=4)]


@pytest.mark.parametrize(("film", "message"), [
    (bytes(16), "a film is 20 bytes: got lengths .16."), (bytes([4, 0, 0, 0, 0] * 4), "row 4 in a film: it must be below 4"),
    (bytes([0, 0, 0, 0, 5] * 4), "motion 5 in a film: it must be below 5"),
])
def test_a_bad_film_is_refused(film, message):
    with pytest.raises(ValueError, match=message):
        video.render([film])
