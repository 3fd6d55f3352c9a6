"""Pictures of a corpus: images with captions, patches in their order, packed sequences, tails of distributions."""

import base64
import html
import io
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
from IPython.display import HTML
from PIL import Image

TEXT, IMAGE, PADDING = "text", "image", "padding"
KINDS = ["caption", "interleaved", "text"]

_GALLERY = (
    '<div style="display:flex;flex-wrap:wrap;gap:1.1em 1.2em;margin:.6em 0">{}</div>'
)
_FRAME = (
    '<div style="flex:0 1 8.6em;line-height:1.35;font-size:.88rem;text-align:left;hyphens:none">'
    '<img alt="{alt}" src="{uri}" style="width:8.6em;max-width:100%;border-radius:4px;display:block">'
    '<div style="margin:.4em 0 0;overflow-wrap:anywhere">{caption}</div></div>'
)


def png_uri(pixels: np.ndarray) -> str:
    """RGB pixels, (height, width, 3) uint8, as the address of a small PNG picture."""
    with io.BytesIO() as file:
        Image.fromarray(pixels).quantize(64).save(file, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def gallery(pictures: Sequence[np.ndarray], captions: Sequence[str]) -> HTML:
    """Pictures in rows, each with its caption under it.

    Args:
        pictures: RGB pixels, each (height, width, 3) uint8.
        captions: as many plain texts; a line break starts a new line.
    Raises:
        ValueError: not as many captions as pictures.
    """
    if len(pictures) != len(captions):
        raise ValueError(f"a gallery needs one caption a picture: got {len(captions)} captions and {len(pictures)} pictures")
    frames = [
        _FRAME.format(uri=png_uri(pixels), caption=html.escape(text).replace("\n", "<br>"), alt=html.escape(text, quote=True))
        for pixels, text in zip(pictures, captions)
    ]
    return HTML(_GALLERY.format("".join(frames)))


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


def packing(table: pd.DataFrame) -> alt.LayerChart:
    """Packed sequences as bars, text and image in colour, walls between documents.

    Args:
        table: rows of `strips` with the column `sequence`, its name.
    """
    names = table["sequence"].drop_duplicates().tolist()
    table = table.assign(named=table["document"] + 1)
    x = alt.X("start:Q", title="position in the sequence [tokens]", scale=alt.Scale(domain=[0, int(table["end"].max())], nice=False))
    bars = alt.Chart(table).mark_bar(height={"band": 0.72}).encode(
        x, alt.X2("end"), alt.Y("sequence:N", sort=names, title=None),
        alt.Color("modality:N", title=None, scale=alt.Scale(domain=[name for name in (TEXT, IMAGE, PADDING) if name in set(table["modality"])]), legend=alt.Legend(orient="top")),
        tooltip=["sequence", alt.Tooltip("named:Q", title="document"), "modality", "start", "end"],
    )
    first = table[table["document"] >= 0].groupby(["sequence", "document"], as_index=False)["start"].min()
    walls = alt.Chart(first[first["start"] > 0]).mark_tick(color="currentColor", opacity=1, thickness=2.5, bandSize=30).encode(
        x, alt.Y("sequence:N", sort=names)
    )
    return alt.layer(bars, walls).properties(height=34 * len(names))


def tail(table: pd.DataFrame, x: str, y: str, x_title: str, y_title: str) -> alt.Chart:
    """A line on two logarithmic axes.

    Args:
        table: columns `x` and `y`, both positive.
        x, y, x_title, y_title: names of the columns, and titles with units.
    """
    return alt.Chart(table).mark_line().encode(
        alt.X(f"{x}:Q", title=x_title, scale=alt.Scale(type="log", nice=False), axis=alt.Axis(format="~s", tickCount=5)),
        alt.Y(f"{y}:Q", title=y_title, scale=alt.Scale(type="log", nice=False), axis=alt.Axis(format=".0e", tickCount=5)),
        tooltip=[alt.Tooltip(f"{x}:Q", format=",.0f", title=x_title), alt.Tooltip(f"{y}:Q", format=".2e", title=y_title)],
    )


def shares(table: pd.DataFrame) -> alt.LayerChart:
    """Share of training tokens by data type, text and image apart, with a mark at what the mixture asks for.

    Args:
        table: columns kind, modality, share and asked (of the data type), shares between 0 and 1.
    """
    order = [kind for kind in KINDS if kind in set(table["kind"])] + sorted(set(table["kind"]) - set(KINDS))
    x = {"title": "share of training tokens", "axis": alt.Axis(format=".0%"), "scale": alt.Scale(domainMin=0)}
    bars = alt.Chart(table).mark_bar(height={"band": 0.6}).encode(
        alt.X("share:Q", stack="zero", **x), alt.Y("kind:N", sort=order, title=None),
        alt.Color("modality:N", title=None, scale=alt.Scale(domain=[TEXT, IMAGE]), legend=alt.Legend(orient="top")),
        tooltip=["kind", "modality", alt.Tooltip("share:Q", format=".2%"), alt.Tooltip("asked:Q", format=".0%")],
    )
    asked = alt.Chart(table.drop_duplicates("kind")).mark_tick(color="currentColor", opacity=1, thickness=2.5, bandSize=44).encode(
        alt.X("asked:Q", **x), alt.Y("kind:N", sort=order), tooltip=["kind", alt.Tooltip("asked:Q", format=".0%", title="asked for")]
    )
    return alt.layer(bars, asked).properties(height=56 * len(order))
