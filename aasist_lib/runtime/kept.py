"""Cache keys: a result on disk is reused only while the settings, data, code and versions that made it are unchanged.

A key is a plain mapping with four parts, stored with the result and compared part by part:
`{"settings": ..., "data": {name: digest}, "code": {file: digest}, "versions": {package: version}}`. `changes` describes the
difference.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from aasist_lib.runtime.files import atomic
from aasist_lib.runtime.fingerprint import code, versions

Key = dict[str, Any]

BY_CONTENT = tuple(
    f"aasist_lib.{name}" for name in ("config", "corpora", "datasets.check", "evaluation.score_files", "runtime.text_tables")
)
"""Modules that read settings and trial tables: a key holds what they read, so their code is left out."""
PLUMBING = tuple(
    f"aasist_lib.runtime.{name}"
    for name in ("files", "fingerprint", "kept", "processes", "provenance", "run_folder", "signals")
)
"""Modules that store files, lock and start processes: no value of a result comes from them."""
DAMAGED = "damaged"
"""Stands for the key of a file that cannot be read."""
_METADATA = b"aasist_key"


def make_key(
    entries: Iterable[str],
    settings: Any,
    data: Mapping[str, str] | None = None,
    leave_out: Iterable[str] = BY_CONTENT,
) -> Key:
    """Make the key of a result.

    Args:
        entries: modules that compute it, such as 'aasist_lib.training.trainer', with all that they import (`fingerprint.code`).
        settings: JSON values, tables, arrays, models and configurations.
        data: digests of the inputs, by names that fit "... have changed", such as "the clips of train".
        leave_out: as in `fingerprint.code`.

    Raises:
        StaleCode: a module was edited after this process loaded it.
    """
    files = code(entries, (*PLUMBING, *leave_out))
    plain = json.loads(json.dumps(settings, default=_plain))
    return {"settings": plain, "data": dict(data or {}), "code": files, "versions": versions(files)}


def digest(key: Any) -> str:
    """16 hexadecimal digits of a key or any JSON value."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=_plain).encode()).hexdigest()[:16]


def changes(old: Any, new: Key) -> str:
    """The difference between a stored key and the present one, in words: "losses.py has changed; seed was 1 and is 2". Empty if
    they are equal."""
    if old == new:
        return ""
    if old == DAMAGED:
        return "the file is damaged"
    if not isinstance(old, dict) or set(old) != set(new):
        return "it was made by an earlier version of the workbook"
    phrases = []
    if files := different(old["code"], new["code"]):
        phrases.append(f"{' and '.join(files)} {'has' if len(files) == 1 else 'have'} changed")
    phrases += [f"{name} have changed" for name in different(old["data"], new["data"])]
    phrases += [text for part in ("settings", "versions") if (text := setting_changes(old[part], new[part]))]
    return "; ".join(phrases)


def setting_changes(old: Any, new: Any) -> str:
    """The difference between two nested mappings of settings: "training.epochs was 20 and is 22; seed was 1 and is 2"."""
    before, now = dict(_flat(old)), dict(_flat(new))
    return "; ".join(f"{name} was {before.get(name)} and is {now.get(name)}" for name in different(before, now))


# ---- tables that carry their key --------------------------------------------------------------------------------------


def write_table(table: pd.DataFrame, path: Path, key: Key) -> None:
    """Write a table (without its index) as parquet, atomically, with its key in the file's metadata."""
    made = pyarrow.Table.from_pandas(table, preserve_index=False)
    made = made.replace_schema_metadata({**(made.schema.metadata or {}), _METADATA: json.dumps(key).encode()})
    with atomic(path) as file:
        pyarrow.parquet.write_table(made, file)


def read_table(path: Path, key: Key) -> pd.DataFrame | None:
    """The table stored with this key; None if there is none, or one with another key."""
    return pd.read_parquet(path) if stored_key(path) == key else None


def stored_key(path: Path) -> Any:
    """The key in a parquet file's metadata; None if there is no file or no key, `DAMAGED` if it cannot be read."""
    if not path.is_file():
        return None
    try:
        metadata = pyarrow.parquet.read_schema(path).metadata or {}
        return json.loads(metadata.get(_METADATA, b"null"))
    except (pyarrow.ArrowInvalid, ValueError):
        return DAMAGED


def read_key(path: Path) -> Any:
    """The key in a JSON file; None if there is no such file, `DAMAGED` if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        return DAMAGED


CONVERTED_BY = "converted_by.json"
"""File in a converted encoder's folder that holds the key of the conversion."""


def is_converted(folder: Path, module: str) -> bool:
    """Whether `folder` holds a whole encoder that the present code of `module` ('demo_corpus.encoders.whisper') made."""
    there = all((folder / name).is_file() for name in ("model.safetensors", "preprocessor_config.json"))
    return there and read_key(folder / CONVERTED_BY) == make_key([module], {})


# ---- digests ----------------------------------------------------------------------------------------------------------


def trials_digest(trials: pd.DataFrame, columns: Iterable[str] = ("utt_id", "label", "split")) -> str:
    """A digest of these columns of a trial table, in the table's order."""
    return hashlib.sha256(trials[list(columns)].to_csv(index=False).encode()).hexdigest()[:16]


def clips_digest(trials: pd.DataFrame) -> str:
    """A digest of a trial table's clips: their ids, and the names, sizes and modification times of their files."""
    clips = hashlib.sha256()
    for utt_id, path in zip(trials["utt_id"], trials["path"], strict=True):
        clips.update(f"{utt_id}\0{os.path.basename(path)}\0{file_state(path)}\n".encode())
    return clips.hexdigest()[:16]


def file_state(path: str | Path) -> list[int]:
    """Size in bytes and modification time in ns; another file of the same name differs in at least one."""
    facts = os.stat(path)
    return [facts.st_size, facts.st_mtime_ns]


def _plain(value: Any) -> Any:
    """JSON values for tables, arrays, models and configurations: digests of their content."""
    if hasattr(value, "content_digest"):  # a model
        return value.content_digest()
    if isinstance(value, pd.DataFrame):
        table = value.drop(columns="path", errors="ignore")
        return [trials_digest(table, table.columns), clips_digest(value) if {"utt_id", "path"} <= set(value) else None]
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, np.ndarray) and value.size > 64:
        return [value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"a {type(value).__name__} cannot be part of a key")


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def different(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The sorted names whose values differ between two mappings."""
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
