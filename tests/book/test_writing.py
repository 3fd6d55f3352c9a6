"""What chapters and pages say can be done as it stands there, and lists are lists."""

import ast
import json
import re
import subprocess
import sys

import pytest

from nmm.book.chapters import read_chapters
from tests.book.conftest import REPOSITORY
from tests.book.typed import texts

PAGES = [*sorted((REPOSITORY / "notebooks").glob("*.ipynb")), *(REPOSITORY / name for name in (
    "README.md", "CONTRIBUTING.md", "book/README.md", "book/index.md", "book/glossary.md"))]
CHAPTERS = {chapter.name: chapter for chapter in read_chapters(REPOSITORY / "notebooks")}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_an_outline_has_an_item_a_line(path):
    for cell, text in texts(path):
        assert not (run_in := re.search(r"^1\. .*[.?] 2\. .*", text, re.MULTILINE)), f"{path.name}, {cell}: break the line: {run_in[0]}"


def test_no_two_chapters_hold_the_same_code():
    seen: dict[str, str] = {}
    for name, chapter in CHAPTERS.items():
        own = {ast.unparse(statement) for code in chapter.code for statement in ast.parse(code).body}
        for text in own:
            if len(text) > 100 and not text.startswith(("if ", "import ", "from ", "chapter.say")):
                assert text not in seen, f"{name} and {seen[text]} both hold this; give it a place in nmm: {text}"
                seen[text] = name


def test_a_figure_shows_one_thing():
    """A second output of the cell would be a second figure of the same name, and the book would not render."""
    for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if "figure" in cell["metadata"].get("mystnb", {}):
                shown = len(re.findall(r"^\s*display\(", "".join(cell["source"]), re.MULTILINE))
                assert shown <= 1, f"{path.name}, {cell['id']}: {shown} outputs of one figure: show the others in cells of their own"


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_a_chapter_reads_counts_as_its_input(name):
    """Else new records would leave an old page."""
    chapter = CHAPTERS[name]
    read = {parameter for parameter, one in chapter.parameters.items() if re.search(r"\[(folder|file)\]", one.comment)}
    assert read <= set(chapter.inputs), f"metadata `inputs` of {name} lacks {', '.join(sorted(read - set(chapter.inputs)))}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_command_sets_parameters_that_its_chapter_has(path):
    for cell, text in texts(path):
        for name, words in re.findall(r"papermill notebooks/(\w+)\.ipynb([^`\n|]*)", text):
            for parameter in re.findall(r"-p (\w+)", words):
                assert parameter in CHAPTERS[name].parameters, f"{path.name}, {cell}: {name} has no parameter {parameter}"


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_uses_names_that_there_are_and_imports_none_for_nothing(name, tmp_path):
    file = tmp_path / f"{name}.py"
    file.write_text("\n\n".join(CHAPTERS[name].code), encoding="utf-8")
    given = json.dumps(["display", *CHAPTERS[name].parameters])
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F401,F821", "--config", f"builtins={given}"]
    found = subprocess.run([*ruff, str(file)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
