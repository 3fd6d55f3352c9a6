"""Diagrams of architectures as SVG, with the sizes of a configuration written into them."""

import html
from dataclasses import dataclass

from IPython.display import HTML

from nmm.architectures import EarlyFusionConfig, LateFusionConfig, ModelConfig, MoEConfig
from nmm.charts.tables import short
from nmm.charts.theme import CATEGORY
from nmm.config import MODALITIES

TEXT, IMAGE = (CATEGORY[MODALITIES[name].number] for name in ("text", "image"))
BOTH = "currentColor"
WIDTH, BOX = 330, 44                                            # of a drawing, and the height of a box [px]
LEFT, MIDDLE, RIGHT = 82, WIDTH / 2, WIDTH - 82                 # x of the whole model's columns: text, both, images
STREAM, INNER = 30, 190                                         # x of a block's residual stream and of its parts
LINE = "fill='none' stroke='currentColor' stroke-opacity='.75'"
TIP = "marker-end='url(#tip)'"
SHOWN = 8                                                       # experts drawn; of more, the last stands for the rest

Arrow = tuple[float, float, float, float]       # x and y of its start, x and y of its end


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


@dataclass(frozen=True)
class _Half:
    """One half of a block, attention or feed-forward: its boxes, the arrows between them, and where it meets the stream."""

    boxes: tuple[_Box, ...]
    arrows: tuple[Arrow, ...]
    reads: float            # y at which the residual stream is read
    leaves: float           # y at which the result leaves its boxes
    adds: float             # y at which it is added to the stream
    extra: str = ""         # lines without tips, words

    def svg(self) -> str:
        return (
            f"<path d='M{STREAM} {self.reads} H{INNER} V{self.boxes[0].y + BOX / 2}' {LINE} {TIP}/>"
            f"<path d='M{INNER} {self.leaves} V{self.adds} H{STREAM + 12}' {LINE} {TIP}/>"
            f"<circle cx='{STREAM}' cy='{self.adds}' r='10' fill='none' stroke='currentColor'/>"
            f"<path d='M{STREAM - 6} {self.adds} h12' stroke='currentColor'/>{self.extra}"
        )


def early_fusion(config: EarlyFusionConfig) -> HTML:
    """The early-fusion decoder, read from the bottom to the top, and one of its blocks, with the weights of each part.

    Args:
        config: a model that reads images.
    Raises:
        ValueError: `patch_dim` is 0, so that nothing is fused.
    """
    halves = _attention(config.d_model, config.n_heads), _swiglu(config.d_model, config.d_hidden)
    return _page(_fusion(config), _block("one block", *halves))


def late_fusion(config: LateFusionConfig) -> HTML:
    """Vision encoder, connector and decoder, read from the bottom to the top, and one block of the encoder.

    Args:
        config: widths and depths of both; the decoder's blocks are those of early fusion.
    """
    counts, d = config.counts, config.d_vision
    inputs = [
        _Box(LEFT, 600, 150, "text", "token ids", TEXT),
        _Box(LEFT, 360, 150, "embedding", _matrix(config.vocab_size, config.d_model), TEXT),
        _Box(RIGHT, 600, 150, "image", f"patches of {config.patch_dim} numbers", IMAGE),
        _Box(RIGHT, 520, 150, "patch projection", _matrix(config.patch_dim, d), IMAGE),
        _Box(RIGHT, 440, 150, f"{config.n_vision_layers} encoder blocks", f"and RMSNorm: {short(counts.vision_blocks)}", IMAGE),
        _Box(RIGHT, 360, 150, "connector", _matrix(d, config.d_model), IMAGE),
    ]
    arrows = [(LEFT, 578, LEFT, 382)] + [(RIGHT, y, RIGHT, y - 36) for y in (578, 498, 418)]
    halves = _attention(d, config.n_vision_heads, mask="both ways"), _swiglu(d, config.d_vision_hidden)
    return _page(_decoder(config, inputs, arrows, 630), _block("one block of the encoder", *halves))


def mixture(config: MoEConfig) -> HTML:
    """Sparse early fusion, read from the bottom to the top, and one of its blocks with router and experts.

    Args:
        config: a model that reads images.
    Raises:
        ValueError: `patch_dim` is 0, so that nothing is fused.
    """
    return _page(_fusion(config), _block("one block", _attention(config.d_model, config.n_heads, down=40), _experts(config), height=510))


def _fusion(config: EarlyFusionConfig) -> str:
    """A model in which text and patches meet before the first block."""
    if not config.patch_dim:
        raise ValueError("the diagram shows how text and images meet, and this model has patch_dim = 0: give one that reads images")
    inputs = [
        _Box(LEFT, 440, 150, "text", "token ids", TEXT),
        _Box(RIGHT, 440, 150, "image", f"patches of {config.patch_dim} numbers", IMAGE),
        _Box(LEFT, 360, 150, "embedding", _matrix(config.vocab_size, config.d_model), TEXT),
        _Box(RIGHT, 360, 150, "patch projection", _matrix(config.patch_dim, config.d_model), IMAGE),
    ]
    return _decoder(config, inputs, [(x, 418, x, 382) for x in (LEFT, RIGHT)], 470)


