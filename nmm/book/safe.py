"""HTML and outputs that come from outside, made harmless: what was in a file's name, a column or a stranger's notebook.

The one place where a page's HTML is cleaned. Everything that a chapter displayed passes through it, in the site as in
reports, and so does the prose of a report.
"""

import re
from typing import Any

import bleach
import nbformat
from bleach.css_sanitizer import CSSSanitizer

from nmm.charts.theme import MIME

_SHAPES = """
    svg g path line rect circle ellipse polyline polygon text tspan title desc defs marker
""".split()
_WORDS = """
    a abbr article aside audio b blockquote br caption cite code col colgroup dd del details div dl dt em figcaption
    figure footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark math nav ol p pre q s samp section small
    span strong sub summary sup table tbody td tfoot th thead tr tt u ul var
""".split()
_ANYWHERE = """
    class id style title role lang dir aria-label aria-hidden scope colspan rowspan align start open
""".split()
_DRAWING = """
    viewBox viewbox x y x1 y1 x2 y2 cx cy r rx ry d points width height transform fill fill-opacity stroke
    stroke-width stroke-opacity stroke-linecap stroke-linejoin stroke-dasharray opacity font-size font-weight
    font-style text-anchor dominant-baseline marker-end marker-start refX refY refx refy markerWidth markerHeight
    markerwidth markerheight orient
""".split()
_CSS = """
    align-items background-color border border-bottom border-collapse border-radius border-top color display flex
    flex-wrap font-family font-size font-style font-weight gap height hyphens image-rendering justify-content
    line-height margin margin-bottom margin-top max-width min-width opacity overflow-wrap overflow-x padding
    text-align vertical-align white-space width
""".split()
_SHEET = re.compile(r"<style[^<>]*>([^<]*)</style\s*>", re.IGNORECASE)
_REACHES_OUT = re.compile(r"url\s*\(|@|expression|\\|javascript", re.IGNORECASE)
_SOUNDS = "data:audio/wav;base64,"
_PICTURES = ("data:image/png;base64,", "data:image/jpeg;base64,")
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*")


def clean(body: str) -> str:
    """HTML with words, tables, pictures, drawings and sounds alone: nothing in it runs, or asks another computer for anything.

    Style sheets stay where they reach for nothing outside, as pandas writes them.
    """
    sheets = [sheet for sheet in _SHEET.findall(body) if not _REACHES_OUT.search(sheet)]
    cleaned = _CLEANER.clean(_SHEET.sub("", body))
    return "".join(f"<style>{sheet}</style>" for sheet in sheets) + cleaned


def outputs(found: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs with what is known to be harmless, and the rest left out: text, tables, pictures, formulas and charts."""
    return [_harmless(output) for output in found]


def _harmless(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    if "data" not in output or "scrapbook" in output.get("metadata", {}):
        return output
    data: dict[str, Any] = {}
    for kind, content in output.data.items():
        if kind == "text/html":
            data[kind] = clean(_joined(content))
        elif kind in ("text/plain", "text/latex", MIME):
            data[kind] = content
        elif kind in ("image/png", "image/jpeg") and _BASE64.fullmatch(_joined(content)):
            data[kind] = content
    output.data, output.metadata = nbformat.from_dict(data), nbformat.from_dict({})
    return output


def _joined(content: str | list[str]) -> str:
    return content if isinstance(content, str) else "".join(content)


def _attribute(tag: str, name: str, value: str) -> bool:
    if name in _ANYWHERE or (tag in _SHAPES and name in _DRAWING):
        return True
    if tag == "a":
        return name == "href"
    if tag == "img":
        return name in ("alt", "width", "height") or (name == "src" and value.startswith(_PICTURES))
    if tag == "audio":
        return name in ("controls", "preload") or (name == "src" and value.startswith(_SOUNDS))
    return tag in ("td", "th", "col") and name == "width"


_CLEANER = bleach.Cleaner(
    tags={*_WORDS, *_SHAPES}, attributes=_attribute, protocols={"http", "https", "mailto", "data"}, strip=True,
    css_sanitizer=CSSSanitizer(allowed_css_properties=_CSS, allowed_svg_properties=[]),
)

