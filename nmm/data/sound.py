"""Sound: files of audio checked once when a corpus is prepared, and waves as the log-mel frames that a model hears.

Stored are 16-bit samples of one channel at `RATE`. A position of a sequence holds `FRAMES` frames.
"""

from collections.abc import Sequence
from functools import lru_cache

import av
import numpy as np

from nmm.data.geometry import Geometry
from nmm.data.images import Draw
from nmm.data.media import BadMedia, declared_seconds, decoded, ends

RATE = 8000                     # samples a second
WINDOW, HOP = 256, 128          # of the Fourier transform: 32 and 16 ms [samples]
BANDS = 32                      # mel bands up to half the rate
FRAMES = 2                      # frames at one position
AUDIO_DIM = FRAMES * BANDS
RAW_BYTES = 2 * FRAMES * HOP    # of 16-bit samples, at one position
FLOOR = 1e-4                    # added to the power of a band before the logarithm; a generated note has unit power
LEVEL, SPREAD = -7.08, 2.185    # mean and standard deviation of the logarithm over all generated notes
FULL = 32768                    # a 16-bit sample of full scale
QUIET = FULL // 1000            # a clip that never gets louder is silent: 60 dB below full scale
SECONDS = 120                   # a longer clip is passed over before it is decoded whole [s]


def check(data: bytes, geometry: Geometry) -> tuple[bytes, str, int]:
    """Decode a file of audio fully and give the bytes to store, their format and the positions that it takes.

    Any rate is resampled to `RATE`, several channels become their mean; the loudness stays.

    Raises:
        BadMedia: empty, damaged, cut, of an unknown format, without samples, silent or too long.
    """
    samples, size = [], 0
    with decoded(data, "audio") as (container, stream):
        if not ends(data):
            raise BadMedia("audio is cut: the mark of its end is missing")
        declared = declared_seconds(container, stream)
        if declared > SECONDS:
            raise BadMedia(f"audio above {SECONDS} s")
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        for frame in container.decode(stream):
            for part in resampler.resample(frame):
                samples.append(part.to_ndarray()[0])
                size += samples[-1].size
            if size > SECONDS * RATE:
                raise BadMedia(f"audio above {SECONDS} s")
        if samples:
            samples += [part.to_ndarray()[0] for part in resampler.resample(None)]
    wave = np.concatenate(samples) if samples else np.zeros(0, np.int16)
    if not wave.size:
        raise BadMedia("audio has no samples")
    if declared and wave.size / RATE < declared - max(0.1, 0.05 * declared):
        raise BadMedia("audio is cut: it ends before its header says")
    if np.abs(wave.astype(np.int32)).max() < QUIET:
        raise BadMedia("audio is silent")
    return wave.astype("<i2").tobytes(), "pcm", positions(wave.size)


def positions(samples: int) -> int:
    """Positions that so many samples take; the last is filled up with silence."""
    return -(-samples // (FRAMES * HOP))


def decode(blobs: Sequence[bytes], lengths: Sequence[int], geometry: Geometry, draws: Sequence[Draw]) -> np.ndarray:
    """Log-mel frames of stored clips one after the other, float32 (sum of positions, AUDIO_DIM); the arguments of every decoder."""
    found = [np.zeros((0, AUDIO_DIM), np.float32)]
    for blob, length in zip(blobs, lengths, strict=True):
        wave = np.zeros(length * FRAMES * HOP)
        samples = np.frombuffer(blob, "<i2")
        wave[:len(samples)] = samples / FULL
        found.append(log_mel(wave).astype(np.float32).reshape(length, AUDIO_DIM))
    return np.concatenate(found)


@lru_cache
def mel_filters() -> np.ndarray:
    """Triangular filters with equal widths in mel, (BANDS, WINDOW / 2 + 1).

    Source: the mel scale of O'Shaughnessy 1987, 2595 log10(1 + f / 700), as in HTK.
    """
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    frequency = np.fft.rfftfreq(WINDOW, 1 / RATE)
    low, centre, high = (edges[k:k + BANDS, None] for k in range(3))
    return np.clip(np.minimum((frequency - low) / (centre - low), (high - frequency) / (high - centre)), 0, None)


def log_mel(wave: np.ndarray) -> np.ndarray:
    """Normalised log-mel frames of waves.

    Args:
        wave: (..., samples), a multiple of `HOP` of them; silence is put after the end.
    Returns:
        (..., samples / HOP, BANDS), with mean 0 and variance 1 over all notes.
    """
    padded = np.concatenate([wave, np.zeros((*wave.shape[:-1], WINDOW - HOP))], axis=-1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=-1)[..., ::HOP, :]
    hann = np.hanning(WINDOW + 1)[:-1]
    power = np.abs(np.fft.rfft(windows * (hann / hann.sum())))**2
    return (np.log(power @ mel_filters().T + FLOOR) - LEVEL) / SPREAD


def spectrogram(frames: np.ndarray) -> np.ndarray:
    """Frames (n, AUDIO_DIM) as a picture for people, low tones below, (8 * BANDS, 8 * frames, 3) uint8."""
    bands = frames.reshape(-1, BANDS).T[::-1]
    light = np.round(np.clip((bands + 2) / 5, 0, 1) * 255).astype(np.uint8)
    return light.repeat(8, 0).repeat(8, 1)[:, :, None].repeat(3, 2)
