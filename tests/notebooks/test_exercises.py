"""Exercises: the check says right or not yet, each has a solution, and the student's copies lack them."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from aasist_lib.workbook import check
from tests.notebooks.test_lint import NOTEBOOKS
from tools.student_copies import write_student_copies

SOLVED = ("05", "07")
"""Numbers of the notebooks whose exercises have a check and a solution."""


@pytest.mark.parametrize(("answer", "said"), [(None, "not yet"), (2, "not yet"), (3, "right")])
def test_an_answer_is_right_or_not_yet(answer, said, capsys):
    check(answer, lambda value: value > 2)
    assert capsys.readouterr().out == f"{said}\n"


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.name[:2] in SOLVED], ids=lambda path: path.stem)
def test_every_exercise_has_a_check_and_a_folded_solution_that_asserts(path):
    cells = nbformat.read(path, as_version=4).cells
    begun = [number for number, cell in enumerate(cells) if "exercise" in tags(cell)]
    assert len(begun) >= 3
    for number in begun:
        exercise, checked, solution = cells[number : number + 3]
        assert " = None  # " in exercise.source and "check(" in checked.source
        assert tags(solution) == ["solution"] and solution.metadata.jupyter.source_hidden
        assert solution.source.splitlines()[-1].startswith("assert ")


def test_the_student_s_copies_lack_solutions_and_nothing_else(tmp_path: Path):
    copies = write_student_copies(NOTEBOOKS[0].parent, tmp_path / "student")
    assert [copy.name for copy in copies] == [path.name for path in NOTEBOOKS]
    for copy, path in zip(copies, NOTEBOOKS, strict=True):
        whole, left = nbformat.read(path, as_version=4), nbformat.read(copy, as_version=4)
        kept = [cell.id for cell in whole.cells if "solution" not in tags(cell)]
        assert [cell.id for cell in left.cells] == kept
        assert left.metadata == whole.metadata
    assert sum(len(nbformat.read(path, as_version=4).cells) for path in copies) < sum(
        len(nbformat.read(path, as_version=4).cells) for path in NOTEBOOKS
    )
