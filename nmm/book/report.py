"""One self-contained HTML file from one executed chapter: nothing in it needs a network or another file."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat

from nmm.book import assets
from nmm.book.chapters import is_tagged, read_notebook
from nmm.book.citations import Bibliography
from nmm.book.execute import describe_failure
from nmm.book.labels import Label, figure_of
from nmm.book.layout import Layout
from nmm.book.myst import Prose
from nmm.book.present import carries, place_of, present
from nmm.charts import reading
from nmm.charts.theme import MIME
from nmm.data.files import write_text

# without what lets a formula carry links and styles: \href could run a script
MATHJAX = {"options": {"enableMenu": False}, "tex": {"packages": {"[-]": ["html", "require", "autoload"]}}}


def report(executed: Path, out: Path, layout: Layout) -> None:
    """Write an executed chapter as one HTML file: charts alive, formulas set, references resolved.

    Args:
        executed: a chapter that papermill or the batch driver executed, on any parameters.
        out: the file to write.
        layout: for the bibliography, the style, and the chapters that references may point to.
    Raises:
        ValueError: the chapter failed or was not executed, or something in it cannot be resolved.
        OSError: a file cannot be read or written.
    """
    notebook = read_notebook(executed)
    if failure := describe_failure(executed):
        raise ValueError(f"{executed} did not finish: {failure}")
    if not any(cell.cell_type == "code" and cell.execution_count for cell in notebook.cells):
        raise ValueError(
            f"{executed} has not been executed: run it with papermill or `python -m nmm book execute` first"
        )
    bibliography = Bibliography(layout.source / "references.bib")
    prose = Prose(executed, _chapter_name(notebook, executed), layout.notebooks, bibliography)
    present(notebook, executed.name)
    figures = iter(prose.contents.figures)
    for number, cell in enumerate(notebook.cells, 1):
        where = place_of(executed.name, number, cell)
        if cell.cell_type == "markdown":
            cell.metadata["html"] = prose.html(cell.source, where)
        elif cell.cell_type == "code":
            cell.metadata["figure"] = _figure(cell, prose, figures, where)
            name = (
                f"{_chapter_name(notebook, executed)}-{cell.metadata['figure'].get('anchor') or f'chart-{number}'}.csv"
            )
            cell.outputs = [_shown(output, name) for output in cell.outputs if not carries(output)]
            cell.metadata["transient"] = {"remove_source": is_tagged(cell, "remove-input")}  # nbconvert's own switch
            if is_tagged(cell, "remove-output"):
                cell.outputs = []
    notebook.cells = [cell for cell in notebook.cells if not is_tagged(cell, "remove-cell")]
    write_text(out, _export(notebook, prose.contents.title, bibliography.references(), layout))


def _export(notebook: nbformat.NotebookNode, title: str, references: str, layout: Layout) -> str:
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    folder = layout.source / "_report"
    exporter = HTMLExporter(template_file=str(folder / "report.html.j2"), extra_template_paths=[str(folder)])
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    page = {
        "title": title,
        "references": references,
        "style": (layout.source / "_static" / "book.css").read_text(encoding="utf-8")
        + (folder / "report.css").read_text(encoding="utf-8")
        + HtmlFormatter(style="default").get_style_defs(".highlight")
        + "@media (prefers-color-scheme: dark) {"
        + HtmlFormatter(style="github-dark").get_style_defs(".highlight")
        + "}",
    }
    body, _ = exporter.from_notebook_node(notebook, resources={"page": page})
    # the scripts are added here, as they are: a template engine has no business with megabytes of JavaScript
    scripts = []
    if 'class="math"' in body:
        mathjax = assets.mathjax("tex-svg-full.js").read_text("utf-8")
        scripts += [f"window.MathJax = {json.dumps(MATHJAX)};", mathjax]
    if 'class="chart"' in body:
        scripts.append(assets.chart_script(layout.source / "_static" / "charts.js"))
    tags = "".join(f"<script>{_inside_tag(script)}</script>\n" for script in scripts)
    head, end, tail = body.rpartition("</body>")
    return head + tags + end + tail


def _inside_tag(script: str) -> str:
    """JavaScript that can stand between script tags."""
    return re.sub(r"</(script)", r"<\\/\1", script.replace("<!--", "<\\!--"), flags=re.IGNORECASE)


def _chapter_name(notebook: nbformat.NotebookNode, executed: Path) -> str:
    """The chapter's name in the book, also where papermill wrote it to a file of another name."""
    return Path(notebook.metadata.get("papermill", {}).get("input_path") or executed).stem


def _figure(cell: nbformat.NotebookNode, prose: Prose, figures: Iterator[Label], where: str) -> dict[str, str]:
    """Anchor, number and caption of the cell's figure, for the template; empty if it makes none."""
    figure = figure_of(cell)
    if not figure:
        return {}
    label = next(figures)
    caption = prose.html(figure.get("caption", ""), f"{where}, caption")
    return {"anchor": label.anchor, "number": label.number, "caption": caption}


def _shown(output: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """The output with a chart in place of its specification, and its data to be saved under a name."""
    spec = output.get("data", {}).get(MIME)
    if spec:
        picture = output.data.get("image/png", "")
        still = (
            f'<noscript><img alt="{html.escape(reading.describe(spec))}" '
            f'src="data:image/png;base64,{picture}"></noscript>'
            if picture
            else ""
        )
        box = f"{assets.chart_html(spec)}{still}</div>{assets.data_link(spec, name)}"
        output.data = nbformat.from_dict({"text/html": box})
    return output
