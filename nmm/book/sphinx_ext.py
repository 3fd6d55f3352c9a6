"""The book's Sphinx extension: charts that need no network, failed cells that fail the build, downloads."""

import html
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.core.render import MimeData, NbElementRenderer
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

from nmm.book import assets, citing
from nmm.book.layout import DOWNLOADS
from nmm.charts import reading
from nmm.charts.theme import MIME

_LOG = logging.getLogger(__name__)
_DATA = "_data"        # the CSV files of the charts, beside the pages
_FONTS = "output/chtml/fonts/woff-v2"


class chart(nodes.General, nodes.Element):
    """A Vega-Lite chart; its children are what is shown where no script runs."""


class ChapterRenderer(NbElementRenderer):
    """MyST-NB's renderer, which knows charts and does not overlook errors."""

    def render_mime_type(self, data: MimeData) -> list[nodes.Element]:
        if data.mime_type != MIME:
            return super().render_mime_type(data)
        if not reading.is_titled(data.content):
            self.logger.warning(
                "a chart has no title: give it one that says what is shown, alt.Chart(.., title=..)", line=data.line
            )
        self.add_js_file("charts", "charts-bundle.js", {"loading_method": "defer"})
        return [chart(spec=data.content)]

    def render_error(
        self, output: NotebookNode, cell_metadata: dict[str, Any], cell_index: int, source_line: int
    ) -> list[nodes.Element]:
        # with execution off MyST-NB prints the traceback and calls the page good
        if "raises-exception" not in cell_metadata.get("tags", ()):
            self.logger.warning(f"cell {cell_index + 1} failed: {output.ename}: {output.evalue}", line=source_line)
        return super().render_error(output, cell_metadata, cell_index, source_line)


class PutPictureIntoChart(SphinxPostTransform):
    """Of a chart and its still picture, MyST-NB keeps one: make the picture a part of the chart first."""

    default_priority = 3  # before MyST-NB selects the mime type, at 4
    formats = ("html",)

    def run(self, **_kwargs: Any) -> None:
        for bundle in self.document.findall(lambda node: isinstance(node, nodes.container)):
            if bundle.get("nb_element") != "mime_bundle":
                continue
            by_type = {child["mime_type"]: child for child in bundle.children}
            if MIME in by_type and "image/png" in by_type:
                picture = by_type["image/png"]
                drawing = by_type[MIME].children[0]
                for image in picture.children:
                    image["alt"] = reading.describe(drawing["spec"])
                drawing.extend(picture.children)
                bundle.remove(picture)


def visit_chart(translator: Any, node: chart) -> None:
    """Open the box, with the specification in it as data."""
    translator.body.append(assets.chart_html(node["spec"]) + "<noscript>")


def depart_chart(translator: Any, node: chart) -> None:
    """Close the box; write the data that are drawn beside the page, and link them."""
    figure = next((above for above in _above(node) if isinstance(above, nodes.figure) and above["ids"]), None)
    number = list(translator.document.findall(chart)).index(node) + 1
    anchor = figure["ids"][0] if figure else f"chart-{number}"
    name = f"{translator.builder.current_docname}-{anchor}.csv".replace("/", "-")
    path = Path(translator.builder.outdir) / _DATA / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(reading.csv(node["spec"]), encoding="utf-8")
    up = "../" * translator.builder.current_docname.count("/")
    translator.body.append(f"</noscript></div>\n{assets.data_link(node['spec'], name, f'{up}{_DATA}/{name}')}\n")


def _above(node: nodes.Node) -> Iterator[nodes.Node]:
    while node.parent is not None:
        node = node.parent
        yield node


def write_assets(app: Sphinx, _config: Config) -> None:
    """Chart script and MathJax into the static files of the (staged) source folder."""
    static = Path(app.srcdir) / "_static"
    (static / "charts-bundle.js").write_text(assets.chart_script(static / "charts.js"), encoding="utf-8")
    (static / "mathjax" / _FONTS).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(assets.mathjax("tex-chtml-full.js"), static / "mathjax" / "tex-chtml-full.js")
    shutil.copytree(assets.mathjax(_FONTS), static / "mathjax" / _FONTS, dirs_exist_ok=True)


def add_download(app: Sphinx, pagename: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """A line under the title of every chapter: take the executed notebook along; see or edit its source."""
    download = f"{DOWNLOADS}/{pagename}.ipynb"
    if "body" not in context or not (Path(app.srcdir) / download).exists():
        return
    link = context["pathto"](download, 1)
    links = app.config.nmm_software.links(f"notebooks/{pagename}.ipynb")
    line = (
        f'<p class="download"><a href="{link}" download="{pagename}.ipynb">Download this chapter as a notebook</a>'
        + "".join(f' <a class="outside" href="{html.escape(address)}">{text}</a>' for text, address in links.items())
        + "</p>"
    )
    title, end, rest = context["body"].partition("</h1>")
    context["body"] = title + end + line + rest


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all of the above."""
    app.add_config_value("nmm_software", None, "html", [citing.Software])
    app.add_node(chart, html=(visit_chart, depart_chart))
    app.add_post_transform(PutPictureIntoChart)
    app.connect("config-inited", write_assets)
    app.connect("html-page-context", add_download)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
