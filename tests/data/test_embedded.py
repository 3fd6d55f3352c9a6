"""The generated corpus with all data types and at several resolutions: what is in it, as batches, counts and pictures."""

import numpy as np
import pytest

from nmm.config import GENERATED, TASKS
from nmm.data.batches.loader import IGNORE, collate, train_batches
from nmm.data.batches.mixture import Mixture
from nmm.data.batches.reading import validation_sources
from nmm.data.corpus import embedded
from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.corpus.formats import FORMATS
from nmm.data.corpus.show import report_table, samples_html
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.corpus.write import write_corpus
from nmm.data.documents import Document, Span, Text
from nmm.data.generated import audio as generated_audio
from nmm.data.generated import video as generated_video
from nmm.data.generated.surprisal import surprisal
from nmm.data.generated.world import GRIDS, LENGTHS, World, picture, render
from nmm.studies import MIXTURE
from tests.data.test_loader import equal, reference

WEIGHTS = {**MIXTURE, "audio": 0.2, "video": 0.3}


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A generated corpus with all five data types."""
    return embedded_corpus(tmp_path_factory.mktemp("everything"), tokens=40_000, weights=WEIGHTS, kinds=GENERATED)


@pytest.fixture(scope="module")
def sharp(tmp_path_factory):
    """A generated corpus with images of 4 x 4 and 8 x 8 patches."""
    return embedded_corpus(tmp_path_factory.mktemp("sharp"), tokens=40_000, weights=MIXTURE, grids=(4, 8))


def test_the_corpus_with_everything(everything, tmp_path):
    assert (everything.context, everything.vocab_size) == (176, 756 + 21 + 6)
    assert (everything.patch_dim, everything.audio_dim, everything.video_dim) == (192, 64, 384)
    assert list(everything.sources) == list(validation_sources(everything)) == list(GENERATED)
    assert everything.hash == "1742332bc75af610", "audio or video of the generated corpus changed: pin it again"
    for name, source in everything.report["sources"].items():
        assert source["packing_waste"] < (0.05 if name == "audio" else 0.01), name      # five clips leave 6 of 176 tokens
    plain = embedded_corpus(tmp_path, tokens=40_000, weights=MIXTURE)
    for task in TASKS:
        one, two = everything.sources[task].validation[0], plain.sources[task].validation[0]
        assert np.array_equal(one.tokens, two.tokens) and one.data == two.data, "what is generated depends on other data types"


def test_batches_have_every_modality_in_reading_order(everything):
    rows = [everything.sources[kind].train[k] for k in range(3) for kind in GENERATED]
    batch = collate(rows)
    names = {"image": "patches", "audio": "audio", "video": "video"}
    assert {batch[name].shape[0] for name in names.values()} == {15}
    assert [batch[name].shape[1:] for name in names.values()] == [(64, 192), (80, 64), (64, 384)]
    for k, row in enumerate(rows):
        for name, expected in reference(row).items():
            assert np.array_equal(batch[name][k].numpy(), expected), (k, name)
        modality = np.zeros(176, int)
        for name, start, length in zip(row.formats, row.starts, row.lengths):
            modality[start:start + length] = {"scene": 1, "notes": 2, "film": 3}[name]
        assert np.array_equal(batch["modality"][k].numpy(), modality)
        for number, (name, tensor) in enumerate(names.items(), 1):
            own = [FORMATS[form].decode([data], [length], row.geometry, [None]) for form, data, length
                   in zip(row.formats, row.data, row.lengths.tolist()) if FORMATS[form].modality == name]
            own = np.concatenate([np.zeros((0, batch[tensor].shape[2]), np.float32), *own])
            assert len(own) == (modality == number).sum()
            assert np.array_equal(batch[tensor][k, :len(own)].numpy(), own) and not batch[tensor][k, len(own):].any()


def test_a_batch_without_audio_has_none_of_it_and_a_corpus_without_has_no_tensor(everything, generated):
    batch = collate([everything.sources["text"].train[0]])
    assert batch["audio"].shape == (1, 0, 64) and batch["video"].shape == (1, 0, 384) and batch["patches"].shape == (1, 0, 192)
    assert not {"audio", "video"} & set(collate([generated.sources["text"].train[0]]))


def test_workers_change_nothing(everything):
    mixture = Mixture(everything, WEIGHTS, seed=0)
    plain = list(train_batches(mixture, batch_size=4, steps=8))
    assert all(map(equal, plain, train_batches(mixture, batch_size=4, steps=8, num_workers=2)))


@pytest.mark.parametrize("kind", GENERATED)
def test_entropy_is_the_mean_surprise_per_target_of_the_loader(kind, everything):
    """-log p of the words of held-out documents against the stated entropy; what is described must be without surprise."""
    world, makers = World(0), {"audio": generated_audio.Melodies, "video": generated_video.Films}
    documents = list(makers[kind](world).documents(60_000, 1) if kind in makers else world.documents(kind, 60_000, 1))
    own, stated = surprisal(world, documents), embedded.entropy(kinds=GENERATED)[kind]
    assert abs(own.mean() - stated) <= 4 * own.std() / len(own) ** 0.5, (own.mean(), stated)
    batch = collate([everything.sources[kind].train[k] for k in range(4)])
    whole = sum(int(row.max()) + 1 for row in batch["document_ids"])
    targets = {"caption": 27, "interleaved": 111, "text": 87, "audio": 17, "video": generated_video.TARGETS}[kind]
    assert int((batch["labels"] != IGNORE).sum()) == targets * whole


def test_counts_by_modality(everything):
    report = everything.report["sources"]
    audio, video = report["audio"], report["video"]
    count = audio["documents"]
    assert audio["tokens"] == {"text": 18 * count, "image": 0, "audio": 16 * count, "total": 34 * count}
    count = video["documents"]
    assert video["tokens"] == {"text": 56 * count, "image": 0, "video": 32 * count, "total": 88 * count}
    assert audio["bytes_per_token"]["audio"] == generated_audio.RAW_BYTES == 2 * 2 * generated_audio.HOP
    assert video["bytes_per_token"]["video"] == 2 * 8 * 8 * 3 and video["tokens_per_video"] == 32
    assert report["caption"]["tokens"].keys() == {"text", "image", "total"}
    text = report_table(everything.report)
    assert "audio tokens" in text and "B/video token" in text
    mixture = Mixture(everything, WEIGHTS, seed=0)
    realised = mixture.realised(200)
    for name, row in realised.items():
        assert row["tokens"] == sum(row[f"{modality}_tokens"] for modality in ("text", "image", "audio", "video"))
        assert row["share"] == pytest.approx(mixture.weights[name], abs=0.02)
    assert realised["audio"]["audio_tokens"] / realised["audio"]["tokens"] == pytest.approx(16 / 34)
    assert realised["video"]["video_tokens"] / realised["video"]["tokens"] == pytest.approx(32 / 88)
    assert realised["caption"]["audio_tokens"] == realised["audio"]["image_tokens"] == 0


def test_audio_and_video_are_drawn(everything):
    page = samples_html(everything, 1)
    assert page.count('<img alt="audio"') == page.count('<img alt="video"') == 1
    assert "<|audio|&gt;".replace("<", "&lt;") in page


def test_data_types_and_weights_are_checked(tmp_path):
    for settings, message in (
        ({"kinds": ("caption", "film")},
         "has the data types caption, interleaved, text, audio, video, and conversation: asked for caption, film"),
        ({"kinds": ()}, "asked for none"), ({"kinds": GENERATED, "weights": MIXTURE}, "each of the data types .* needs one"),
        ({"weights": {"caption": 0, "interleaved": 0, "text": 0}}, "their sum must be positive"),
        ({"grids": (4, 6)}, r"grids \(4, 6\): one or more different resolutions of \(4, 8,"), ({"grids": ()}, "grids"),
        ({"grids": (8, 8)}, "different resolutions"),
    ):
        with pytest.raises(ValueError, match=message):
            embedded_corpus(tmp_path, **{"tokens": 1000, "weights": WEIGHTS, **settings})
    with pytest.raises(ValueError, match="asked for taste"):
        embedded.entropy(kinds=("taste",))
    melody = next(generated_audio.Melodies(World(0)).documents(1, 0))
    layout = {"context": 176, "image_size": 32, "patch": 8, "validation": 1, "identity": "x"}
    with pytest.raises(ValueError, match=r"the tokenizer has no <\|audio\|>"):
        write_corpus({"a": ("audio", [melody])}, tmp_path / "a", Tokenizer(World(0).tokenizer()), **layout)
    with pytest.raises(ValueError, match="document audio-0 has audio, and the corpus is written without it: give audio_dim"):
        write_corpus({"a": ("audio", [melody])}, tmp_path / "b", Tokenizer(World(0).tokenizer(generated_audio.WORDS)), **layout)
    long = Document((Span(bytes(12), "notes", 200), Text(ids=np.arange(3))), "long")
    with pytest.raises(ValueError, match=r"source 'a': .* were rejected, .*longer than the context"):
        write_corpus({"a": ("audio", [melody, melody, long])}, tmp_path / "c", Tokenizer(World(0).tokenizer(generated_audio.WORDS)),
                     audio_dim=64, **layout)


def test_text_alone(tmp_path):
    corpus = embedded_corpus(tmp_path, tokens=20_000, weights=WEIGHTS, kinds=("text",))
    assert list(corpus.sources) == ["text"] and corpus.vocab_size == 756
    assert not Mixture(corpus, {"text": 1}, seed=0).realised(50)["text"]["image_tokens"]


# Resolutions ----------------------------------------------------------------------------------------------------------


def test_resolutions_take_turns_and_fill_the_context(sharp):
    assert sharp.geometry.sizes == (32, 64) and sharp.context == 4 * (28 + (16 + 64) // 2) == 272
    assert sharp.hash == "9f4bbda4dcbddfef", "images at several resolutions changed: pin it again"
    report = sharp.report["sources"]
    assert all(source["packing_waste"] < 0.01 for source in report.values())
    assert report["caption"]["tokens_per_image"] == pytest.approx(40, abs=0.1) and report["interleaved"]["tokens_per_image"] == 40
    assert sharp.vocab_size == 756
    batch = collate([sharp.sources["caption"].train[k] for k in range(5)])
    whole = sum(int(row.max()) + 1 for row in batch["document_ids"])
    assert int((batch["labels"] != IGNORE).sum()) == 27 * whole, "a caption says as much at every resolution"


def test_a_caption_is_a_function_of_its_image_at_every_resolution():
    """Each quarter of the columns holds one object, anywhere; colour, shape and name are read from its patch."""
    world = World(0, (4, 8, 12))
    words, filled = world.vocabulary, {}
    for k, document in zip(range(900), world.documents("caption", 10**9, 0), strict=False):
        image, said = document.segments
        grid = world.grids[k % 3]
        assert image.positions == grid * grid
        (patches,) = render([image.data], grid)
        places = np.flatnonzero(patches.any(1))
        assert (places // (grid * grid // 4)).tolist() == [0, 1, 2, 3]
        filled.setdefault(grid, set()).update((places % (grid * grid // 4)).tolist())
        low = render([b"".join(bytes([0]) + image.data[4 * n + 1:4 * n + 4] for n in range(4))])[0]
        assert np.array_equal(patches[places], low[::4]), "an object looks alike at every resolution"
        named = [words[world.first_id("name") + world.kind_name[tuple(image.data[4 * n + 1:4 * n + 4])]] for n in range(4)]
        assert [words[i] for i in said.ids[3:16:4]] == named
    assert {grid: len(cells) for grid, cells in filled.items()} == {4: 4, 8: 16, 12: 36}, "objects stand at every place"
    assert picture(image.data, 144).shape == (96, 96, 3)


def test_a_longer_corpus_begins_with_the_shorter_at_several_resolutions():
    world = World(0, (4, 8))
    short, long = (list(world.documents("interleaved", tokens, 0)) for tokens in (50_000, 300_000))
    assert [d.digest() for d in short] == [d.digest() for d in long[:len(short)]] and len(long) > 1000
    assert len(short) == -(-50_000 // world.length("interleaved")) and world.length("text") == LENGTHS["text"]


def test_resolutions_are_checked():
    with pytest.raises(ValueError, match="no scene has a resolution of 5 patches: it is one of 4, 8"):
        render([bytes(16)], 5)
    with pytest.raises(ValueError, match="cell 16 in a scene: it must be below 16"):
        render([bytes([16, 0, 0, 0] * 4)], 8)
    assert max(GRIDS)**2 // 4 <= 256, "a cell is one byte"