def _decoder(config: ModelConfig, inputs: list[_Box], arrows: list[Arrow], height: int) -> str:
    """The decoder above its inputs, the last of which stand at y = 360."""
    counts = config.counts
    weights = f"{short(counts.blocks)} weights"
    if counts.inactive:
        weights = f"{short(counts.blocks + counts.inactive)} weights, {short(counts.blocks)} active"
    boxes = [
        _Box(MIDDLE, 270, 240, "one packed sequence", f"every position a vector of {config.d_model:,}"),
        _Box(MIDDLE, 190, 240, f"{config.n_layers} decoder blocks", weights),
        _Box(MIDDLE, 110, 240, "RMSNorm, output embedding", _matrix(config.d_model, config.vocab_size)),
        _Box(MIDDLE, 30, 240, "next text token", "cross-entropy, on text positions only", TEXT),
    ]
    meet = [(LEFT, 338, 120, 292), (RIGHT, 338, WIDTH - 120, 292)]
    up = [(MIDDLE, y, MIDDLE, y - 36) for y in (248, 168, 88)]
    return _drawing("the model", height, [*inputs, *boxes], [*arrows, *meet, *up])


def _matrix(rows: int, columns: int) -> str:
    return f"{rows:,} × {columns:,}: {short(rows * columns)}"


def _attention(d: int, heads: int, mask: str = "mask", down: float = 0) -> _Half:
    norm = _Box(INNER, 400 + down, 190, "RMSNorm")
    mixing = _Box(INNER, 330 + down, 250, f"attention: {heads} heads of {d // heads}", f"QK-norm, RoPE, {mask}: {short(4 * d * d)} weights")
    return _Half((norm, mixing), ((INNER, 378 + down, INNER, 352 + down),), reads=440 + down, leaves=308 + down, adds=268 + down)


def _swiglu(d: int, h: int) -> _Half:
    layer = _Box(INNER, 105, 250, f"SwiGLU: {d:,} → {h:,} → {d:,}", f"{short(3 * d * h)} weights")
    return _Half((_Box(INNER, 175, 190, "RMSNorm"), layer), ((INNER, 153, INNER, 127),), reads=215, leaves=83, adds=43)


def _experts(config: MoEConfig) -> _Half:
    """Norm, router and experts, each a small box; lines from the router to all of them."""
    d, h, E = config.d_model, config.expert_hidden, config.n_experts
    if config.routing == "modality":
        router = _Box(INNER, 175, 250, "routing by modality", "no weights")
        experts = [("text", TEXT), ("the rest", IMAGE)]
    else:
        router = _Box(INNER, 175, 250, f"router takes {config.top_k} of {E}", _matrix(d, E))
        experts = [(str(n + 1), BOTH) for n in range(min(E, SHOWN))]
        if E > SHOWN:
            experts[-1] = ("…", BOTH)
    room = 250 / len(experts)
    boxes = [_Box(INNER - 125 + room * (n + 0.5), 105, room - 5, name, "", colour) for n, (name, colour) in enumerate(experts)]
    ways = tuple((INNER, 153, box.x, 127) for box in boxes)
    back = "".join(f"<path d='M{box.x} 83 L{INNER} 62' {LINE}/>" for box in boxes)
    note = f"each SwiGLU {d:,} → {h:,} → {d:,}: {short(3 * d * h)}"
    words = f"<text x='{WIDTH - 4}' y='18' font-size='11.5' opacity='.8' text-anchor='end'>{html.escape(note)}</text>"
    return _Half(
        (_Box(INNER, 245, 190, "RMSNorm"), router, *boxes), ((INNER, 223, INNER, 197), *ways),
        reads=285, leaves=62, adds=45, extra=back + words,
    )


def _block(name: str, attention: _Half, ffn: _Half, height: int = 470) -> str:
    boxes, arrows = [*attention.boxes, *ffn.boxes], [*attention.arrows, *ffn.arrows, (STREAM, height, STREAM, 14)]
    return _drawing(name, height, boxes, arrows, attention.svg() + ffn.svg())


def _drawing(name: str, height: int, boxes: list[_Box], arrows: list[Arrow], extra: str = "") -> str:
    lines = "".join(
        f"<line x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}' stroke='currentColor' stroke-opacity='.75' {TIP}/>" for x1, y1, x2, y2 in arrows
    )
    tip = ("<defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='8' markerHeight='8' orient='auto'>"
           "<path d='M0 0 L8 4 L0 8 z' fill='currentColor'/></marker></defs>")
    name = html.escape(name)
    return (
        f"<div style='flex:0 1 {WIDTH}px'><div style='font-weight:600;margin-bottom:.4em'>{name}</div>"
        f"<svg role='img' aria-label='{name}' viewBox='0 0 {WIDTH} {height}'"
        " style='width:100%;height:auto;font-size:13.5px' fill='currentColor'>"
        f"{tip}{lines}{extra}{''.join(box.svg() for box in boxes)}</svg></div>"
    )


def _page(*drawings: str) -> HTML:
    return HTML(f"<div style='display:flex;flex-wrap:wrap;gap:1.5em 2.5em;margin:.6em 0'>{''.join(drawings)}</div>")
