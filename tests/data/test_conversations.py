"""Conversation files in LLaVA's form: what is read, and what is refused."""

import io
import json
import re

import pytest
from PIL import Image

from nmm.data.batches.loader import IGNORE, collate
from nmm.data.batches.turns import answers_only
from nmm.data.corpus import store
from nmm.data.corpus.prepare import prepare


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
