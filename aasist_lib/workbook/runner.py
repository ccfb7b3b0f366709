"""Run the numbered notebooks headless, in order, with papermill; skip unchanged ones and write files atomically.

A notebook is 'ok' if it ran without an error and wrote every artefact that its metadata promises:
`{"aasist": {"artefacts": ["metrics/history.json"], "external": ["{data.root}/trials.parquet"]}}`, where `artefacts`
are in the run folder and `external` files in the project.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aasist_lib.config import ConfigError, Profile, load_profile, project_root
from aasist_lib.runtime.files import alone, sha256, table_stem
from aasist_lib.runtime.fingerprint import code, code_of_text
from aasist_lib.runtime.run_folder import RunFolder, evaluation_folder, evaluation_inputs
from aasist_lib.workbook.kernel import NotebookError, execute, parameters_of

PARAMETERS = ("PROFILE", "SET")
_SHOWS_NOTHING = (
    "aasist_lib.config",
    "aasist_lib.workbook",
    *(f"aasist_lib.runtime.{name}" for name in ("files", "fingerprint", "kept", "processes", "provenance", "signals")),
)
"""Modules that give notebook cells no values or figures; settings enter a notebook's key by value."""


def open_notebook(profile: str, overrides: str = "", number: str = "") -> tuple[Profile, RunFolder]:
    """Return the validated profile and its run folder; the first line of every notebook.

    Args:
        profile: a name in `configs/`, or a path.
        overrides: as on the command line, separated by spaces: `"training.epochs=3 seed=2"`.
        number: the notebook's number, such as '03', which its artefacts are recorded under however it is run.
    """
    if number:
        os.environ.setdefault("AASIST_NOTEBOOK", number)
    loaded = load_profile(profile, split_overrides(overrides))
    return loaded, RunFolder.open(loaded)


def open_scores(profile: str, overrides: str, number: str, files: Mapping[str, str]) -> tuple[Profile, RunFolder]:
    """As `open_notebook`, for a notebook that evaluates a score file instead of a run. Results go to `runs/evaluations/<its
    name>`, or to `…-2` and so on if that has results of other files, or to the `run_dir` in `overrides`.

    Args:
        files: role -> path, including 'scores'; empty paths are ignored.
    """
    os.environ.setdefault("AASIST_NOTEBOOK", number)
    given, settings = files_given(files), split_overrides(overrides)
    inputs, loaded = evaluation_inputs(given), load_profile(profile, settings)
    scores, folder = given["scores"], loaded.run_dir
    name = table_stem(scores).lstrip(".") or "scores"
    if not any(setting.startswith("run_dir=") for setting in settings):
        folder = evaluation_folder(project_root() / "runs" / "evaluations" / name, inputs)
    facts = {"name": name, "title": f"Scores of {scores.name}", "run_dir": folder}
    loaded = loaded.model_copy(update=facts)
    return loaded, RunFolder.open(loaded, evaluation=inputs)


def given_path(text: str | Path, what: str) -> Path:
    """Resolve a path from a notebook parameter; relative paths start at the project root, whatever the working directory.

    Raises:
        ConfigError: the path does not exist; if it exists relative to the working directory, the message says so.
    """
    path = project_root() / Path(text).expanduser()
    if path.exists():
        return path
    elsewhere = Path(text).expanduser().absolute()
    hint = f"; {elsewhere} exists: give that path" if elsewhere.exists() else ""
    raise ConfigError(f"{what} = {str(text)!r}: {path} does not exist; relative paths start at {project_root()}{hint}")


def files_given(files: Mapping[str, str]) -> dict[str, Path]:
    """Resolve the files given by a notebook's parameters, as `given_path`; empty paths are ignored.

    Raises:
        ConfigError: a file does not exist; the message names the parameter.
    """
    return {role: given_path(text, role.upper()) for role, text in files.items() if text}


