"""Audio and video files: whole ones of every format, in tars, in parquet and through `prepare`; every bad one counted by its reason."""

import io
import json
import wave

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nmm.data import film, sound
from nmm.data.batches.loader import collate
from nmm.data.corpus import store
from nmm.data.corpus.prepare import prepare
from nmm.data.corpus.show import report_table, samples_html
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.geometry import Geometry
from nmm.data.images import MEAN, STD
from nmm.data.media import BadMedia
from nmm.data.readers import BadShard, files_of, read
from nmm.data.readers.clean import clean
from nmm.data.readers.rejects import Rejects
from tests.data.conftest import image_bytes, sentence, write_jsonl, write_tar
from tests.data.media_files import CODECS, FILMS, audio_file, film_file, tone

GEOMETRY = Geometry(image_size=32, patch=8, audio_dim=sound.AUDIO_DIM, video_dim=film.dim(8))
WAV = audio_file(tone(0.5))
MP4 = film_file(12)


# Audio ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", CODECS)
def test_every_format_is_the_same_sound(fmt):
    data, name, positions = sound.check(audio_file(tone(0.5), fmt=fmt), GEOMETRY)
    assert name == "pcm" and positions == sound.positions(len(data) // 2)
    samples = np.frombuffer(data, "<i2")
    assert len(samples) == pytest.approx(4000, abs=1200 if fmt == "mp3" else 40), "an MP3 has the padding of its encoder"
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() * sound.RATE / len(samples) == pytest.approx(440, abs=5)


@pytest.mark.parametrize("rate", [8000, 7350, 11025, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_stereo(rate, channels):
    data, _, _ = sound.check(audio_file(tone(0.5, rate, channels), rate), GEOMETRY)
    samples = np.frombuffer(data, "<i2")
    assert len(samples) == pytest.approx(4000, abs=20)
    assert np.abs(samples[500:-500].astype(int)).max() == pytest.approx(16383, rel=0.05), "channels become their mean"


def test_what_the_model_hears_is_what_it_hears_of_generated_notes():
    data, _, positions = sound.check(WAV, GEOMETRY)
    heard = sound.decode([data, data], [positions, positions], GEOMETRY, [None, None])
    assert heard.shape == (2 * positions, sound.AUDIO_DIM) and heard.dtype == np.float32
    samples = np.zeros(positions * sound.FRAMES * sound.HOP)
    samples[:len(data) // 2] = np.frombuffer(data, "<i2") / sound.FULL
    np.testing.assert_allclose(heard[:positions], sound.log_mel(samples).reshape(positions, -1), atol=1e-5)
    assert sound.spectrogram(heard[:positions]).shape == (8 * sound.BANDS, 8 * positions * sound.FRAMES, 3)


def cut(data: bytes, share: float = 0.6) -> bytes:
    return data[:int(len(data) * share)]


def empty_wav() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
    return file.getvalue()


LONG = audio_file(tone(2.0), fmt="ogg")
BAD_AUDIO = {
    "nothing": (b"", "audio is empty"),
    "noise": (bytes(range(256)) * 8, "not a WAV, FLAC, OGG or MP3 file"),
    "a picture": (image_bytes(0, fmt="PNG"), "not a WAV, FLAC, OGG or MP3 file"),
    "a header alone": (WAV[:20], "audio is damaged"), "no samples": (empty_wav(), "audio has no samples"),
    "silence": (audio_file(np.zeros((1, 4000), np.int16)), "audio is silent"),
    "nearly silence": (audio_file(tone(0.5, loud=0.0005)), "audio is silent"),
    "huge": (audio_file(tone(sound.SECONDS + 1)), f"audio above {sound.SECONDS} s"),
    "video": (film_file(4), "no stream of audio in the file"),
    "half a wav": (cut(WAV), "audio is cut"), "half an ogg": (cut(LONG), "audio is cut"),
    "half a flac": (cut(audio_file(tone(2.0), fmt="flac")), "audio is (cut|damaged)"),
    "half an mp3": (cut(audio_file(tone(2.0), fmt="mp3")), "audio is cut"),
}


@pytest.mark.parametrize("what", BAD_AUDIO)
def test_bad_audio_says_why(what):
    data, reason = BAD_AUDIO[what]
    with pytest.raises(BadMedia, match=reason):
        sound.check(data, GEOMETRY)


# Video ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FILMS)
def test_every_format_is_the_same_film(fmt):
    data, name, positions = film.check(film_file(16, fmt), GEOMETRY)
    assert name == "strip" and positions == film.FRAMES // film.DEPTH * 16
    frames = film.frames(data)
    assert frames.shape == (film.FRAMES, 32, 32, 3)
    light = frames.astype(float).mean((1, 3))                    # the square moves to the right and comes in again
    assert len({int(row.argmax()) for row in light}) > 3
    tubelets = film.decode([data], [positions], GEOMETRY, [None])
    assert tubelets.shape == (positions, film.dim(8)) and tubelets.dtype == np.float32
    first = tubelets[0].reshape(film.DEPTH, 8, 8, 3)
    pixels = (first * STD + MEAN) * 255
    np.testing.assert_allclose(pixels, frames[:film.DEPTH, :8, :8], atol=0.51)


def test_a_long_film_is_thinned_out_evenly_and_a_short_one_repeats_frames():
    for frames in (2, 3, 100):
        data, _, positions = film.check(film_file(frames), GEOMETRY)
        assert film.frames(data).shape[0] == film.FRAMES and positions == 64


BAD_VIDEO = {
    "nothing": (b"", "video is empty"),
    "noise": (bytes(range(256)) * 8, "not an MP4, WebM or GIF file"),
    "a sound": (WAV, "not an MP4, WebM or GIF file"),
    "one frame": (film_file(1, "gif"), "video has one frame: it is a picture"),
    "no frames": (b"GIF89a" + bytes([48, 0, 32, 0, 0, 0, 0]) + b";", "video (has no frames|is damaged)"),
    "tiny": (film_file(4, "gif", size=(48, 4)), "video below 8 pixels a side"),
    "half an mp4": (cut(MP4), "video is damaged"),
    "half a webm": (cut(film_file(60, "webm", size=(96, 64))), "video is (cut|damaged)"),
    "half a gif": (cut(film_file(30, "gif")), "video is cut"),
    "a sound in mp4's place": (audio_file(tone(0.5), fmt="ogg"), "no stream of video in the file"),
}


@pytest.mark.parametrize("what", BAD_VIDEO)
def test_bad_video_says_why(what):
    data, reason = BAD_VIDEO[what]
    with pytest.raises(BadMedia, match=reason):
        film.check(data, GEOMETRY)


def test_a_film_of_too_many_frames(monkeypatch):
    monkeypatch.setattr(film, "MOST_FRAMES", 5)
    with pytest.raises(BadMedia, match="video above 5 frames"):
        film.check(MP4, GEOMETRY)


# Tars, parquet, prepare ----------------------------------------------------------------------------------------------


def clips(numbers, fmt="wav") -> list[tuple[str, bytes]]:
    return [member for n in numbers for member in (
        (f"{n:03d}.{fmt}", audio_file(tone(0.2 + 0.02 * n, frequency=200 + 40 * n), fmt=fmt)), (f"{n:03d}.txt", sentence(n).encode()))]


def documents(path, kind, rejects):
    cleaned = (clean(document, kind, GEOMETRY, 30, rejects) for document in read(path, kind, rejects))
    return [document for document in cleaned if document is not None]


def test_tars_of_clips_and_their_bad_members(tmp_path):
    more = [("json.wav", WAV), ("json.json", json.dumps({"transcript": "said in json"}).encode()), ("alone.wav", WAV),
            ("words.txt", b"no clip"), ("twice.wav", WAV), ("twice.mp3", audio_file(tone(0.5), fmt="mp3")), ("twice.txt", b"x"),
            ("bad.wav", cut(WAV)), ("bad.txt", b"x"),
            ("blank.wav", WAV), ("blank.txt", b"  "), ("latin.wav", WAV), ("latin.txt", b"caf\xe9"), ("cover.jpg", image_bytes(0))]
    path, rejects = write_tar(tmp_path / "a.tar", clips(range(3)) + more), Rejects()
    found = documents(path, "audio", rejects)
    assert [document.segments[1].text for document in found] == [*(sentence(n) for n in range(3)), "said in json"]
    assert {reason: entry["count"] for reason, entry in rejects.reasons.items()} == {
        "no transcript": 1, "no clip": 1, "more than one clip": 1, "audio is cut: the mark of its end is missing": 1, "empty transcript": 1,
        "transcript is not UTF-8": 1, "neither a clip nor a transcript": 1,
    }
    assert rejects.reasons["audio is cut: the mark of its end is missing"]["first"] == ["a.tar:bad"]


@pytest.mark.parametrize("kind, column, data", [("audio", "audio", WAV), ("video", "mp4", MP4)])
def test_parquet(tmp_path, kind, column, data):
    struct = [{"bytes": data, "path": "x"}, {"bytes": data, "path": "y"}, None]
    plain = pa.table({column: struct if kind == "audio" else [data, data, None], "text": ["one", None, "three"]})
    pq.write_table(plain, tmp_path / "a.parquet")
    rejects = Rejects()
    assert [each.segments[1].text for each in documents(tmp_path / "a.parquet", kind, rejects)] == ["one"]
    word = {"audio": ("no transcript", "no clip"), "video": ("no caption", "no video")}[kind]
    assert tuple(rejects.reasons) == word
    with pytest.raises(BadShard, match="bytes in one of the columns"):
        pq.write_table(pa.table({"x": ["y"]}), tmp_path / "b.parquet")
        documents(tmp_path / "b.parquet", kind, Rejects())


def test_files_of_a_folder(tmp_path):
    write_tar(tmp_path / "a.tar", clips(range(2)))
    pq.write_table(pa.table({"flac": [WAV], "sentence": ["x"]}), tmp_path / "b.parquet")
    (tmp_path / "c.wav").write_bytes(WAV)
    chosen, unread = files_of(tmp_path, "audio")
    assert [file.name for file in chosen] == ["a.tar", "b.parquet"] and [file.name for file in unread] == ["c.wav"]


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A prepared corpus of real files of four modalities."""
    folder = tmp_path_factory.mktemp("media")
    for kind in ("caption", "audio", "video", "text"):
        (folder / kind).mkdir()
    pictures = [(f"{n}.jpg", image_bytes(n)) for n in range(12)]
    films = [(f"{n}.gif", film_file(4 + n, "gif")) for n in range(6)]
    for kind, members in (("caption", pictures), ("video", films)):
        texts = [(f"{n}.txt", sentence(n).encode()) for n in range(len(members))]
        write_tar(folder / kind / "0.tar", [each for pair in zip(members, texts) for each in pair])
    write_tar(folder / "audio" / "0.tar", clips(range(12)) + [("bad.wav", cut(WAV)), ("bad.txt", b"cut")])
    write_jsonl(folder / "text" / "0.jsonl", [sentence(n, 40) for n in range(30)])
    out = folder / "corpus"
    prepare([(kind, folder / kind) for kind in ("caption", "audio", "video", "text")], out, context=160, image_size=32, patch=8,
            vocab_size=300, validation=0.2, max_rejects=0.1, processes=1, progress=False)
    return store.open(out)


def test_prepare_all_four(everything):
    assert (everything.audio_dim, everything.video_dim) == (sound.AUDIO_DIM, film.dim(8))
    report = everything.report["sources"]
    assert report["audio"]["bytes_per_token"]["audio"] == sound.RAW_BYTES
    assert report["video"]["bytes_per_token"]["video"] == film.dim(8) and report["video"]["tokens_per_video"] == 64
    assert report["audio"]["rejected"]["audio is cut: the mark of its end is missing"]["first"] == ["0.tar:bad"]
    assert "audio is cut" in report_table(everything.report)
    batch = collate([everything.sources["audio"].train[0], everything.sources["video"].train[0]])
    assert batch["audio"].shape[-1] == sound.AUDIO_DIM and batch["video"].shape[-1] == film.dim(8)
    assert set(batch["modality"].unique().tolist()) == {0, 2, 3}
    assert samples_html(everything).count("<img alt=") >= 9
    assert everything.raw_bytes == {"image": 192.0, "audio": sound.RAW_BYTES, "video": film.dim(8)}


def test_a_tokenizer_gets_the_markers_it_lacks(everything):
    assert everything.tokenizer.decode([everything.tokenizer.marker("audio")]) == "<|audio|>"
    assert everything.tokenizer.with_markers(("audio", "video")) is everything.tokenizer
    plain = Tokenizer.train(["a b c"], 259)
    assert plain.markers["video"] is None and plain.with_markers(("video",)).vocab_size == plain.vocab_size + 1
