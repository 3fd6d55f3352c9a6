"""Reading chapters: order, parameters, and the message for each thing that can be wrong."""

import pytest

from nmm.book.chapters import parse_values, read_chapters
from tests.book.conftest import write_chapter

PARAMETERS = 'preset: str = "laptop"  # study\nbudget: float = 1e21  # compute [FLOPs]\nruns: str = ""  # folder'


def test_a_chapter_is_read_from_its_notebook(tmp_path):
    write_chapter(tmp_path, "02_fit", PARAMETERS, "x = 1", title="The fit\n\nWhat is\nalpha?", after=["01_data"], inputs=["runs"])
    write_chapter(tmp_path, "01_data", "", "y = 2")
    first, second = read_chapters(tmp_path / "notebooks")
    assert (first.name, second.name) == ("01_data", "02_fit")
    assert (second.title, second.question) == ("The fit", "What is alpha?")
    assert second.after == ("01_data",)
    assert second.inputs == ("runs",)
    assert second.code == ("x = 1",)
    assert second.parameters["budget"].comment == "compute [FLOPs]"
    assert second.values({"budget": 2.0, "other": 1}) == {"preset": "laptop", "budget": 2.0, "runs": ""}


@pytest.mark.parametrize(("cells", "settings", "message"), [
    (["n = 3  # runs"], {}, r"line 1: 'n = 3' declares no parameter; write `name: type = literal"),
    (["n: int = 3"], {}, "parameter n has no comment"),
    (["n: int = 1 + f()  # runs"], {}, "types str, int"),
    (["n: integer = 3  # runs"], {}, "name 'integer' is not defined"),
    (["n: int = 'x'  # runs"], {}, "n must be int, got 'x'"),
    (["n: int = 3  # runs"], {"inputs": ["m"]}, "`inputs` names 'm'; the parameters are n"),
    ([""], {"after": ["09_none"]}, "`after` names '09_none'; the chapters are 01_a"),
    ([""], {"after": ["01_a"]}, "circle: 01_a -> 01_a"),
    ([""], {"before": []}, r"unknown keys \['before'\]; valid: after, inputs"),
])
def test_a_malformed_chapter_is_named(tmp_path, cells, settings, message):
    write_chapter(tmp_path, "01_a", *cells, **settings)
    with pytest.raises(ValueError, match=message):
        read_chapters(tmp_path / "notebooks")


def test_an_empty_folder_and_a_broken_file_are_named(tmp_path):
    with pytest.raises(ValueError, match="no chapter in"):
        read_chapters(tmp_path)
    (tmp_path / "01_a.ipynb").write_text("{")
    with pytest.raises(ValueError, match=r"01_a.ipynb is not a readable notebook"):
        read_chapters(tmp_path)


def test_words_of_the_command_line_become_values_of_the_declared_type(tmp_path):
    write_chapter(tmp_path, "01_a", PARAMETERS)
    chapters = read_chapters(tmp_path / "notebooks")
    assert parse_values(["runs=007", "budget=1e20"], chapters) == {"runs": "007", "budget": 1e20}
    for word, message in [("runs", "name=value"), ("bugdet=1", "unknown parameter 'bugdet': the book has"), ("budget=x", "must be float")]:
        with pytest.raises(ValueError, match=message):
            parse_values([word], chapters)
