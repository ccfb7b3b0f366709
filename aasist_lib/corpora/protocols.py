"""Keys and protocols: every form in circulation as one table `utt_id, label, speaker, attack, codec`.

The form is found out by content; of the name only the endings `.gz` and `.parquet` count. Without heading the number of
fields tells which it is (`HEADLESS`); with a heading, columns are found by their names (`NAMES`). The forms and the meaning
of their fields are the organisers': ASVspoof 2019 `README.LA.txt`, the 2021 evaluation package (`config.py`) and
ASVspoof 5 `README.txt`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from aasist_lib.corpora.table import LABELS, SPLITS, UNKNOWN, TrialTableError, refuse_empty, refuse_twice, refuse_unknown
from aasist_lib.tabular import fields, head, read_parquet, read_rows, read_text

COLUMNS = ["utt_id", "label", "speaker", "attack", "codec"]

# What each field means; None: a field without use here. Counted in fields, no two forms are alike.
HEADLESS: dict[int, tuple[str, tuple[str | None, ...]]] = {
    2: ("utterance and label", ("utt_id", "label")),
    5: ("ASVspoof 2019 protocol", ("speaker", "utt_id", None, "attack", "label")),
    8: ("ASVspoof 2021 LA key", ("speaker", "utt_id", "codec", None, "attack", "label", None, "subset")),
    10: ("ASVspoof 5 protocol", ("speaker", "utt_id", None, "codec", None, None, None, "attack", "label", None)),
    13: ("ASVspoof 2021 DF key", ("speaker", "utt_id", "codec", None, "attack", "label", None, "subset", *[None] * 5)),
}
# Names of the columns in a heading; where a file has several of them the first here counts.
NAMES: dict[str, tuple[str, ...]] = {
    "utt_id": ("utt_id", "filename", "file", "file_name", "utt", "utterance", "trial"),
    "label": ("label", "cm-label", "cm_label", "key"),
    "speaker": ("speaker", "spk", "speaker_id"),
    "attack": ("attack",),
    "codec": ("codec",),
    "subset": ("subset",),
    "split": ("split",),
}
SUBSETS = ("progress", "eval", "hidden")
_SPELLINGS = {"bona-fide": "bonafide"}
_ASV_LABELS = ("target", "nontarget")


class ProtocolError(TrialTableError):
    """A key or protocol that cannot be read; the message names the file, the line and the remedy."""


def read_key(path: str | Path) -> pd.DataFrame:
    """Read a key, a protocol or a trial table of any known form; `.gz` is unpacked on the way.

    Returns:
        A row a trial, in the file's order: `utt_id`, `label` ('bonafide' or 'spoof'), `speaker`, `attack` ('-' for bona
        fide) and `codec`, all text, '-' where the file does not tell; then `subset` (2021: 'progress', 'eval' or 'hidden')
        and `split` where the file has them. In ASVspoof 5 a codec of '-' means not coded; it is 'none' here.

    Raises:
        ProtocolError: no such file, no known form, or a line that is not of the form (file and line are named).
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
    names = fields(path, heading, ProtocolError)
    if {name.lower() for name in names} & set(NAMES["utt_id"]):
        columns = _by_name(names, path)
        places = [names.index(field) for field in columns.values()]
        rows = read_rows(path, heading.rest, heading.mark, ProtocolError, first=2, columns=len(names), wanted=places)
        return rows.set_axis(list(columns), axis=1), 2
    mark = heading.mark
    if mark == "\t":  # in spite of their name, the fields of ASVspoof's .tsv files are separated by any white space
        mark, names = " ", heading.text.replace("\t", " ").strip(" ").split(" ")
    if len(names) not in HEADLESS:
        known = ", ".join(f"{number} ({name})" for number, (name, _) in HEADLESS.items())
        raise ProtocolError(
            f"{path}:1: no known form of key: a heading needs a column {' or '.join(NAMES['utt_id'])}; without heading a line "
            f"has {known} fields, not {len(names)}: {heading.text[:120]!r}"
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
    """Which of a heading's fields holds which column."""
    lower = {field.lower(): field for field in reversed(given)}
    found = {name: next((lower[known] for known in names if known in lower), None) for name, names in NAMES.items()}
    for name in ("utt_id", "label"):
        if found[name] is None:
            raise ProtocolError(f"{path}:1: no column {' or '.join(NAMES[name])}; the heading has {', '.join(given)}")
    if twice := [field for field in found.values() if field is not None and given.count(field) > 1]:
        raise ProtocolError(f"{path}:1: the heading has {', '.join(twice)} more than once: rename or remove one")
    return {name: field for name, field in found.items() if field is not None}


def _checked(table: pd.DataFrame, path: Path, first: int) -> pd.DataFrame:
    """The table with its columns complete and in order; `first` is the line of its first row."""
    if table.empty:
        raise ProtocolError(f"{path}: no trials in it")
    table["label"] = table["label"].replace(_SPELLINGS)
    verification = table["label"].isin(_ASV_LABELS).to_numpy()
    if verification.any():
        line = int(verification.argmax()) + first
        raise ProtocolError(f"{path}:{line}: a key of speaker verification; the countermeasure's (CM) is needed")

    def at(row: int) -> str:
        return f"{path}:{row + first}"

    for name in table.columns:
        refuse_empty(table[name], at, ProtocolError)
    refuse_unknown(table["label"], LABELS, at, ProtocolError)
    for name, known in (("subset", SUBSETS), ("split", SPLITS)):
        if name in table.columns:  # one misspelt would be left out without a word
            refuse_unknown(table[name], known, at, ProtocolError)
    refuse_twice(table["utt_id"], at, ProtocolError)
    for name in set(COLUMNS) - set(table.columns):
        table[name] = UNKNOWN
    table["attack"] = table["attack"].where(table["label"] == "spoof", UNKNOWN)
    return table[COLUMNS + [name for name in ("subset", "split") if name in table.columns]].astype("str")
