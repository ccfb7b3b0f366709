"""Write copies of the notebooks without solutions and outputs, for a class: python tools/student_copies.py [FOLDER]"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat

from aasist_lib.config import project_root
from aasist_lib.runtime.files import atomic


def write_student_copies(notebooks: Path, folder: Path) -> list[Path]:
    """Write the notebooks of a folder without cells tagged `solution`, and without outputs; copies are replaced."""
    written = []
    for file in sorted(notebooks.glob("*.ipynb")):
        notebook = nbformat.read(file, as_version=4)
        notebook.cells = [cell for cell in notebook.cells if "solution" not in cell.metadata.get("tags", [])]
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        with atomic(folder / file.name) as temporary:
            nbformat.write(notebook, temporary)
        written.append(folder / file.name)
    return written


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else project_root() / "student"
    copies = write_student_copies(project_root() / "notebooks", target)
    print(f"{len(copies)} notebooks without solutions: {target}")
