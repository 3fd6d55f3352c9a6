"""Diagrams of architectures as SVG, with the sizes of a configuration written into them."""

import html
from dataclasses import dataclass

from IPython.display import HTML

from nmm.architectures import EarlyFusionConfig
from nmm.charts.theme import CATEGORY
from nmm.flops import count
from nmm.tables import short

TEXT, IMAGE, BOTH = CATEGORY[0], CATEGORY[1], "currentColor"     # the colours of the modalities in every chart
WIDTH, BOX = 330, 44                                            # of a drawing, and the height of a box [px]


@dataclass(frozen=True)
class _Box:
    """One box: where its middle is, what stands in it."""

    x: float
    y: float
    width: float
    title: str
    note: str = ""
    colour: str = BOTH

    def svg(self) -> str:
        opacity = 0.06 if self.colour == BOTH else 0.2
        lines = [(self.title, "font-weight='600'", -7 if self.note else 0), (self.note, "font-size='11.5' opacity='.8'", 10)]
        text = "".join(
            f"<text x='{self.x}' y='{self.y + dy}' {style} text-anchor='middle' dominant-baseline='central'>{html.escape(line)}</text>"
            for line, style, dy in lines if line
        )
        return (
            f"<rect x='{self.x - self.width / 2}' y='{self.y - BOX / 2}' width='{self.width}' height='{BOX}' rx='7' fill='{self.colour}' "
            f"fill-opacity='{opacity}' stroke='{self.colour}' stroke-opacity='.75'/>{text}"
        )


def early_fusion(config: EarlyFusionConfig) -> HTML:
    """The early-fusion decoder, read from the bottom to the top, and one of its blocks, with the weights of each part.

    Args:
        config: a model that reads images.
    Raises:
        ValueError: `patch_dim` is 0, so that nothing is fused.
    """
    if not config.patch_dim:
        raise ValueError("the diagram shows how text and images meet, and this model has patch_dim = 0: give one that reads images")
    d, counts = config.d_model, count(config)
    left, middle, right = 82, WIDTH / 2, WIDTH - 82
    whole = [
        _Box(left, 440, 150, "text", "token ids", TEXT),
        _Box(right, 440, 150, "image", f"patches of {config.patch_dim} numbers", IMAGE),
        _Box(left, 360, 150, "embedding", f"{config.vocab_size:,} × {d:,}: {short(counts.embedding)}", TEXT),
        _Box(right, 360, 150, "patch projection", f"{config.patch_dim} × {d:,}: {short(counts.patch_projection)}", IMAGE),
        _Box(middle, 270, 240, "one packed sequence", f"every position a vector of {d:,}"),
        _Box(middle, 190, 240, f"{config.n_layers} decoder blocks", f"{short(counts.blocks)} weights"),
        _Box(middle, 110, 240, "RMSNorm, output embedding", f"{d:,} × {config.vocab_size:,}: {short(counts.unembedding)}"),
        _Box(middle, 30, 240, "next text token", "cross-entropy, on text positions only", TEXT),
    ]
    arrows = [(left, 418, left, 382), (right, 418, right, 382), (left, 338, 120, 292), (right, 338, WIDTH - 120, 292)]
    arrows += [(middle, y, middle, y - 36) for y in (248, 168, 88)]
    return _page(_drawing(whole, arrows, 470, "the model"), _block(config))


def _block(config: EarlyFusionConfig) -> str:
    d, h, inner = config.d_model, config.d_hidden, 190
    boxes = [
        _Box(inner, 400, 190, "RMSNorm"),
        _Box(inner, 330, 250, f"attention: {config.n_heads} heads of {config.head_dim}", f"QK-norm, RoPE, mask: {short(4 * d * d)} weights"),
        _Box(inner, 175, 190, "RMSNorm"),
        _Box(inner, 105, 250, f"SwiGLU: {d:,} → {h:,} → {d:,}", f"{short(3 * d * h)} weights"),
    ]
    stream = 30      # x of the residual stream
    arrows = [(stream, 470, stream, 14), (inner, 378, inner, 352), (inner, 153, inner, 127)]
    paths = ""
    for start, top, entry in ((440, 268, 422), (215, 43, 197)):
        paths += f"<path d='M{stream} {start} H{inner} V{entry}' fill='none' stroke='currentColor' stroke-opacity='.75' marker-end='url(#tip)'/>"
        leave = 308 if start > 300 else 83
        paths += f"<path d='M{inner} {leave} V{top} H{stream + 12}' fill='none' stroke='currentColor' stroke-opacity='.75' marker-end='url(#tip)'/>"
        paths += (f"<circle cx='{stream}' cy='{top}' r='10' fill='none' stroke='currentColor'/>"
                  f"<path d='M{stream - 6} {top} h12' stroke='currentColor'/>")
    return _drawing(boxes, arrows, 470, "one block", paths)


def _drawing(boxes: list[_Box], arrows: list[tuple[float, float, float, float]], height: int, name: str, extra: str = "") -> str:
    lines = "".join(
        f"<line x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}' stroke='currentColor' stroke-opacity='.75' marker-end='url(#tip)'/>" for x1, y1, x2, y2 in arrows
    )
    tip = ("<defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='8' markerHeight='8' orient='auto'>"
           "<path d='M0 0 L8 4 L0 8 z' fill='currentColor'/></marker></defs>")
    drawn = "".join(box.svg() for box in boxes)
    return (
        f"<div style='flex:0 1 {WIDTH}px'><div style='font-weight:600;margin-bottom:.4em'>{name}</div>"
        f"<svg role='img' aria-label='{name}' viewBox='0 0 {WIDTH} {height}' style='width:100%;height:auto;font-size:13.5px' fill='currentColor'>"
        f"{tip}{lines}{extra}{drawn}</svg></div>"
    )


def _page(*drawings: str) -> HTML:
    return HTML(f"<div style='display:flex;flex-wrap:wrap;gap:1.5em 2.5em;margin:.6em 0'>{''.join(drawings)}</div>")
