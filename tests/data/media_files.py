"""Small files of sound and video, encoded on the spot."""

import io
from fractions import Fraction

import av
import numpy as np

CODECS = {"wav": "pcm_s16le", "flac": "flac", "ogg": "libopus", "mp3": "libmp3lame"}
FILMS = {"mp4": "libx264", "webm": "libvpx-vp9", "gif": "gif"}


def tone(seconds: float, rate: int = 8000, channels: int = 1, loud: float = 0.5, frequency: float = 440.0) -> np.ndarray:
    """A wave, (channels, samples) int16; channels sound alike."""
    wave = loud * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)
    return np.repeat(np.round(wave * 32767).astype(np.int16)[None], channels, axis=0)


def audio_file(wave: np.ndarray, rate: int = 8000, fmt: str = "wav") -> bytes:
    """A wave (channels, samples) as a file."""
    layout = "mono" if len(wave) == 1 else "stereo"
    own = 48_000 if fmt == "ogg" else rate          # Opus has one rate
    file = io.BytesIO()
    with av.open(file, "w", format=fmt) as container:
        stream = container.add_stream(CODECS[fmt], rate=own, layout=layout)
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=own)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave.T.reshape(1, -1)), format="s16", layout=layout)
        frame.rate, frame.pts = rate, 0
        fifo = av.AudioFifo()
        if wave.size:
            for part in (*resampler.resample(frame), *resampler.resample(None)):
                fifo.write(part)
        size = stream.codec_context.frame_size or 1024
        while fifo.samples:
            container.mux(stream.encode(fifo.read(min(size, fifo.samples))))
        container.mux(stream.encode(None))
    return file.getvalue()


def film_file(frames: int, fmt: str = "mp4", size: tuple[int, int] = (48, 32), rate: int = 10) -> bytes:
    """A square of white that moves to the right, as a file."""
    file = io.BytesIO()
    with av.open(file, "w", format=fmt) as container:
        stream = container.add_stream(FILMS[fmt], rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "rgb8" if fmt == "gif" else "yuv420p"
        stream.time_base = Fraction(1, rate)
        for number in range(frames):
            pixels = np.zeros((size[1], size[0], 3), np.uint8)
            pixels[8:16, (4 * number) % (size[0] - 8):][:, :8] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()
