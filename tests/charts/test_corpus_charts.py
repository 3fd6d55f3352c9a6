"""Pictures of a corpus: images keep their pixels, patches their order, packed sequences their parts."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nmm.charts import corpus as draw
from nmm.data.generated import world as generated


@pytest.fixture(scope="module")
def scene() -> bytes:
    return next(generated.World().documents("caption", 1, 0)).segments[0].data


def pixels_of(uri: str) -> np.ndarray:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        return np.asarray(picture.convert("RGB"))


def test_a_picture_survives_its_way_into_the_page():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2], pixels[2:] = (250, 10, 10), (10, 10, 250)
    assert np.array_equal(pixels_of(draw.png_uri(pixels)), pixels)


def test_a_gallery_escapes_captions_and_wants_one_each():
    pixels = np.zeros((4, 4, 3), np.uint8)
    page = draw.gallery([pixels], ['<b>"bold"</b>\nnext']).data
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "<br>next" in page
    with pytest.raises(ValueError, match="2 captions and 1 pictures"):
        draw.gallery([pixels], ["one", "two"])


@pytest.mark.parametrize("order", ["column", "row"])
def test_patches_are_numbered_in_the_order_they_are_read(scene, order):
    image = generated.picture(scene)
    chart = draw.patch_order(image, generated.PATCH, order).to_dict()
    rows = next(iter(chart["datasets"].values()))
    assert sorted(row["position"] for row in rows) == list(range(1, generated.PATCHES_PER_IMAGE + 1))
    for row in rows:
        first, second = (row["column"], row["row"]) if order == "column" else (row["row"], row["column"])
        assert row["position"] == (first - 1) * generated.GRID + second


def test_the_first_object_is_among_the_first_patches_in_column_order(scene):
    rows = next(iter(draw.patch_order(generated.picture(scene), generated.PATCH, "column").to_dict()["datasets"].values()))
    filled = [row["position"] for row in rows if len(np.unique(pixels_of(row["uri"]).reshape(-1, 3), axis=0)) > 1]
    patches = generated.render([scene])[0]
    assert sorted(filled) == (np.flatnonzero(np.abs(patches).sum(1)) + 1).tolist()


@pytest.mark.parametrize(("patch", "order", "message"), [(7, "row", "patches of 7 pixels"), (8, "spiral", "spiral")])
def test_patches_that_cannot_be_drawn_are_refused(scene, patch, order, message):
    with pytest.raises(ValueError, match=message):
        draw.patch_order(generated.picture(scene), patch, order)


def test_strips_cover_a_sequence_once():
    documents = np.array([0, 0, 0, 0, 0, 1, 1, 1, -1, -1])
    found = draw.strips(documents, np.array([1]), np.array([3]))
    assert [(strip["document"], strip["modality"], strip["start"], strip["end"]) for strip in found] == [
        (0, "text", 0, 1), (0, "image", 1, 4), (0, "text", 4, 5), (1, "text", 5, 8), (-1, "padding", 8, 10),
    ]


def test_walls_stand_where_a_document_begins_but_not_at_the_left_edge():
    strips = pd.DataFrame([{"sequence": "caption 1", **strip} for strip in draw.strips(
        np.array([0, 0, 0, 1, 1, -1]), np.array([0]), np.array([2]))])
    bars, walls = draw.packing(strips).to_dict()["layer"]
    rows = draw.packing(strips).to_dict()["datasets"]
    assert [row["start"] for row in rows[walls["data"]["name"]]] == [3]
    assert bars["encoding"]["color"]["scale"]["domain"] == ["text", "image", "padding"]


def test_shares_show_what_was_asked_for_once_a_kind():
    table = pd.DataFrame({
        "kind": ["caption", "caption", "text", "text"], "modality": ["text", "image"] * 2,
        "share": [0.2, 0.3, 0.5, 0.0], "asked": [0.45, 0.45, 0.55, 0.55],
    })
    chart = draw.shares(table).to_dict()
    asked = chart["datasets"][chart["layer"][1]["data"]["name"]]
    assert [row["asked"] for row in asked] == [0.45, 0.55]


@pytest.fixture
def report() -> dict:
    """Of two sources, one without images, one with samples left out."""
    def source(text, image, **more):
        return {"documents": 10, "validation_documents": 2, "images": image // 16,
                "tokens": {"text": text, "image": image, "total": text + image},
                "tokens_per_image": 16.0 if image else None, "packing_waste": 0.02, "rejected": {},
                "bytes_per_token": {"text": 4.0, "image": 192.0 if image else None, "image_stored": 30.0 if image else None}, **more}

    bad = {"empty caption": {"count": 3, "first": ["a", "b"]}, "image is damaged": {"count": 1, "first": ["c"]}}
    return {"sources": {"dfn": source(100, 320, rejected=bad), "web": source(900, 0)}}


def test_a_report_becomes_rows_in_which_what_is_missing_is_missing(report):
    rows = draw.source_rows(report)
    assert rows.loc["dfn"].to_dict() == {"documents": 10, "held out": 2, "images": 20, "text tokens": 100, "image tokens": 320,
                                         "tokens per image": 16, "padding": 0.02}
    assert np.isnan(rows.loc["web", "tokens per image"])
    assert draw.compression_rows(report).to_dict("list") == {
        "source": ["dfn", "dfn", "dfn", "web"], "bytes of": ["text", "image, pixels", "image, file", "text"], "value": [4, 192, 30, 4]}
    assert draw.reject_rows(report).to_dict("list") == {
        "source": ["dfn", "dfn"], "reason": ["empty caption", "image is damaged"], "count": [3, 1], "first": ["a, b", "c"]}


def test_a_modality_that_a_corpus_has_not_is_no_column(report):
    report["sources"]["web"]["tokens"]["audio"] = 0
    assert [name for name in draw.source_rows(report) if name.endswith(" tokens")] == ["text tokens", "image tokens"]
    report["sources"]["web"]["tokens"]["audio"] = 64
    rows = draw.source_rows(report)
    assert rows["audio tokens"].tolist() == [0, 64]
    assert draw.token_bars(rows).to_dict()["encoding"]["color"]["scale"]["domain"] == ["text", "image", "audio"]


def test_bars_hold_every_token_and_every_sample_left_out(report):
    bars = draw.token_bars(draw.source_rows(report)).to_dict()
    assert sum(row["tokens"] for row in bars["datasets"][bars["data"]["name"]]) == 100 + 320 + 900
    chart = draw.rejects(draw.reject_rows(report)).to_dict()
    assert sum(row["count"] for row in chart["datasets"][chart["data"]["name"]]) == 4
    assert chart["encoding"]["y"]["sort"] == ["empty caption", "image is damaged"]
    assert draw.compression(draw.compression_rows(report)).to_dict()["encoding"]["x"]["scale"]["type"] == "log"
