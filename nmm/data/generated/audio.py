"""Audio of the generated corpus: four notes, heard as log-mel frames, and a transcript that says what they are.

A note has a pitch, an instrument and a touch, which of its seven beats are soft; the three name its kind, and the
12,288 kinds are as heavy-tailed as those of objects, and named from the same list. A document is the clip, then place,
pitch, instrument and name of every note. All of it can be heard, so the entropy is zero.

The sound is real: notes are synthesised as waves of 16-bit range and pass through a short-time Fourier transform and a
mel filter bank. Every note begins with a rest as long as two windows overlap, so the frames of a note do not depend on
the notes beside it: those of every kind are computed once and looked up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from nmm.data.documents import Document, Span, Text
from nmm.data.generated.world import GRID, N_NAMES, World, draw_kinds, fields, heavy_tail, stream
from nmm.data.sound import AUDIO_DIM, FRAMES, HOP, RATE, log_mel
from nmm.data.sound import spectrogram as drawn

BEATS = 7                       # of a note, each a hop long, after a rest of one hop
NOTE = (1 + BEATS) * HOP        # samples
POSITIONS_PER_NOTE = NOTE // HOP // FRAMES

PITCHES = ("a3", "b3", "cis4", "dis4", "f4", "g4", "a4", "b4", "cis5", "dis5", "f5", "g5")    # whole tones from 220 Hz
INSTRUMENTS = {                 # amplitudes of the fundamental and its overtones
    "flute": (10, 1, 0, 0, 0, 0, 0, 0), "clarinet": (10, 0, 6, 0, 4, 0, 2, 0),
    "violin": (10, 5, 3, 2.5, 2, 1.7, 1.4, 1.2),
    "trumpet": (2, 6, 10, 6, 2, 1, 0, 0), "organ": (10, 10, 0, 10, 0, 0, 0, 10), "oboe": (2, 10, 2, 1, 4, 1, 2, 1),
    "horn": (10, 10, 4, 0, 0, 0, 0, 0), "reed": (10, 10, 10, 10, 10, 10, 10, 10),
}
TOUCHES = 2**BEATS              # bit b is set where beat b is soft
SOFT = 0.3                      # amplitude of a soft beat
LOUDEST = 4.0                   # of a wave, which is 16-bit full scale
NOTES = (len(PITCHES), len(INSTRUMENTS), TOUCHES)
LIMITS = dict(zip(("pitch", "instrument", "touch"), NOTES))

WORDS = ("<|audio|>", *PITCHES, *INSTRUMENTS)       # after the 756 words of the world
FIRST = 756                     # id of the first of them
TOKEN_KINDS = [(FIRST, "special"), (FIRST + 1, "pitch"), (FIRST + 1 + len(PITCHES), "instrument")]
LENGTH = 1 + GRID * POSITIONS_PER_NOTE + 4 * GRID + 1


def synthesise(notes: np.ndarray) -> np.ndarray:
    """The waves of notes, one after the other.

    Args:
        notes: (..., 3) pitch, instrument and touch.
    Returns:
        (..., NOTE) samples; a loud tone has unit power.
    """
    pitch, instrument, touch = np.moveaxis(np.asarray(notes, np.int64), -1, 0)
    tones, gains = _tones()
    sound = tones[pitch, instrument] * gains[touch]
    return np.concatenate([np.zeros((*sound.shape[:-1], HOP)), sound], axis=-1)


@lru_cache
def _tones() -> tuple[np.ndarray, np.ndarray]:
    """Waves of unit power, (pitch, instrument, samples), and what a touch multiplies them with, (touch, samples)."""
    frequency = 220 * 2 ** (np.arange(len(PITCHES)) / 6)[:, None, None] * np.arange(1, 9)          # pitch, -, overtone
    amplitude = np.array(list(INSTRUMENTS.values())) * (frequency < RATE / 2)  # pitch, instrument, overtone
    amplitude /= np.sqrt((amplitude**2).sum(-1, keepdims=True) / 2)
    time = np.arange(BEATS * HOP) / RATE
    beats = np.where(np.arange(TOUCHES)[:, None] >> np.arange(BEATS) & 1, SOFT, 1.0)
    return amplitude @ np.sin(2 * np.pi * frequency[:, 0, :, None] * time), beats.repeat(HOP, axis=-1)


@lru_cache
def templates() -> np.ndarray:
    """What the model hears of every note, (pitch, instrument, touch, POSITIONS_PER_NOTE, AUDIO_DIM) float32."""
    instrument, touch = np.meshgrid(np.arange(NOTES[1]), np.arange(NOTES[2]), indexing="ij")
    frames = [
        log_mel(synthesise(np.stack([np.full_like(touch, pitch), instrument, touch], axis=-1)))
        for pitch in range(NOTES[0])
    ]
    return np.stack(frames).astype(np.float32).reshape(*NOTES, POSITIONS_PER_NOTE, AUDIO_DIM)


def render(clips: Sequence[bytes]) -> np.ndarray:
    """Log-mel frames of clips, one clip after the other, `FRAMES` frames at a position.

    Args:
        clips: 12 bytes each: pitch, instrument and touch of four notes.
    Returns:
        (n * 16, AUDIO_DIM) float32.
    Raises:
        ValueError: a clip is not 12 bytes, or a value is out of range.
    """
    return templates()[tuple(fields(clips, "clip", LIMITS))].reshape(-1, AUDIO_DIM)


def samples(clip: bytes) -> np.ndarray:
    """The sound of a clip, its four notes one after the other, 16-bit samples of one channel, (4 * NOTE,) int16."""
    notes = np.stack(fields([clip], "clip", LIMITS), axis=-1)[0]
    wave = synthesise(notes).reshape(-1)
    return np.round(np.clip(wave / LOUDEST, -1, 1) * 32767).astype("<i2")


def spectrogram(clip: bytes) -> np.ndarray:
    """The frames of a clip as a picture for people, see `nmm.data.sound.spectrogram`."""
    return drawn(render([clip]))


@dataclass(frozen=True)
class Melodies:
    """Audio of one world: which kinds of notes are frequent, and how they are called."""

    world: World

    @cached_property
    def kind_probability(self) -> np.ndarray:
        """(pitch, instrument, touch) -> probability of the kind."""
        return heavy_tail(NOTES, (self.world.seed, 5))

    @cached_property
    def kind_name(self) -> np.ndarray:
        """(pitch, instrument, touch) -> number of the name."""
        return np.random.default_rng((self.world.seed, 6)).integers(0, N_NAMES, NOTES)

    def entropy(self) -> float:
        """The lowest possible loss: all that a transcript says can be heard [nats per target token]."""
        return 0.0

    def documents(self, tokens: int, seed: int) -> Iterator[Document]:
        """Clips with their transcripts, at least `tokens` tokens in all; a longer corpus begins with the shorter
        one.
        """
        yield from stream(self._clips, tokens, (self.world.seed, 4, seed, 3))

    def _clips(self, rng: np.random.Generator, n: int, first: int) -> Iterator[Document]:
        pitch, instrument, touch = draw_kinds(self.kind_probability, rng, n)
        clips = np.stack([pitch, instrument, touch], axis=-1).astype(np.uint8)
        place = np.broadcast_to(self.world.first_id("place") + np.arange(GRID), pitch.shape)
        said = np.stack([place, FIRST + 1 + pitch, FIRST + 1 + len(PITCHES) + instrument,
                         self.world.first_id("name") + self.kind_name[pitch, instrument, touch]], axis=-1)
        said = said.reshape(n, -1)
        for number, (clip, ids) in enumerate(zip(clips, said), first):
            span = Span(clip.tobytes(), "notes", GRID * POSITIONS_PER_NOTE)
            yield Document(segments=(span, Text(ids=ids)), name=f"audio-{number}")
