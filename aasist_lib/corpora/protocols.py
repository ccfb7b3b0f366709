"""Keys and protocols of all common formats as one table `utt_id, label, speaker, attack, codec`.

The format is detected from the content; only the endings `.gz` and `.parquet` of the name matter. Without a heading the number
of fields identifies the format (`HEADLESS`); with a heading, columns are found by name (`conventions.NAMES`). Formats and
fields are
defined by the organisers: the 2015 protocol, ASVspoof 2019 `README.LA.txt`, the 2021 evaluation package
(`config/profile.py`) and ASVspoof 5 `README.txt`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from aasist_lib.conventions import (
    LABELS,
    NAMES,
    SPLITS,
    SUBSETS,
    TOLD,
    UNKNOWN,
    column_of,
    known_names,
    known_words,
    read_labels,
)
from aasist_lib.corpora.table import TrialTableError, refuse_empty, refuse_twice, refuse_unknown
from aasist_lib.runtime.text_tables import fields, head, read_parquet, read_rows, read_text, refuse_json_lines

COLUMNS = ["utt_id", "label", "speaker", "attack", "codec"]
FURTHER = (*TOLD, "seconds", "subset", "split")
"""Columns that a key has only if its file gives them."""

# The meaning of each field; None: unused. All formats differ in their number of fields.
HEADLESS: dict[int, tuple[str, tuple[str | None, ...]]] = {
    2: ("utterance and label", ("utt_id", "label")),
    4: ("ASVspoof 2015 protocol", ("speaker", "utt_id", "attack", "label")),
    5: ("ASVspoof 2019 protocol", ("speaker", "utt_id", None, "attack", "label")),
    7: ("ASVspoof 2017 protocol", ("utt_id", "label", "speaker", None, None, None, None)),
    8: ("ASVspoof 2021 LA key", ("speaker", "utt_id", "codec", None, "attack", "label", None, "subset")),
    10: ("ASVspoof 5 protocol", ("speaker", "utt_id", "gender", "codec", "quality", None, None, "attack", "label", None)),
    12: ("ASVspoof 2021 PA key", ("speaker", "utt_id", *[None] * 7, "label", None, "subset")),
    13: ("ASVspoof 2021 DF key", ("speaker", "utt_id", "codec", None, "attack", "label", None, "subset", *[None] * 5)),
}
_ASV_LABELS = ("target", "nontarget")


class ProtocolError(TrialTableError):
    """A key or protocol cannot be read; the message names file and line and says how to fix it."""


def read_key(path: str | Path) -> pd.DataFrame:
    """Read a key, a protocol or a trial table of any known format; `.gz` files are unpacked.

    Returns:
        A row per trial, in the file's order: `utt_id`, `label` ('bonafide' or 'spoof', from any word in
        `conventions.LABEL_WORDS`), `speaker`, `attack` ('-' for bona fide) and `codec`, all text, '-' if
        unknown; then those of `FURTHER` that the file has, such as `subset` (2021: 'progress', 'eval' or 'hidden')
        and `split`. In ASVspoof 5 a codec of '-' means not coded; it is 'none' here. A key of track 2 has one line per
        speaker and is reduced to one row per utterance.

    Raises:
        ProtocolError: the file is missing or has no known format, or a line is malformed (file and line are named).
    """
    path = Path(path)
    if not path.is_file():
        raise ProtocolError(f"{path}: no such file; a key or protocol is needed")
    table, first = _parquet(path) if path.suffix == ".parquet" else _text(path)
    return _checked(table, path, first)


def _parquet(path: Path) -> tuple[pd.DataFrame, int]:
    table = read_parquet(path, ProtocolError).astype("str")
    columns = _by_name(list(table.columns), path)
    return table[list(columns.values())].set_axis(list(columns), axis=1), 1


def _text(path: Path) -> tuple[pd.DataFrame, int]:
    """The columns of a text file, and the number of its first line of data."""
    heading = head(read_text(path, ProtocolError))
    refuse_json_lines(path, heading, ProtocolError)
    names = fields(path, heading, ProtocolError)
    if "utt_id" in {name if name in NAMES else column_of(name) for name in names}:
        columns = _by_name(names, path)
        places = [names.index(field) for field in columns.values()]
        rows = read_rows(path, heading.rest, heading.mark, ProtocolError, first=2, columns=len(names), wanted=places)
        return rows.set_axis(list(columns), axis=1), 2
    mark = heading.mark
    if mark == "\t":  # despite their name, ASVspoof's .tsv files are separated by white space
        mark, names = " ", heading.text.replace("\t", " ").strip(" ").split(" ")
    if len(names) not in HEADLESS:
        known = ", ".join(f"{number} ({name})" for number, (name, _) in HEADLESS.items())
        raise ProtocolError(
            f"{path}:1: no known form of key: a heading needs a column {known_names('utt_id')}; without heading a line has "
            f"{known} fields, not {len(names)}: {heading.text[:120]!r}"
        )
    form, meanings = HEADLESS[len(names)]
    known_places = {name: place for place, name in enumerate(meanings) if name}
    rows = read_rows(
        path, heading.whole, mark, ProtocolError, columns=len(names), wanted=list(known_places.values()), form=form
    )
    table = rows.set_axis(list(known_places), axis=1)
    if len(names) == 10:
        table["codec"] = table["codec"].replace(UNKNOWN, "none")
    return table, 1


def _by_name(given: list[str], path: Path) -> dict[str, str]:
    """The field for each column: the one with the column's own name, or the first in the order of `NAMES`."""
    found: dict[str, str] = {}
    for column, names in NAMES.items():
        order = [column, *names]
        fitting = [field for field in given if field == column or column_of(field) == column]
        if fitting:
            found[column] = min(fitting, key=lambda field: order.index(field if field == column else _plain(field)))
    for name in ("utt_id", "label"):
        if name not in found:
            raise ProtocolError(f"{path}:1: no column {known_names(name)}; the heading has {', '.join(given)}")
    if twice := [field for field in found.values() if given.count(field) > 1]:
        raise ProtocolError(f"{path}:1: the heading has {', '.join(twice)} more than once: rename or remove one")
    found.pop("score", None)
    return found


