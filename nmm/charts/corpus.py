"""Pictures of a corpus: images with captions, patches in their order, packed sequences, tails of distributions; its report."""

import base64
import html
import io
import wave
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
from IPython.display import HTML
from PIL import Image

from nmm.charts.parts import Series, log_axis, tips
from nmm.config import MODALITIES, TASKS
from nmm.data.corpus.store import Corpus
from nmm.data.sound import RATE

TEXT, IMAGE, PADDING = "text", "image", "padding"

_GALLERY = (
    '<div style="display:flex;flex-wrap:wrap;gap:1.1em 1.2em;margin:.6em 0">{}</div>'
)
_FRAME = (
    '<div style="flex:0 1 {width}em;line-height:1.35;font-size:.88rem;text-align:left;hyphens:none">'
    '<img alt="{alt}" src="{uri}" style="width:{width}em;max-width:100%;border-radius:4px;display:block">'
    '<div style="margin:.4em 0 0;overflow-wrap:anywhere">{caption}</div></div>'
)


def png_uri(pixels: np.ndarray) -> str:
    """RGB pixels, (height, width, 3) uint8, as the address of a small PNG picture."""
    with io.BytesIO() as file:
        Image.fromarray(pixels).quantize(64).save(file, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def gallery(pictures: Sequence[np.ndarray], captions: Sequence[str], width: float = 8.6) -> HTML:
    """Pictures in rows, each with its caption under it.

    Args:
        pictures: RGB pixels, each (height, width, 3) uint8.
        captions: as many plain texts; a line break starts a new line.
        width: of a picture [em].
    Raises:
        ValueError: not as many captions as pictures.
    """
    if len(pictures) != len(captions):
        raise ValueError(f"a gallery needs one caption a picture: got {len(captions)} captions and {len(pictures)} pictures")
    frames = [
        _FRAME.format(width=f"{width:g}", uri=png_uri(pixels), caption=html.escape(text).replace("\n", "<br>"),
                      alt=html.escape(text, quote=True))
        for pixels, text in zip(pictures, captions)
    ]
    return HTML(_GALLERY.format("".join(frames)))


def players(clips: Sequence[np.ndarray], captions: Sequence[str], rate: int = RATE) -> HTML:
    """Sounds that a reader can play, each with its caption above it; they are in the page, and nothing is fetched.

    Args:
        clips: 16-bit samples of one channel, each (samples,) int16.
        captions: as many plain texts.
    """
    return HTML("".join(
        f"<p>{html.escape(caption)}<br><audio controls preload=\"metadata\" src=\"{wav_uri(samples, rate)}\"></audio></p>"
        for samples, caption in zip(clips, captions, strict=True)
    ))


def wav_uri(samples: np.ndarray, rate: int = RATE) -> str:
    """16-bit samples of one channel as the address of a WAV file."""
    with io.BytesIO() as file:
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(rate)
            out.writeframes(np.ascontiguousarray(samples, "<i2").tobytes())
        return f"data:audio/wav;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def patch_order(pixels: np.ndarray, patch: int, order: str, step: int = 72) -> alt.LayerChart:
    """An image cut into patches, numbered in the order in which the model reads them.

    Args:
        pixels: (side, side, 3) uint8.
        patch: side of a patch [pixels], a divisor of `side`.
        order: "column" for column-major order, "row" for row-major.
        step: side of a patch as drawn [px].
    Raises:
        ValueError: the patches do not fill the image, or the order is unknown.
    """
    side = len(pixels)
    if side % patch:
        raise ValueError(f"patches of {patch} pixels do not fill a side of {side}")
    if order not in ("column", "row"):
        raise ValueError(f"order must be column or row: got {order!r}")
    n, zoom = side // patch, max(1, 2 * step // patch)
    rows = []
    for row in range(n):
        for column in range(n):
            cut = pixels[row * patch:(row + 1) * patch, column * patch:(column + 1) * patch].repeat(zoom, 0).repeat(zoom, 1)
            position = column * n + row if order == "column" else row * n + column
            rows.append({"row": row + 1, "column": column + 1, "position": position + 1, "uri": png_uri(cut)})
    base = alt.Chart(pd.DataFrame(rows), width=alt.Step(step), height=alt.Step(step)).encode(
        alt.X("column:O", title="column", axis=alt.Axis(labelAngle=0)), alt.Y("row:O", title="row"), tooltip=["position", "row", "column"]
    )
    number = base.encode(alt.Text("position:Q", format="d"))
    return alt.layer(
        base.mark_image(width=step - 4, height=step - 4).encode(url="uri:N"),
        # a light edge under dark ink: readable on any patch
        number.mark_text(fontSize=17, fontWeight=700, stroke="white", strokeWidth=4, strokeOpacity=0.85),
        number.mark_text(fontSize=17, fontWeight=700, color="#15181c"),
        title="The order in which the patches of an image are read",
    )


def strips(tokens: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> list[dict[str, int | str]]:
    """A packed sequence as runs of one modality in one document.

    Args:
        tokens: (L,) number of the document at each position, -1 on padding.
        starts, lengths: (M,) first position and positions of each image.
    Returns:
        Rows with the keys document, modality, start and end (exclusive) [positions].
    """
    modality = np.where(tokens >= 0, 0, 2)
    for start, length in zip(starts, lengths):
        modality[start:start + length] = 1
    edges = np.flatnonzero(np.diff(tokens) | np.diff(modality)) + 1
    return [
        {"document": int(tokens[start]), "modality": (TEXT, IMAGE, PADDING)[modality[start]], "start": int(start), "end": int(end)}
        for start, end in zip([0, *edges], [*edges, len(tokens)])
    ]


def first_sequences(corpus: Corpus, count: int = 3) -> pd.DataFrame:
    """The first packed sequences of each source, for `packing`: rows of `strips` with the column sequence."""
    rows = []
    for source in corpus.sources.values():
        for index in range(min(count, len(source.train))):
            item = source.train[index]
            rows += [{"sequence": f"{source.name} {index + 1}", **strip} for strip in strips(item.documents, item.starts, item.lengths)]
    return pd.DataFrame(rows)


def packing(table: pd.DataFrame) -> alt.LayerChart:
    """Packed sequences as bars, text and image in colour, walls between documents.

    Args:
        table: rows of `strips` with the column `sequence`, its name, as of `first_sequences`.
    """
    names = table["sequence"].drop_duplicates().tolist()
    table = table.assign(named=table["document"] + 1)
    x = alt.X("start:Q", title="position in the sequence [tokens]", scale=alt.Scale(domain=[0, int(table["end"].max())], nice=False))
    bars = _modalities(table).on(alt.Chart(table).mark_bar(height={"band": 0.72}), chooses=True).encode(
        x, alt.X2("end"), alt.Y("sequence:N", sort=names, title=None),
        tooltip=["sequence", alt.Tooltip("named:Q", title="document"), "modality", "start", "end"],
    )
    first = table[table["document"] >= 0].groupby(["sequence", "document"], as_index=False)["start"].min()
    walls = alt.Chart(first[first["start"] > 0]).mark_tick(color="currentColor", opacity=1, thickness=2.5, bandSize=30).encode(
        x, alt.Y("sequence:N", sort=names)
    )
    return alt.layer(bars, walls, title="Packed sequences, by modality").properties(height=34 * len(names))


def tail(table: pd.DataFrame, x: str, y: str, x_title: str, y_title: str) -> alt.Chart:
    """A line on two logarithmic axes.

    Args:
        table: columns `x` and `y`, both positive.
        x, y, x_title, y_title: names of the columns, and titles with units.
    """
    return alt.Chart(table, title=f"{y_title[:1].upper()}{y_title[1:]}").mark_line().encode(
        alt.X(**log_axis(x, x_title)), alt.Y(**log_axis(y, y_title, ".0e")),
        tooltip=[alt.Tooltip(f"{x}:Q", format=",.0f", title=x_title), alt.Tooltip(f"{y}:Q", format=".2e", title=y_title)],
    )


def shares(table: pd.DataFrame) -> alt.LayerChart:
    """Share of training tokens by data type, text and image apart, with a mark at what the mixture asks for.

    Args:
        table: columns kind, modality, share and asked (of the data type), shares between 0 and 1.
    """
    order = [kind for kind in TASKS if kind in set(table["kind"])] + sorted(set(table["kind"]) - set(TASKS))
    x = {"title": "share of training tokens", "axis": alt.Axis(format=".0%"), "scale": alt.Scale(domainMin=0)}
    bars = _bars(table, _modalities(table)).encode(
        alt.X("share:Q", stack="zero", **x), alt.Y("kind:N", sort=order, title=None),
        tooltip=tips("kind", "modality", share=".2%", asked=".0%"),
    )
    asked = alt.Chart(table.drop_duplicates("kind")).mark_tick(color="currentColor", opacity=1, thickness=2.5, bandSize=44).encode(
        alt.X("asked:Q", **x), alt.Y("kind:N", sort=order), tooltip=["kind", alt.Tooltip("asked:Q", format=".0%", title="asked for")]
    )
    return alt.layer(bars, asked, title="Share of training tokens by data type").properties(height=56 * len(order))


def _modalities(table: pd.DataFrame) -> Series:
    """The column `modality`: those that there are, in the usual order."""
    return Series("modality", [name for name in (*MODALITIES, PADDING) if name in set(table["modality"])])


def _bars(table: pd.DataFrame, series: Series) -> alt.Chart:
    """A bar a row of the chart, cut into the series."""
    return series.on(alt.Chart(table).mark_bar(height={"band": 0.6}), chooses=True)


def source_rows(report: dict) -> pd.DataFrame:
    """What a corpus's report says of each source: documents, images, tokens by modality, padding.

    Args:
        report: `Corpus.report`.
    Returns:
        A row a source, as numbers: documents, held out, images, a column of tokens for each modality that there is, tokens per
        image (NaN without images), and padding, the share of positions left empty.
    """
    sources = report["sources"]
    modalities = [name for name in MODALITIES if any(source["tokens"].get(name) for source in sources.values())]
    return pd.DataFrame({
        name: {
            "documents": source["documents"], "held out": source["validation_documents"], "images": source["images"],
            **{f"{modality} tokens": source["tokens"].get(modality, 0) for modality in modalities},
            "tokens per image": source["tokens_per_image"] or np.nan, "padding": source["packing_waste"],
        }
        for name, source in sources.items()
    }).T


def compression_rows(report: dict) -> pd.DataFrame:
    """Bytes that one token stands for, a row for each source and what is counted: columns source, bytes of, value [bytes/token].

    Text counts UTF-8, images RGB pixels as the model sees them and, apart, the bytes of their files.
    """
    names = {"image": "image, pixels", "image_stored": "image, file"}
    return pd.DataFrame(
        [(name, names.get(what, what), value) for name, source in report["sources"].items()
         for what, value in source["bytes_per_token"].items() if value],
        columns=["source", "bytes of", "value"],
    )


def reject_rows(report: dict) -> pd.DataFrame:
    """What was left out, a row for each source and reason: columns source, reason, count, first (names)."""
    return pd.DataFrame(
        [(name, reason, entry["count"], ", ".join(entry["first"])) for name, source in report["sources"].items()
         for reason, entry in source["rejected"].items()],
        columns=["source", "reason", "count", "first"],
    )


def token_bars(rows: pd.DataFrame) -> alt.Chart:
    """Tokens of each source as bars, modalities in colour; `rows` of `source_rows`."""
    columns = [name for name in rows if name.endswith(" tokens")]
    long = rows[columns].rename_axis("source").reset_index().melt("source", columns, "modality", "tokens")
    long["modality"] = long["modality"].str.removesuffix(" tokens")
    return _bars(long, _modalities(long)).encode(
        alt.X("tokens:Q", title="tokens", axis=alt.Axis(format="~s")), alt.Y("source:N", sort=list(rows.index), title=None),
        tooltip=tips("source", "modality", tokens=",d"),
    ).properties(height=48 * len(rows), title="Tokens of each source, by modality")


def compression(table: pd.DataFrame) -> alt.Chart:
    """Bytes per token of each source and modality on a logarithmic axis; `table` of `compression_rows`."""
    order = table["bytes of"].drop_duplicates().tolist()
    return Series.of(table, "source").points(alt.Chart(table), size=110, chooses=True).encode(
        alt.X(**log_axis("value", "bytes per token")),
        alt.Y("bytes of:N", sort=order, title=None, axis=alt.Axis(grid=True)), alt.YOffset("source:N", sort=None),
        tooltip=["source", "bytes of", alt.Tooltip("value:Q", format=".2f", title="bytes per token")],
    ).properties(height=44 * len(order), title="Bytes that one token stands for, by source")


def rejects(table: pd.DataFrame) -> alt.Chart:
    """Samples left out, a bar a reason, sources in colour; `table` of `reject_rows`."""
    totals = table.groupby("reason")["count"].sum().sort_values(ascending=False)
    order = totals.index.tolist()
    return _bars(table, Series.of(table, "source")).encode(
        alt.X("count:Q", title="samples left out", axis=alt.Axis(format="d", tickCount=int(min(6, totals.max())))),
        alt.Y("reason:N", sort=order, title=None, axis=alt.Axis(labelLimit=240)), tooltip=["source", "reason", "count", "first"],
    ).properties(height=28 * len(order), title="Samples left out, by reason")
