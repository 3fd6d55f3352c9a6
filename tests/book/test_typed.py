"""No number in a sentence is typed: it is computed, cited, part of a formula, or listed with a reason."""

from pathlib import Path

import pytest

from nmm import paper
from nmm.config import TASKS
from nmm.studies import MIXTURE
from tests.book.conftest import REPOSITORY
from tests.book.typed import texts, typed

EXCEPTIONS = [line.split(" | ") for line in (Path(__file__).parent / "typed_exceptions.txt").read_text("utf-8").splitlines()
              if not line.startswith("#")]


@pytest.mark.parametrize(("text", "found"), [
    ("The model has 16 features.", ["16"]),
    ("The models are thousands of times smaller, at half the cost.", ["thousands", "half"]),
    ("The paper has 457 of them; a 275M model has not.", ["457", "275M"]),
    ("The widths 800 to 3232 are {cite:t}`shukor2025nmm`'s.", []),
    ("Table 6 prints 468M. So it says 468M.", ["468M"]),
    ("It is {{share:.0f}} %, as $3 N$ and `x = 4` and {eq}`law-2` say.", []),
    ("## The 7 laws\n\n1. First. 2. Second.\n\n```{math}\n:label: a\nx = 5\n```\n", []),
    ("## The 7 laws\n\nThey hold 9 times of ten.", ["9", "ten"]),
    ("```{image} a.png\n:alt: 5 lines\n```\n\nOver two decades the two of them hold.", ["two"]),
    ("**Exercises.** (1) Do this. (2) Do that 3 times.", ["3"]),
])
def test_a_typed_number_is_found_and_nothing_else(text, found):
    assert [number for number, _ in typed(text)] == found


def test_chapters_hold_no_typed_number_and_exceptions_are_needed():
    bad, needed = [], set()
    book = REPOSITORY / "book"
    for path in [*sorted((REPOSITORY / "notebooks").glob("*.ipynb")), book / "index.md", book / "glossary.md"]:
        for cell, text in texts(path):
            for number, sentence in typed(text):
                allowed = [phrase for phrase, _ in EXCEPTIONS if number in phrase and phrase in sentence]
                needed.update(allowed)
                bad += [] if allowed else [f"{path.name}, {cell}: {number!r} in: {sentence}"]
    assert not bad, "\n".join(["compute it ({{name:.2f}}), cite it in its sentence, or list it in typed_exceptions.txt:", *bad])
    assert needed == {phrase for phrase, _ in EXCEPTIONS}, "no chapter holds these any more: take them from the list"


def test_exceptions_have_a_reason_and_hold():
    assert all(len(entry) == 2 and entry[1].strip() for entry in EXCEPTIONS)
    assert len(TASKS) == 3, "the list says that there are three data types"
    assert MIXTURE == {"caption": 0.45, "interleaved": 0.45, "text": 0.1}
    assert [end.value for end in paper.SEARCHED_TOKENS] == [10e9, 600e9]
    assert paper.SEARCHED_TOKENS[1].value == 1.5 * paper.MOST_TOKENS["early"].value
    assert [list(paper.SIZES["early"])[end] for end in (0, -1)] == ["275M", "3.35B"]