def split_overrides(text: str) -> list[str]:
    """`"a.b=1 title='two words'"` -> `["a.b=1", "title=two words"]`."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"SET = {text!r}: {error}") from error


def run(profile: str | Path, overrides: Sequence[str] = (), only: Sequence[str] = (), overwrite: bool = False) -> int:
    """Run a profile's notebooks and write the report; return the exit code (0 or 1).

    The run stops at the first notebook that fails; the report then covers the notebooks that worked.

    Args:
        profile: a name in `configs/`, or a path.
        overrides: `section.key=value`, any number of them.
        only: numbers of the notebooks to run (default: the profile's), those of the profile in its order, then any others;
            existing artefacts of the other notebooks are used.
        overwrite: as `RunFolder.open`.

    Raises:
        ConfigError, NotebookError: the request cannot be run; raised before the first notebook starts.
    """
    from aasist_lib.workbook.report import build

    root = project_root()
    loaded = load_profile(profile, list(overrides))
    notebooks = [_Notebook(root, number) for number in _chosen(loaded, only)]
    folder = RunFolder.open(loaded, root, overwrite)
    values = {"PROFILE": _passed(profile, root), "SET": shlex.join(overrides)}
    ran = failed = False
    busy = NotebookError(f"another run is working in {folder.folder}; wait for it, or set run_dir")
    with alone(folder.folder / ".run.lock", busy, patience=0):
        folder.sweep()
        folder.sync()
        for notebook in notebooks:
            try:
                ran |= _step(notebook, loaded, folder, values)
            except NotebookError as error:
                print(f"{notebook.name}: {error}", file=sys.stderr, flush=True)
                ran = failed = True
                break
        if ran or not folder.path("report", "index.html").exists():
            build(folder)
    of = " (of the notebooks that worked)" if failed else ""
    print(f"report{of}: {_shown(folder.path('report', 'index.html'))}", flush=True)
    return int(failed)


def _passed(profile: str | Path, root: Path) -> str:
    """Return the profile argument such that a notebook, whose working directory is the project root, finds it."""
    file = Path(profile)
    if not file.is_file():
        return str(profile)
    return str(file.resolve().relative_to(root) if file.resolve().is_relative_to(root) else file.resolve())


# ---- one notebook ----------------------------------------------------------------------------------------------------


class _Notebook:
    """A numbered notebook of the project, verified to be runnable."""

    def __init__(self, root: Path, number: str) -> None:
        import nbformat

        found = sorted((root / "notebooks").glob(f"{number}_*.ipynb"))
        if len(found) != 1:
            there = " ".join(sorted({file.name[:2] for file in (root / "notebooks").glob("[0-9][0-9]_*.ipynb")}))
            of_it = f"{len(found)} notebooks {number}_*.ipynb instead of one"
            raise NotebookError(f"{root / 'notebooks'} has {of_it}; available: {there}")
        self.root, self.number, self.path, self.name = root, number, found[0], found[0].stem
        content = nbformat.read(self.path, as_version=4)
        if unknown := set(PARAMETERS) - parameters_of(self.path):
            raise NotebookError(f"{self.path.name}: its parameters cell has no {' and no '.join(sorted(unknown))}")
        self.source = [[cell.cell_type, cell.source] for cell in content.cells]
        self.promises = dict(content.metadata.get("aasist", {}))
        self.artefacts: list[str] = list(self.promises.get("artefacts", ()))

    def key(self, profile: Profile, artefacts: dict[str, dict[str, Any]]) -> str:
        """Return a hash of everything its results depend on: notebook, profile, library, the project's files that its metadata
        lists as `reads`, and artefacts of the notebooks that the profile runs before it. A notebook outside the profile depends
        on no other notebook."""
        listed = profile.notebooks
        before = listed[: listed.index(self.number)] if self.number in listed else ()
        earlier = {
            name: entry["sha256"]
            for name, entry in artefacts.items()
            if entry["notebook"] in before and not name.startswith("notebooks/")  # executed notebooks contain times
        }
        reads = {name: sha256(self.root / name) for name in self.promises.get("reads", ()) if (self.root / name).is_file()}
        parts = [self.source, self.promises, profile.model_dump(mode="json"), self._code(), sorted(earlier.items()), reads]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _code(self) -> dict[str, str]:
        """Return the library code that its cells call, by `fingerprint.code`; all of it if the cells cannot be parsed."""
        cells = "\n".join(source for kind, source in self.source if kind == "code")
        try:
            return code_of_text(cells, _SHOWS_NOTHING)
        except SyntaxError:
            return code(["aasist_lib.__main__"])

    def external(self, profile: Profile) -> dict[str, str | None]:
        """Return hashes of the promised files outside the run folder, which belong to the demo corpus; None if missing."""
        promised = self.promises.get("external", ()) if profile.data.corpus == "demo" else ()
        names = [name.format(**dict(profile)) for name in promised]
        return {name: sha256(self.root / name) if (self.root / name).is_file() else None for name in names}


def _step(notebook: _Notebook, profile: Profile, folder: RunFolder, values: dict[str, str]) -> bool:
    """Run a notebook unless nothing changed since its last run, and print its status; return True if it ran."""
    before = folder.manifest
    key = notebook.key(profile, before["artefacts"])
    executed = f"notebooks/{notebook.path.name}"
    if _is_done(before["notebooks"].get(notebook.number, {}), key, notebook.external(profile), before["artefacts"]):
        _line(notebook, "skipped", "unchanged", _shown(folder.folder / executed))
        return False
    start = time.monotonic()
    facts: dict[str, Any] = {"file": notebook.path.name, "title": _title(notebook), "key": key, "executed": executed}
    folder.forget_exhibits(notebook.number)
    folder.record_notebook(notebook.number, status="running", **facts)
    try:
        execute(notebook.path, folder.path(executed), values, notebook.number, notebook.root)
        folder.sync(notebook.number)
        _check_promises(notebook, profile, folder)
    except NotebookError as error:
        folder.sync(notebook.number)
        facts |= {"seconds": round(time.monotonic() - start, 1), "error": str(error)}
        folder.record_notebook(notebook.number, status="failed", **facts)
        _line(notebook, "failed", f"{time.monotonic() - start:.1f} s", _shown(folder.folder / executed))
        raise
    artefacts = folder.manifest["artefacts"].items()
    facts["seconds"] = round(time.monotonic() - start, 1)
    facts["outputs"] = {name: entry["sha256"] for name, entry in artefacts if entry["notebook"] == notebook.number}
    folder.record_notebook(notebook.number, status="ok", external=notebook.external(profile), **facts)
    _line(notebook, "ok", f"{facts['seconds']:.1f} s", _shown(folder.folder / executed))
    return True


def _is_done(record: dict[str, Any], key: str, external: dict[str, str | None], artefacts: dict[str, dict[str, Any]]) -> bool:
    if record.get("status") != "ok" or record["key"] != key or record["external"] != external:
        return False
    return all(artefacts.get(name, {}).get("sha256") == content for name, content in record["outputs"].items())


def _check_promises(notebook: _Notebook, profile: Profile, folder: RunFolder) -> None:
    from aasist_lib.workbook.report import unreadable_formulae

    missing = [name for name in notebook.artefacts if not (folder.folder / name).exists()]
    missing += [name for name, content in notebook.external(profile).items() if content is None]
    if missing:
        raise NotebookError(f"finished without writing its promised artefacts: {', '.join(missing)}")
    if bad := [text for kind, source in notebook.source if kind == "markdown" for text in unreadable_formulae(source)]:
        raise NotebookError(f"finished, but formulae in its text cannot be rendered: {'; '.join(bad)}")


# ---- printed status --------------------------------------------------------------------------------------------------


def _line(notebook: _Notebook, status: str, seconds: str, artefact: str) -> None:
    print(f"{notebook.name:<24} {status:<8} {seconds:>10}  {artefact}", flush=True)


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _title(notebook: _Notebook) -> str:
    headings = (re.match(r"# (.+)", source) for kind, source in notebook.source if kind == "markdown")
    return next((heading[1].strip() for heading in headings if heading), notebook.name)


def _chosen(profile: Profile, only: Sequence[str]) -> list[str]:
    wanted = [number.zfill(2) for number in only]
    listed = list(profile.notebooks)
    others = [number for number in dict.fromkeys(wanted) if number not in listed]
    return [number for number in listed if not wanted or number in wanted] + others
