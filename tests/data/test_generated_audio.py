"""Generated audio: a real log-mel front end, notes that can be told apart by ear, transcripts of zero entropy."""

import numpy as np
import pytest

from nmm.data import sound
from nmm.data.generated import audio
from nmm.data.generated.audio import BEATS, INSTRUMENTS, NOTE, NOTES, PITCHES, Melodies
from nmm.data.generated.world import PLACES, World
from nmm.data.sound import BANDS, HOP, RATE, WINDOW

MELODIES = Melodies(World(0))
WORDS = [*World(0).vocabulary, *audio.WORDS]


def first(n: int, seed: int = 0) -> list:
    return [document for _, document in zip(range(n), MELODIES.documents(10**9, seed), strict=False)]


def test_frames_against_a_slow_transform():
    """Two frames of noise: windowed sums of complex exponentials, and triangles drawn point by point."""
    wave = np.random.default_rng(0).standard_normal(WINDOW + HOP)
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = [700 * (10 ** (k * top / (BANDS + 1) / 2595) - 1) for k in range(BANDS + 2)]
    n = np.arange(WINDOW)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / WINDOW)
    for frame in range(2):
        own = wave[frame * HOP:frame * HOP + WINDOW] * hann / hann.sum()
        power = [abs((own * np.exp(-2j * np.pi * k * n / WINDOW)).sum())**2 for k in range(WINDOW // 2 + 1)]
        for band in range(BANDS):
            weights = np.interp(np.arange(WINDOW // 2 + 1) * RATE / WINDOW, edges[band:band + 3], [0, 1, 0])
            assert weights.any(), f"band {band} hears nothing"
            expected = (np.log(weights @ power + sound.FLOOR) - sound.LEVEL) / sound.SPREAD
            assert sound.log_mel(wave)[frame, band] == pytest.approx(expected, abs=1e-9)


def test_a_tone_is_heard_in_the_band_of_its_frequency():
    centres = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), BANDS + 2)[1:-1] / 2595) - 1)
    for frequency in (200, 440, 1000, 3000):
        heard = sound.log_mel(np.sin(2 * np.pi * frequency * np.arange(NOTE) / RATE))[2].argmax()
        assert abs(centres - frequency).argmin() == heard


def test_notes_have_their_pitch_and_their_soft_beats():
    for pitch in range(len(PITCHES)):
        wave = audio.synthesise(np.array([pitch, 0, 0]))
        spectrum = abs(np.fft.rfft(wave, 2**15))
        assert spectrum.argmax() * RATE / 2**15 == pytest.approx(220 * 2 ** (pitch / 6), rel=0.01), PITCHES[pitch]
    loud, soft = (audio.synthesise(np.array([3, 2, touch])).reshape(-1, HOP) for touch in (0, 0b0100101))
    assert not loud[0].any() and (loud[1:]**2).mean() == pytest.approx(1, abs=0.05)
    assert np.allclose(soft[1:], loud[1:] * np.where([1, 0, 1, 0, 0, 1, 0], audio.SOFT, 1)[:, None])


def test_levels_are_those_of_all_notes():
    frames = audio.templates()
    assert frames.shape == (*NOTES, audio.POSITIONS_PER_NOTE, audio.AUDIO_DIM) and frames.dtype == np.float32
    assert abs(frames.mean()) < 2e-3 and frames.std() == pytest.approx(1, abs=2e-3)


def test_what_is_looked_up_is_what_the_front_end_hears_of_the_whole_clip():
    clips = [document.segments[0].data for document in first(30)]
    notes = np.frombuffer(b"".join(clips), np.uint8).reshape(30, 4, 3)
    heard = sound.log_mel(audio.synthesise(notes).reshape(30, 4 * NOTE)).reshape(-1, audio.AUDIO_DIM)
    rendered = audio.render(clips)
    assert rendered.shape == (30 * 16, 64)
    assert np.allclose(rendered, heard, atol=1e-5)


def test_a_transcript_is_a_function_of_the_sound():
    """Entropy zero: the nearest of all 12,288 notes to what is heard is the one that was played, and its words are said."""
    assert MELODIES.entropy() == 0
    table = audio.templates().reshape(np.prod(NOTES), -1)
    squares = (table**2).sum(1)
    for document in first(100):
        clip, said = document.segments
        wave = audio.synthesise(np.frombuffer(clip.data, np.uint8).reshape(4, 3)).reshape(-1)
        heard = sound.log_mel(wave).reshape(4, -1)
        distance = squares - 2 * heard @ table.T
        best, second = np.partition(distance, 1, axis=1)[:, :2].T
        assert (second - best).min() > 1, "two notes sound alike"
        expected = []
        for place, kind in zip(PLACES, distance.argmin(1)):
            pitch, instrument, touch = np.unravel_index(kind, NOTES)
            name = WORDS[MELODIES.world.first_id("name") + MELODIES.kind_name[pitch, instrument, touch]]
            expected += [place, PITCHES[pitch], list(INSTRUMENTS)[instrument], name]
        assert [WORDS[i] for i in said.ids] == expected


def test_kinds_are_heavy_tailed_and_drawn_so():
    p = MELODIES.kind_probability
    assert p.shape == NOTES and p.size == 12_288 and p.sum() == pytest.approx(1)
    assert np.polyfit(np.log(np.arange(p.size) + 15), np.log(np.sort(p.reshape(-1))[::-1]), 1)[0] == pytest.approx(-1.5, abs=1e-6)
    assert not np.array_equal(p.reshape(-1), World(0).kind_probability.reshape(-1))
    notes = np.frombuffer(b"".join(document.segments[0].data for document in first(5000)), np.uint8).reshape(-1, 3)
    seen = np.bincount(np.ravel_multi_index(notes.T.astype(int), NOTES), minlength=p.size) / len(notes)
    common = p.reshape(-1) > 1e-3
    z = (seen - p.reshape(-1))[common] / np.sqrt(p.reshape(-1)[common] / len(notes))
    assert abs(z).max() < 5


def test_a_longer_corpus_begins_with_the_shorter_and_seeds_decide():
    short, long, other = (list(MELODIES.documents(tokens, seed)) for tokens, seed in ((34 * 700, 3), (34 * 1900, 3), (34 * 700, 4)))
    assert len(short) == 700 and len(long) == 1900 and len({document.name for document in long}) == 1900
    assert [d.digest() for d in short] == [d.digest() for d in long[:700]] != [d.digest() for d in other]
    assert BEATS == 7 and audio.LENGTH == 34


def test_the_picture_of_a_clip():
    picture = audio.spectrogram(bytes([0, 0, 0] * 4))
    assert picture.shape == (8 * BANDS, 8 * 32, 3) and picture.dtype == np.uint8
    low, high = picture[-80:].mean(), picture[:80].mean()
    assert low > high + 30, "a flute's low a is loud below and quiet above"


@pytest.mark.parametrize(("clip", "message"), [
    (b"", "a clip is 12 bytes: got lengths .0."), (bytes(16), "a clip is 12 bytes: got lengths .16."),
    (bytes([12, 0, 0] * 4), "pitch 12 in a clip: it must be below 12"),
    (bytes([0, 8, 0] * 4), "instrument 8 in a clip: it must be below 8"),
    (bytes([0, 0, 128] * 4), "touch 128 in a clip: it must be below 128"),
])
def test_a_bad_clip_is_refused(clip, message):
    with pytest.raises(ValueError, match=message):
        audio.render([clip])