def _plain(field: str) -> str:
    return field.strip().lower().replace("_", "-")


def _checked(table: pd.DataFrame, path: Path, first: int) -> pd.DataFrame:
    """The table with its columns complete and in order; `first` is the line of its first row."""
    if table.empty:
        raise ProtocolError(f"{path}: no trials in it")
    table["label"] = read_labels(table["label"])
    verification = table["label"].isin(_ASV_LABELS).to_numpy()
    if verification.any():
        line = int(verification.argmax()) + first
        raise ProtocolError(f"{path}:{line}: this is a speaker-verification key; use the countermeasure (CM) key")

    def at(row: int) -> str:
        return f"{path}:{row + first}"

    for name in table.columns:
        refuse_empty(table[name], at, ProtocolError)
    words = " and ".join(f"{known_words(label)} for {label}" for label in LABELS)
    refuse_unknown(table["label"], LABELS, at, ProtocolError, words)
    for name, known in (("subset", SUBSETS), ("split", SPLITS)):
        if name in table.columns:  # a misspelt value would be ignored silently
            refuse_unknown(table[name], known, at, ProtocolError)
    table = _once_each(table)
    refuse_twice(table["utt_id"], lambda row: at(int(table.index[row])), ProtocolError)
    table = table.reset_index(drop=True)
    for name in set(COLUMNS) - set(table.columns):
        table[name] = UNKNOWN
    table["attack"] = table["attack"].where(table["label"] == "spoof", UNKNOWN)
    return table[COLUMNS + [name for name in FURTHER if name in table.columns]].astype("str")


def _once_each(table: pd.DataFrame) -> pd.DataFrame:
    """The first of lines that differ only in the speaker, as in ASVspoof 5 track 2; the speaker is then unknown."""
    others = [name for name in table.columns if name != "speaker"]
    again = table.duplicated(others)
    if not again.any() or "speaker" not in table.columns or table.duplicated().any():
        return table
    return table[~again].assign(speaker=UNKNOWN)
