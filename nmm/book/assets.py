"""What a page needs to work with no network: one script that draws charts, and MathJax."""

import base64
import html
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import vl_convert

from nmm.charts import reading
from nmm.charts.theme import VEGA_LITE


def chart_script(source: Path) -> str:
    """Vega, Vega-Lite, Vega-Embed and the drawing script of the book in one piece of JavaScript.

    Args:
        source: the drawing script; it finds the libraries as `vegaEmbed`, `vega` and `vegaLite`.
    Raises:
        OSError: the script cannot be read.
    """
    bundle = vl_convert.javascript_bundle(source.read_text(encoding="utf-8"), vl_version=VEGA_LITE)
    # a function of its own: one of the bundle's top-level names, `_`, is also Sphinx's translation function
    return "(() => {" + bundle + "\n})();\n"


def mathjax(name: str) -> Path:
    """A file or folder of MathJax 3 as the wheel sphinx-mathjax-offline carries it, for example `tex-svg-full.js`.

    Raises:
        FileNotFoundError: the wheel is not installed, or has no such file.
    """
    try:
        path = Path(importlib.metadata.distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline"))
    except importlib.metadata.PackageNotFoundError as error:
        raise FileNotFoundError("sphinx-mathjax-offline is not installed: install the extra `book`") from error
    path = path / "static" / "mathjax" / name
    if not path.exists():
        raise FileNotFoundError(f"sphinx-mathjax-offline has no {name} (looked at {path})")
    return path


def chart_html(spec: dict[str, Any]) -> str:
    """The opening tag of a chart's box, with its description, and its specification; the caller closes the `div`."""
    dark = spec.get("usermeta", {}).get("dark")     # the rest of usermeta would be settings of the library that draws
    plain = {name: value for name, value in spec.items() if name != "usermeta"}
    if dark:
        plain["usermeta"] = {"dark": dark}
    # `</script>` would end the tag, and `<!--` with `<script` its closing
    data = json.dumps(plain, separators=(",", ":")).replace("<", "\\u003c")
    label = html.escape(reading.describe(spec))
    return f'<div class="chart" role="figure" aria-label="{label}"><script type="application/json">{data}</script>'


def data_link(spec: dict[str, Any], name: str, address: str | None = None) -> str:
    """The line below a chart that offers its data as CSV.

    Args:
        name: of the file that a browser saves.
        address: of a file with `reading.csv(spec)`; by default the data are in the link itself.
    """
    if address is None:
        address = "data:text/csv;charset=utf-8;base64," + base64.b64encode(reading.csv(spec).encode()).decode("ascii")
    about = html.escape(reading.title(spec) or "this chart")
    return (f'<p class="chart-data"><a href="{html.escape(address)}" download="{html.escape(name)}">'
            f'Data as CSV<span class="only-heard">: {about}</span></a></p>')
