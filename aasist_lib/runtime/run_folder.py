"""The run folder: all results of a run, written atomically and listed with their hashes in `manifest.json`.

Notebooks exchange data only through it. Every artefact belongs to the notebook that wrote it; the runner uses the hashes of
earlier notebooks' artefacts to decide whether a later notebook has to run again.
"""

from __future__ import annotations

import base64
import html
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aasist_lib.config import Profile, project_root
from aasist_lib.runtime.files import RunError, atomic, in_turn, sha256, sweep, to_json
from aasist_lib.runtime.kept import Key, changes, make_key, read_table, setting_changes, stored_key, write_table
from aasist_lib.runtime.provenance import provenance

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML
    from matplotlib.figure import Figure

SCHEMA = 1
FOLDERS = ("trials", "checkpoints", "scores", "metrics", "attention", "figures", "notebooks")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def current_notebook() -> str:
    """Two digits of the notebook that is running ('03'), or '-' outside a numbered notebook."""
    name = os.environ.get("AASIST_NOTEBOOK") or Path(os.environ.get("JPY_SESSION_NAME", "")).name
    number = re.match(r"\d\d", name)
    return number.group() if number else "-"


class RunFolder:
    """The folder of one run. `open` starts or continues a run; the constructor only reads an existing one."""

    def __init__(self, folder: str | Path) -> None:
        self.folder, self._begun = Path(folder).resolve(), False

    @classmethod
    def open(
        cls, profile: Profile, root: Path | None = None, overwrite: bool = False, evaluation: Mapping[str, Any] | None = None
    ) -> RunFolder:
        """Create or continue the profile's run folder, and write the facts of this run into its manifest.

        Args:
            profile: gives the folder; a relative path is relative to `root`.
            root: the project's root; by default found from the working directory.
            overwrite: allow a training with other settings to replace a finished one.
            evaluation: the inputs, if the run evaluates a score file instead of training; see `of_evaluation`.

        Raises:
            RunError: the folder holds a finished training with other settings, or the results of an evaluation of other inputs.
        """
        root = root or project_root()
        run = cls(root / profile.folder)
        facts = {"name": profile.name, "title": profile.title, "seed": profile.seed, **provenance(root)}
        with run.manifest_update() as manifest:
            if evaluation is None:
                run._refuse_other_use(manifest, profile, overwrite)
            else:
                run._claim(manifest, evaluation)
            manifest |= facts | {"config": profile.model_dump(mode="json")}
        for name in FOLDERS:
            (run.folder / name).mkdir(parents=True, exist_ok=True)
        run._begun = True
        return run

    @classmethod
    def of_evaluation(cls, folder: str | Path, inputs: Mapping[str, Any]) -> RunFolder:
        """Open the folder for the results of an evaluation.

        Args:
            inputs: what is evaluated, as JSON values; the same inputs may be evaluated again in the same folder.

        Raises:
            RunError: the folder holds a run, or an evaluation of other inputs.
        """
        run = cls(folder)
        with run.manifest_update() as manifest:
            run._claim(manifest, inputs)
        return run

    def _claim(self, manifest: dict[str, Any], inputs: Mapping[str, Any]) -> None:
        new = "name" not in manifest and "evaluation" not in manifest and not manifest["artefacts"]
        if not new and manifest.get("evaluation") != inputs:
            held = "a run" if "evaluation" not in manifest else f"an evaluation of {_inputs_text(manifest['evaluation'])}"
            raise RunError(f"{self.folder} holds {held}: it is not overwritten; name another folder with --out")
        manifest["evaluation"] = dict(inputs)

    def _refuse_other_use(self, manifest: dict[str, Any], profile: Profile, overwrite: bool) -> None:
        if "evaluation" in manifest:
            held = _inputs_text(manifest["evaluation"])
            raise RunError(f"{self.folder} holds an evaluation of {held}: give this run another name, such as --set name=other")
        trained = manifest.get("trained")
        if trained is None or trained["settings"] == profile.training_settings():
            return
        if overwrite:
            del manifest["trained"]
            return
        differences = setting_changes(trained["settings"], profile.training_settings())
        raise RunError(
            f"{self.folder} holds a finished training ({trained['epochs']} epochs) with other settings: {differences}. Give "
            f'this run another name (--set name={profile.name}-2, in a notebook SET = "name={profile.name}-2"), or use '
            "--overwrite: training then starts again, and the old checkpoint is kept in checkpoints/before-…"
        )

    # ---- paths and plain writers -------------------------------------------------------------------------------------

    def path(self, *parts: str | Path) -> Path:
        """A path inside the run folder; its parent folder is created."""
        path = self.folder.joinpath(*parts)
        if not path.is_relative_to(self.folder) or ".." in Path(*parts).parts:
            raise RunError(f"{Path(*parts)}: artefacts belong inside the run folder {self.folder}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_bytes(self, name: str | Path, content: bytes) -> Path:
        """Write an artefact and record it."""
        path = self.path(name)
        with atomic(path) as file:
            file.write_bytes(content)
        self.record(path)
        return path

    def write_text(self, name: str | Path, text: str) -> Path:
        """Write an artefact as UTF-8 and record it."""
        return self.write_bytes(name, text.encode("utf-8"))

    def write_json(self, name: str | Path, value: Any) -> Path:
        """Write an artefact as JSON and record it; see `to_json` for what is accepted."""
        return self.write_text(name, to_json(value))

    def write_parquet(self, name: str | Path, table: pd.DataFrame, key: Key | None = None) -> Path:
        """Write a table (without its index) as parquet, with its key if it has one, and record it."""
        path = self.path(name)
        if key is not None:
            write_table(table, path, key)
        else:
            with atomic(path) as file:
                table.to_parquet(file, index=False)
        self.record(path)
        return path

    def kept(self, name: str | Path, compute: Callable[..., pd.DataFrame], *arguments: Any) -> pd.DataFrame:
        """The table `compute(*arguments)`, cached in the parquet file `name` until something it depends on changes: the
        arguments, the code of `compute` and all it imports, or the versions of packages.

        Args:
            name: the artefact, such as 'metrics/robustness.parquet'.
            compute: a module-level function of the library.
            arguments: JSON values, tables, arrays, configurations, models.
        """
        key = make_key([compute.__module__], {"function": compute.__name__, "arguments": arguments})
        return self.kept_under(name, key, lambda: compute(*arguments))

    def kept_under(self, name: str | Path, key: Key, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """As `kept`, with a key from the caller."""
        path = self.path(name)
        table = read_table(path, key)
        if table is not None:
            print(f"{name}: unchanged, read from the run folder", flush=True)
            return table
        if path.is_file():
            print(f"{name}: {changes(stored_key(path), key)}: computed again", flush=True)
        table = compute()
        self.write_parquet(name, table, key)
        return table

    def read_json(self, name: str | Path) -> Any:
        """An artefact's JSON value; a missing file is a `RunError` that names it."""
        path = self.folder / name
        if not path.is_file():
            raise RunError(f"{path}: missing; first run the notebook that writes it")
        return json.loads(path.read_text(encoding="utf-8"))

    # ---- what the report shows ---------------------------------------------------------------------------------------

    def save_figure(self, figure: Figure, name: str, alt: str, caption: str = "") -> HTML:
        """Save a figure as `figures/<name>.{png,svg,pdf}`, close it, and return it for display with its alt text.

        The same figure gives the same bytes. `alt` describes the figure to a reader who cannot see it.
        """
        import matplotlib.pyplot as plt
        from IPython.display import HTML

        if not alt.strip():
            raise RunError(f"figure '{name}' has no alt text: describe it in a sentence")
        images = {suffix: _render(figure, suffix) for suffix in ("png", "svg", "pdf")}
        plt.close(figure)
        for suffix, content in images.items():
            self.write_bytes(f"figures/{_checked(name)}.{suffix}", content)
        self._exhibit("figure", name, {"alt": alt, "caption": caption})
        width = round(figure.get_figwidth() * 96)
        source = f"data:image/png;base64,{base64.b64encode(images['png']).decode()}"
        image = f'<img src="{source}" alt="{html.escape(alt)}" style="width:{width}px;max-width:100%;height:auto">'
        below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
        return HTML(f'<figure style="margin:0">{image}{below}</figure>')

    def save_table(
        self, table: pd.DataFrame, name: str, caption: str, formats: Mapping[str, str] | None = None
    ) -> pd.DataFrame:
        """Save a table as `metrics/<name>.json` and `.csv`, and return it formatted, for display.

        Args:
            table: columns become headings, in this order; the index is left out.
            formats: a format for a column's numbers, e.g. `{"EER": "{:.2%}"}`; the files keep the plain numbers.
        """
        if not caption.strip():
            raise RunError(f"table '{name}' has no caption: describe it in a sentence")
        formats = dict(formats or {})
        if unknown := sorted(set(formats) - set(table.columns)):
            raise RunError(f"table '{name}' has no column {', '.join(map(repr, unknown))} to format")
        records = table.to_json(orient="records", indent=1, double_precision=15)
        self.write_text(f"metrics/{_checked(name)}.json", records)
        self.write_text(f"metrics/{name}.csv", table.to_csv(index=False))
        facts = {"caption": caption, "columns": list(map(str, table.columns)), "formats": formats}
        self._exhibit("table", name, facts)
        return format_table(table, formats)

    def save_summary(self, items: Sequence[Mapping[str, str]]) -> None:
        """The key numbers of this notebook, shown on top of the report: `[{"label", "value", "note"}]`, all text."""
        for item in items:
            if set(item) - {"label", "value", "note"} or not {"label", "value"} <= set(item):
                raise RunError(f"a summary item has the keys label, value and (optionally) note, not {sorted(item)}")
        complete = [{"note": ""} | dict(item) for item in items]
        self.write_json(f"metrics/summary_{current_notebook().strip('-') or 'other'}.json", complete)

    # ---- manifest ----------------------------------------------------------------------------------------------------

    @property
    def manifest(self) -> dict[str, Any]:
        """The present content of `manifest.json`."""
        return self.read_json("manifest.json")

    @contextmanager
    def manifest_update(self) -> Iterator[dict[str, Any]]:
        """Change the manifest under a lock: a notebook and the runner may both write it; readers need no lock.

        Raises:
            RunError: the folder has disappeared since it was opened, or its manifest has another version.
        """
        with in_turn(self.folder / ".manifest.lock"):
            path = self.folder / "manifest.json"
            if self._begun and not path.exists():
                raise RunError(f"{path}: disappeared during the run; restore it and rerun the same command")
            manifest = self._read_manifest(path) if path.exists() else _new_manifest()
            yield manifest
            manifest["updated"] = _now()
            with atomic(path) as file:
                file.write_text(to_json(manifest), encoding="utf-8")

    def record(self, *paths: str | Path) -> None:
        """Record artefacts (files, or folders with all their files) with their SHA-256 as written by this notebook."""
        files = [file for path in paths for file in _files(self.folder / path)]
        entries = {file.relative_to(self.folder).as_posix(): _entry(file, current_notebook()) for file in files}
        with self.manifest_update() as manifest:
            manifest["artefacts"] |= entries

    def sync(self, owner: str | None = None) -> None:
        """Update the manifest's list from the folder.

        New and changed files get `owner` (if it is None, a changed file keeps its owner); missing files are dropped.
        """
        files = {f.relative_to(self.folder).as_posix(): f for name in FOLDERS for f in _files(self.folder / name)}
        with self.manifest_update() as manifest:
            known = manifest["artefacts"]
            changed = {}
            for name, file in files.items():
                if not unchanged(file, known.get(name)):
                    previous = known.get(name, {}).get("notebook", current_notebook())
                    changed[name] = _entry(file, owner or previous)
            kept = {name: entry for name, entry in known.items() if name in files and name not in changed}
            manifest["artefacts"] = dict(sorted((kept | changed).items()))

    def record_notebook(self, number: str, **facts: Any) -> None:
        """Set a notebook's status and other facts ('ok', 'failed', 'running'; one that was interrupted stays 'running')."""
        with self.manifest_update() as manifest:
            manifest["notebooks"] = dict(sorted((manifest["notebooks"] | {number: facts}).items()))

    def annotate(self, **facts: Any) -> None:
        """Add facts to the manifest, such as the device that training really used."""
        with self.manifest_update() as manifest:
            manifest.setdefault("notes", {}).update(facts)

    def sweep(self) -> list[Path]:
        """Remove the temporary files that killed processes left, and return their paths."""
        return sweep(self.folder)

    def forget_exhibits(self, notebook: str) -> None:
        """Remove a notebook's figures and tables from the report's list; the notebook lists them again when it runs."""
        with self.manifest_update() as manifest:
            exhibits = manifest["exhibits"].items()
            manifest["exhibits"] = {key: facts for key, facts in exhibits if facts["notebook"] != notebook}

    def _exhibit(self, kind: str, name: str, facts: dict[str, Any]) -> None:
        with self.manifest_update() as manifest:
            manifest["exhibits"].pop(f"{kind}/{name}", None)
            manifest["exhibits"][f"{kind}/{name}"] = {"notebook": current_notebook(), **facts}

    def _read_manifest(self, path: Path) -> dict[str, Any]:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest.get("schema") != SCHEMA:
            found = manifest.get("schema")
            raise RunError(f"{path}: schema {found}, but this version writes {SCHEMA}; move the folder away")
        return manifest


# ---- helpers ---------------------------------------------------------------------------------------------------------


def unchanged(path: Path, entry: Mapping[str, Any] | None) -> bool:
    """Whether a file matches its manifest entry: by size and time, or by hash if only the time differs."""
    if entry is None or not path.is_file() or path.stat().st_size != entry["bytes"]:
        return False
    return path.stat().st_mtime_ns == entry["mtime_ns"] or sha256(path) == entry["sha256"]


def evaluation_inputs(files: Mapping[str, Path]) -> dict[str, str]:
    """What identifies an evaluation: its files by role, with their content."""
    return {role: f"{path.resolve()}, sha256 {sha256(path)[:16]}" for role, path in files.items()}


def evaluation_folder(first: Path, inputs: Mapping[str, Any]) -> Path:
    """`first`, or the next of `first-2`, `first-3`, … that does not exist yet or holds an evaluation of the same inputs."""
    for number in range(1, 10_000):
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        manifest = folder / "manifest.json"
        if not folder.exists() or not manifest.is_file() and not any(folder.iterdir()):
            return folder
        if manifest.is_file() and json.loads(manifest.read_text(encoding="utf-8")).get("evaluation") == inputs:
            return folder
    raise RunError(f"{first}: there are 10 000 folders of this name; move them away, or name one with --out")


def _inputs_text(inputs: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in inputs.items() if value)


def format_table(table: pd.DataFrame, formats: Mapping[str, str]) -> pd.DataFrame:
    """The table with the given columns' numbers as text; a missing value is an en dash."""
    shown = table.copy()
    for column, pattern in formats.items():
        shown[column] = ["–" if value is None or value != value else pattern.format(value) for value in table[column]]
    return shown


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _new_manifest() -> dict[str, Any]:
    empty: dict[str, Any] = {key: {} for key in ("notebooks", "artefacts", "exhibits")}
    return {"schema": SCHEMA, "created": _now(), "updated": _now(), **empty}


def _entry(file: Path, owner: str) -> dict[str, Any]:
    status = file.stat()
    return {"sha256": sha256(file), "bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "notebook": owner}


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise RunError(f"{path}: there is no such artefact to record")
    files = (file for file in path.rglob("*") if file.is_file())
    return sorted(f for f in files if not any(part.startswith(".") for part in f.relative_to(path).parts))


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise RunError(f"'{name}' is not a valid artefact name: use lower-case letters, digits, '-' and '_'")
    return name


def _render(figure: Figure, suffix: str) -> bytes:
    import matplotlib

    stamps = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "aasist-workbook"}):
        figure.savefig(buffer, format=suffix, dpi=160, bbox_inches="tight", metadata=stamps[suffix])
    return buffer.getvalue()
