"""Rules for every notebook: readable, parametrised, without outputs, with the heavy work in the library."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGEST_CELL, LONGEST_DEF, BY_HAND = 30, 8, 25
PARAMETER = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*): (?P<type>\w+) = (?P<value>.+?)  # (?P<help>\S.*)")


def parameters_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the cells tagged 'parameters'."""
    return [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]


def tree_of(source: str) -> ast.Module:
    """Return the syntax tree of a cell, without its magic lines."""
    return ast.parse("\n".join("pass" if re.match(r"\s*[%!]", line) else line for line in source.splitlines()))


def problems(notebook: NotebookNode) -> list[str]:
    """List the rule violations, one sentence each."""
    return [*_form(notebook), *_parameters(notebook), *_prose(notebook), *_code(notebook)]


def _form(notebook: NotebookNode):
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the kernelspec is not python3"
    if "papermill" in notebook.metadata or any("papermill" in cell.metadata for cell in notebook.cells):
        yield "papermill metadata is present"
    if "widgets" in notebook.metadata:
        yield "widget state is present"
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None):
            yield f"cell {number} has outputs or an execution count: run nbstripout notebooks/*.ipynb"


def _parameters(notebook: NotebookNode):
    cells = parameters_cells(notebook)
    if len(cells) != 1:
        yield f"{len(cells)} cells are tagged 'parameters', not one"
        return
    seen = set()
    for line in filter(str.strip, cells[0].source.splitlines()):
        found = PARAMETER.fullmatch(line)
        if not found:
            yield f"the parameter {line!r} is not of the form NAME: type = literal  # help"
            continue
        seen.add(found["name"])
        try:
            value = ast.literal_eval(found["value"])
        except ValueError:
            yield f"the parameter {found['name']} is derived, not a literal"
            continue
        if type(value).__name__ != found["type"]:
            yield f"the parameter {found['name']} is a {type(value).__name__}, not a {found['type']}"
    if missing := {"PROFILE", "SET"} - seen:
        yield f"the parameters cell lacks {', '.join(sorted(missing))}"


def _prose(notebook: NotebookNode):
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not first.source.startswith("# "):
        yield "the first cell does not begin with a heading of level 1"
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for heading in ("Check", "Try it", "Next"):
        if not re.search(rf"^##+ {heading}\b", text, re.MULTILINE):
            yield f"there is no heading '{heading}'"
    if "papermill" not in text:
        yield "the papermill command that reruns it is missing"
    if not isinstance(notebook.metadata.get("aasist", {}).get("artefacts"), list):
        yield "its metadata promises no artefacts"


def _code(notebook: NotebookNode):
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        tree, lines = tree_of(cell.source), len(cell.source.splitlines())
        if "by-hand" in cell.metadata.get("tags", []):  # it defines what it teaches, and compares it with the library
            if lines > BY_HAND:
                yield f"cell {number}, by hand, has more than {BY_HAND} lines"
            if not any(isinstance(node, ast.Assert) for node in tree.body[-1:]):
                yield f"cell {number}, by hand, does not end in an assertion that the library does the same"
            continue
        if lines > LONGEST_CELL:
            yield f"cell {number} has more than {LONGEST_CELL} lines"
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                yield f"cell {number} defines the class {node.name}: it belongs in the library"
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > LONGEST_DEF:
                yield f"cell {number} defines {node.name} over more than {LONGEST_DEF} lines"
            if isinstance(node, ast.For | ast.While) and "epoch" in ast.unparse(node).splitlines()[0]:
                yield f"cell {number} loops over epochs: it belongs in the library"


def test_the_notebooks_of_the_story_are_there() -> None:
    names = {path.stem for path in NOTEBOOKS}
    assert names >= {"01_data_preparation", "03_training", "04_attention", "05_eer_analysis", "07_score_recordings"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rules(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert problems(notebook) == []


def good() -> NotebookNode:
    """Return a notebook that follows every rule."""
    make, markdown = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    parameters = 'PROFILE: str = "demo"  # a profile\nSET: str = ""  # overrides'
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel, "aasist": {"artefacts": []}})
    notebook.cells = [markdown("# Title"), make(parameters, metadata={"tags": ["parameters"]}), make("%time x = 1")]
    notebook.cells += [markdown("## Check"), markdown("## Try it"), markdown("## Next\n\n`papermill …`")]
    return notebook


def test_a_good_notebook_passes() -> None:
    assert problems(good()) == []


@pytest.mark.parametrize(
    ("index", "source", "message"),
    [
        (0, "## Title", "level 1"),
        (1, "PROFILE: str = 'demo'  # a\nSET = ''", "not of the form"),
        (1, "PROFILE: str = 'demo'  # a\nSET: str = str(1)  # b", "SET is derived"),
        (1, "PROFILE: str = 'demo'  # a\nSET: int = ''  # b", "SET is a str, not a int"),
        (1, "PROFILE: str = 'demo'  # a", "lacks SET"),
        (2, "x = 1\n" * 31, "more than 30 lines"),
        (2, "class A: pass", "the class A"),
        (2, "def f():\n" + "    x = 1\n" * 8, "over more than 8 lines"),
        (2, "for epoch in range(3):\n    pass", "loops over epochs"),
        (3, "## Checks", "no heading 'Check'"),
        (5, "## Next", "papermill command"),
    ],
)
def test_what_breaks_a_rule_is_found(index: int, source: str, message: str) -> None:
    notebook = good()
    notebook.cells[index].source = source
    assert message in " ".join(problems(notebook))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f():\n" + "    x = 1\n" * 20 + "assert f() is None", ""),
        ("for epoch in range(3):\n    pass\nassert epoch == 2", ""),
        ("x = 1\n" * 25 + "assert x", "by hand, has more than 25 lines"),
        ("assert 1\nx = 1", "does not end in an assertion"),
    ],
)
def test_a_cell_by_hand_may_define_what_it_teaches_and_ends_in_a_comparison(source: str, message: str) -> None:
    notebook = good()
    notebook.cells[2].source, notebook.cells[2].metadata.tags = source, ["by-hand"]
    found = " ".join(problems(notebook))
    assert message in found and bool(message) == bool(found)


def test_outputs_and_leftovers_are_found() -> None:
    notebook = good()
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="x")]
    notebook.metadata.kernelspec["name"] = "other"
    notebook.metadata.update(papermill={}, widgets={})
    assert len(problems(notebook)) == 4
    untagged = good()
    untagged.cells[1].metadata.tags = []
    assert problems(untagged) == ["0 cells are tagged 'parameters', not one"]
