"""Execute one notebook unattended in its own kernel.

papermill's status is not reliable: after a signal or a dead kernel it saves a notebook marked as completed. Here an execution
succeeds only if it raised no error and has no error output.
papermill and nbformat take two seconds to import, so they are imported where they are used: every notebook imports
`aasist_lib.workbook`, which needs neither.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aasist_lib.errors import AasistError
from aasist_lib.runtime.files import atomic
from aasist_lib.runtime.processes import environment


class NotebookError(AasistError, ValueError):
    """A notebook cannot be run, failed, or did not write its promised artefacts; the message says where and why."""


def parameters_of(notebook: Path) -> set[str]:
    """Return the names assigned in the notebook's cell tagged 'parameters'.

    Raises:
        NotebookError: there is no such cell, so parameters would be ignored.
    """
    import nbformat
    import papermill

    cells = nbformat.read(notebook, as_version=4).cells
    if not any("parameters" in cell.metadata.get("tags", ()) for cell in cells):
        raise NotebookError(f"{notebook.name}: no cell is tagged 'parameters', so nothing can be passed to it")
    return set(papermill.inspect_notebook(notebook))


def execute(notebook: Path, executed: Path, values: Mapping[str, str], number: str, root: Path) -> None:
    """Execute a notebook in `root` with parameter values, and save the result atomically, even if it fails.

    Its stdout lines are forwarded to the terminal, prefixed with `number`.

    Raises:
        NotebookError: a cell failed (the message has its source and traceback), or the kernel died or did not start.
    """
    import papermill
    from papermill.exceptions import PapermillException

    with tempfile.TemporaryDirectory() as scratch, environment(_settings(Path(scratch), number)):
        problem = None
        with atomic(executed) as file:
            try:
                result = papermill.execute_notebook(
                    notebook, file, dict(values), kernel_name="python3", progress_bar=False, cwd=root,
                    stdout_file=_Marked(number),
                )  # fmt: skip
                problem = next(filter(None, map(_error_output, result.cells)), None)
            except (PapermillException, RuntimeError, TimeoutError) as error:
                problem = _explain(error)
    if problem:
        raise NotebookError(problem)


def _settings(scratch: Path, number: str) -> dict[str, str]:
    """Return the kernel's environment: this interpreter, no start-up messages, plain output."""
    spec: dict[str, Any] = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]}
    spec |= {"display_name": "Python 3", "language": "python"}
    kernel, ipython = scratch / "kernels" / "python3", scratch / "ipython" / "profile_default"
    for folder in (kernel, ipython):
        folder.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    (ipython / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 50\n", encoding="utf-8")
    return {
        "AASIST_HEADLESS": "1",
        "AASIST_NOTEBOOK": number,
        "IPYTHONDIR": str(scratch / "ipython"),
        "JUPYTER_PATH": str(scratch),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        # glibc frees large blocks at once and maps them again page by page: a fifth of a training step on the CPU.
        "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    }


class _Marked:
    """A text stream that forwards a notebook's lines to the terminal, prefixed with its number."""

    def __init__(self, number: str) -> None:
        self.number, self.rest = number, ""

    def write(self, text: str) -> None:
        """Forward every complete line."""
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            print(f"  {self.number} | {line}")

    def flush(self) -> None:
        """Flush the terminal."""
        sys.stdout.flush()


def _error_output(cell: Any) -> str | None:
    for output in cell.get("outputs", ()):
        if output.output_type == "error":
            return _describe(cell.execution_count, cell.source, output.ename, output.evalue, output.traceback)
    return None


def _explain(error: Exception) -> str:
    from papermill.exceptions import PapermillExecutionError

    if isinstance(error, PapermillExecutionError):
        return _describe(error.exec_count, error.source, error.ename, error.evalue, error.traceback)
    return f"{type(error).__name__}: {error}"


def _describe(count: int, source: str, name: str, value: str, traceback: Sequence[str]) -> str:
    head = "\n".join(f"    {line}" for line in source.strip().splitlines()[:5])
    plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(traceback)).strip()
    return f"cell [{count}] failed with {name}: {value}\n{head}\n\n{plain}"
