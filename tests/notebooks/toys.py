"""A temporary project with toy notebooks, for tests of the runner and the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat import v4

PARAMETERS = 'PROFILE: str = "toy"  # profile\nSET: str = ""  # overrides'
OPEN = "from aasist_lib.workbook import open_notebook\nprofile, run = open_notebook(PROFILE, SET)"


def project(root: Path, notebooks: Sequence[str] = ("01",)) -> Path:
    """Create a project root with one profile, `configs/toy.yaml`."""
    (root / "configs").mkdir(parents=True)
    (root / "notebooks").mkdir()
    (root / "pyproject.toml").write_text('[project]\nname = "aasist-workbook"\n', encoding="utf-8")
    numbers = ", ".join(f'"{number}"' for number in notebooks)
    (root / "configs" / "toy.yaml").write_text(f"name: toy\ntitle: Toy run\nnotebooks: [{numbers}]\n", encoding="utf-8")
    return root


def notebook(root: Path, name: str, *cells: str, parameters: str | None = PARAMETERS, **promises: list[str]) -> Path:
    """Write `notebooks/<name>.ipynb`; cells that begin with '#' and a space are markdown."""
    content = v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    content.metadata["kernelspec"]["language"] = "python"
    content.metadata["aasist"] = promises
    tagged = v4.new_code_cell(parameters or PARAMETERS, metadata={"tags": ["parameters"] if parameters else []})
    content.cells = [v4.new_markdown_cell(f"# {name}"), tagged, v4.new_code_cell(OPEN)]
    for cell in cells:
        make = v4.new_markdown_cell if cell.startswith("# ") else v4.new_code_cell
        content.cells.append(make(cell))
    path = root / "notebooks" / f"{name}.ipynb"
    nbformat.write(content, path)
    return path
