"""Conversation files in LLaVA's form: what is read, and what is refused."""

import io
import json
import re
import tarfile
from dataclasses import replace

import pytest
from PIL import Image

from nmm.data.batches.loader import IGNORE, collate
from nmm.data.batches.turns import answers_only
from nmm.data.corpus import store
from nmm.data.corpus.prepare import prepare
from nmm.models.answering import Answering
from nmm.studies import Arm, find_study
from nmm.training.run import train


def jpeg(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(file, "JPEG")
    return file.getvalue()


def conversation(number: int, *turns: str, **more) -> dict:
    said = [{"from": ("human", "gpt")[place % 2], "value": value} for place, value in enumerate(turns)]
    return {"id": str(number), "conversations": said, **more}


COLOURS = ("red", "green", "blue", "white")
GOOD = [conversation(n, "<image>\nWhich colour is it?", f"It is {COLOURS[n % 4]}.", "Is it round?", "No.", image=f"{COLOURS[n % 4]}.jpg")
        for n in range(12)] + [conversation(12, "Say hello.", "Hello.")]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for colour in COLOURS:
        (tmp_path / "images" / f"{colour}.jpg").write_bytes(jpeg(colour))
    (tmp_path / "README.txt").write_text("not data")
    return tmp_path


def prepared(folder, items, **settings):
    (folder / "talk.json").write_text(json.dumps(items, indent=1))
    out = folder.parent / f"{folder.name}-corpus"
    shape = {"image_size": 16, "patch": 8, "context": 64, "vocab_size": 300, "validation": 0.3, **settings}
    prepare([("conversation", folder)], out, processes=1, progress=False, **shape)
    return store.open(out)


def test_questions_are_read_and_answers_are_targets(folder):
    corpus = prepared(folder, GOOD)
    told = corpus.description["sources"]["conversation"]
    assert sum(told[split]["documents"] for split in store.SPLITS) == 13 and sum(told[split]["images"] for split in store.SPLITS) == 12
    batch = collate([corpus.sources["conversation"].train[0]])
    labels = answers_only(batch, corpus.tokenizer.end)
    said = corpus.tokenizer.decode(labels[labels != IGNORE].tolist()).split("<|endofdocument|>")[:-1]
    assert said and set(said) <= {"It is red.", "It is green.", "It is blue.", "It is white.", "No.", "Hello."}


def test_one_a_line_is_the_same(folder):
    (folder / "talk.jsonl").write_text("\n".join(map(json.dumps, GOOD)))
    out = folder.parent / "lines"
    prepare([("conversation", folder)], out, processes=1, progress=False, image_size=16, patch=8, context=64, vocab_size=300)
    assert store.open(out).description["sources"]["conversation"]["train"]["documents"] > 8


@pytest.mark.parametrize(("item", "message"), [
    (conversation(7, "<image> What?", "A disc."), r"conversation 2 \(id 7\) means 1 images .* and names 0: give as many names"),
    (conversation(7, "<image> What?", "A disc.", image="gone.jpg"), "conversation 2 .* has the image 'gone.jpg': missing image file in"),
    (conversation(7, "<image> What?", "A disc.", image=["red.jpg", "blue.jpg"]), "means 1 images .* and names 2"),
    (conversation(7, "What?"), "has no `conversations` of a question and an answer"),
    (conversation(7, "What?", " "), "has at turn 2 nothing said by 'gpt': write it"),
    ({"conversations": [{"from": "gpt", "value": "Hi"}, {"from": "human", "value": "Hi"}]}, "has at turn 1 .* where 'human' should say"),
    ("Hi", "has no `conversations`"),
    (conversation(7, "<image> Tell me.", "So " * 80, image="red.jpg"),
     r"\(id 7\) takes \d+ tokens, its answers and image among them, and the context has 64: shorten its turns, or give a longer context"),
])
def test_what_is_wrong_is_named(folder, item, message):
    with pytest.raises(ValueError, match=message):
        prepared(folder, [GOOD[0], item, *GOOD[2:]])


def test_a_file_that_is_no_json(folder):
    (folder / "talk.json").write_text("[{")
    with pytest.raises(ValueError, match=f"{re.escape(str(folder))}/talk.json: is no JSON"):
        prepare([("conversation", folder)], folder.parent / "out", processes=1, progress=False, image_size=16, patch=8)


def test_a_model_learns_the_names_of_real_pictures(real_mini, tmp_path, one_thread):
    """A few emoji and their names, asked for as a user of LLaVA's files would: after finetuning on them it names those it was told."""
    pictures = {}
    with tarfile.open(next(real_mini.glob("image_caption/*.tar"))) as archive:
        for member in archive.getmembers():
            key, _, ending = member.name.rpartition(".")
            pictures.setdefault(key, {})[ending] = archive.extractfile(member).read()
    some = [(key, found) for key, found in sorted(pictures.items()) if {"jpg", "txt"} <= found.keys()][:24]
    (tmp_path / "talk" / "images").mkdir(parents=True)
    for key, found in some:
        (tmp_path / "talk" / "images" / f"{key}.jpg").write_bytes(found["jpg"])
    items = [conversation(n, "<image>\nWhat is this?", found["txt"].decode(), image=f"{key}.jpg") for n, (key, found) in enumerate(some)]
    (tmp_path / "talk" / "talk.json").write_text(json.dumps(items))
    prepare([("conversation", tmp_path / "talk")], tmp_path / "out", processes=1, progress=False, image_size=32, patch=8, context=64,
            vocab_size=400, validation=0.1)
    corpus = store.open(tmp_path / "out")
    study = replace(find_study("smoke"), name="real", widths=(32,), budgets=(120_000,), warmup_tokens=4_000, max_epochs=500,
                    validation_sequences=2, mixtures={"talk": {"conversation": 1.0}}, arms=(Arm(name="early fusion", objective="answers"),))
    (run,) = study.grid(corpus).values()
    record = train(run, corpus, save_weights=tmp_path / "model.safetensors")
    assert record.status == "finished" and record.metrics["exact"].keys() == {"conversation"} and record.answered is None
    asked = Answering.load(tmp_path / "model.safetensors", corpus)
    names = [found["txt"].decode() for _, found in some]
    right = [asked.answer(found["jpg"], "What is this?", names) == name for (_, found), name in zip(some, names, strict=True)]
    assert sum(right) > len(right) / 3, f"{sum(right)} of {len(right)} were named, a guess names one"
