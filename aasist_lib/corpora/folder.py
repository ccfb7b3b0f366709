"""Corpora of your own: a sorted folder, or a trial table in one of three formats."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from aasist_lib import audio
from aasist_lib.audio import EXTENSIONS, files_below
from aasist_lib.conventions import LABELS, SPLITS, UNKNOWN
from aasist_lib.corpora.table import COLUMNS, TrialTableError, read_columns, validate


def load_folder(root: Path, splits: Sequence[str] = SPLITS) -> pd.DataFrame:
    """Load a folder with `bonafide/` and `spoof/`, or with `train/`, `dev/`, `eval/` that contain these two.

    Without split folders everything is eval. A folder below `bonafide/` names the speaker, one below `spoof/` the attack, and
    one below that the speaker (`spoof/vits/anna/1.wav`). The utterance id is the path below `root`.

    Args:
        root: the folder.
        splits: the splits to load.

    Raises:
        TrialTableError: the folder or these names are missing, a class has no audio, a class is next to a split, or links
            lead to a clip twice.
    """
    if not root.is_dir():
        raise TrialTableError(f"{root}: no such folder; point data.root at one that holds bonafide/ and spoof/")
    found = {split: root / split for split in SPLITS if (root / split).is_dir()}
    mixed = [label for label in LABELS if found and (root / label).is_dir()]
    if mixed:
        raise TrialTableError(f"{root}: {', '.join(mixed)} beside {', '.join(found)}; move it into one of them")
    found = found or {"eval": root}
    rows = [row for split, place in found.items() if split in splits for row in _rows(place, split, root)]
    if not rows:
        raise TrialTableError(f"{root}: no folder {' or '.join(splits)}, and without them everything is eval")
    _refuse_twice(root, [row[1] for row in rows])
    return validate(pd.DataFrame(rows, columns=COLUMNS), root, lambda row: str(rows[row][1]))


def _refuse_twice(root: Path, paths: list[str]) -> None:
    """Refuse clips that are reached in two ways through links: they would be in two classes or splits."""
    first: dict[str, str] = {}
    for path in paths:
        if (other := first.setdefault(os.path.realpath(path), path)) != path:
            raise TrialTableError(f"{root}: {path} is the same file as {other}: remove the link to one of them")


def left_out(root: Path) -> str:
    """A description of non-audio files in a folder corpus; empty if there are none."""
    return audio.left_out_text(audio.search(root).left_out)


def _rows(place: Path, split: str, root: Path) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for label in LABELS:
        files = files_below(place / label)
        if not files:
            raise TrialTableError(
                f"{place / label}: no audio ({', '.join(EXTENSIONS)}); a corpus needs bonafide/ and spoof/, "
                "in the folder itself or in each of train/, dev/, eval/"
            )
        for file in files:
            below = file.relative_to(place / label).parts[:-1]
            first, second = (*below, UNKNOWN, UNKNOWN)[:2]
            speaker, attack = (first, UNKNOWN) if label == "bonafide" else (second, first)
            name = file.relative_to(root).as_posix()
            rows.append((name, str(file), label, speaker, attack, UNKNOWN, split, root.name))
    return rows


def load_table(file: Path, splits: Sequence[str] = SPLITS) -> pd.DataFrame:
    """Load a `.csv`, `.tsv` or `.parquet` table with at least the columns `utt_id`, `path` and `label`.

    `speaker`, `attack`, `codec` and `corpus` are unknown if missing; without the column `split` everything is eval.
    Paths are relative to the file's folder.

    Args:
        file: the table.
        splits: those to return; all are checked.

    Raises:
        TrialTableError: the file is missing or invalid.
    """
    if not file.is_file():
        raise TrialTableError(f"{file}: no such trial table; data.root must be a .csv, .tsv or .parquet file")
    trials = read_columns(file)
    needed = [name for name in ("utt_id", "path", "label") if name not in trials.columns]
    if needed:
        raise TrialTableError(f"{file}:1: no column {', '.join(needed)}; it has {', '.join(map(str, trials.columns))}")
    unknown = {name: UNKNOWN for name in ("speaker", "attack", "codec", "corpus")} | {"split": "eval"}
    absent = {name: value for name, value in unknown.items() if name not in trials.columns}
    trials = validate(trials.assign(**absent), file)
    return trials[trials["split"].isin(splits)].reset_index(drop=True)
