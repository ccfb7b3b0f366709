"""Score files: read and written in the organisers' forms and in our own, and joined with a key.

A score file gives one number a trial, higher = more bona fide. The separator (tab, semicolon, comma or white space) and
the heading are found out. Nothing is repaired on the way: an id, number or label that does not fit is a `TableError`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aasist_lib.files import atomic, sweep
from aasist_lib.metrics import split_classes
from aasist_lib.metrics.rates import eer_point, rank
from aasist_lib.tabular import TabularError, fields, head, read_parquet, read_rows, read_text, refuse_line_breaks

LABELS = ("bonafide", "spoof")
SUBSETS = ("progress", "eval", "hidden")
ALIASES = {  # names in headings, in lower case and with '-' for '_'
    "utt_id": ("utt-id", "utt", "utterance", "utterance-id", "filename", "file-name", "file", "trial", "trial-id", "id"),
    "score": ("score", "scores", "cm-score", "cm-scores", "cmscore", "llr"),
    "label": ("label", "key", "cm-label"),
    "attack": ("attack", "attack-id", "attack-anon"),
}
FORMS = ("asvspoof5", "asvspoof2019", "asvspoof2021", "csv", "parquet")
FAR_BETTER = 0.2  # by so much must the inverted sign lower the EER to be spoken of
_SUFFIX = r"\.(?:flac|wav|ogg|mp3|opus|aiff|m4a)$"
_SHOWN = 5


class TableError(TabularError):
    """A score file or key that cannot be used; the message names the file, and the line where there is one."""


class AsvScores(NamedTuple):
    """Scores of a speaker verifier, (trials,) each: pass them on as `asv_error_rates(*scores)`."""

    target: NDArray[np.float64]
    nontarget: NDArray[np.float64]
    spoof: NDArray[np.float64]


def read_scores(path: str | Path) -> pd.DataFrame:
    """A score file as a table with `utt_id`, `score` (float64) and, where the file has them, `label` and `attack`.

    Read are: parquet and headed text whose columns have one of the names in `ALIASES`, and three forms without a heading:
    `utterance score` (ASVspoof 2021), `utterance attack key score` (2019), `speaker utterance score key`. Text may be
    gzipped (`.gz`).

    Raises:
        TableError: no such file, a form that is none of these, a score that is not finite, an id that occurs twice, or a
            label that is neither 'bonafide' nor 'spoof'.
    """
    path = Path(path)
    table = _named(path)
    numbers = pd.to_numeric(table["score"], errors="coerce")
    _refuse(path, ~np.isfinite(numbers), table["score"], "scores are not finite numbers")
    _refuse(path, table["utt_id"].isna() | (table["utt_id"].str.strip() == ""), table["score"], "scores have no id")
    if (twice := table["utt_id"].duplicated()).any():
        first = table.index[table["utt_id"] == table.loc[twice, "utt_id"].iloc[0]][0]
        _refuse(path, twice, table["utt_id"], f"ids occurred before, the first at {path}:{first}")
    if "label" in table.columns:
        _refuse(path, ~table["label"].isin(LABELS), table["label"], f"labels are neither {' nor '.join(LABELS)}")
    others = [name for name in ("label", "attack") if name in table.columns]
    scores = table["score"].astype("float64")  # exact to the last digit, which to_numeric is not
    return table[["utt_id", *others]].assign(score=scores)[["utt_id", "score", *others]].reset_index(drop=True)


def write_scores(table: pd.DataFrame, path: str | Path, form: str) -> None:
    """Write a score table atomically; scores keep every digit. What a killed process left unfinished beside it goes.

    Args:
        table: `utt_id`, `score`, and for 'asvspoof2019' also `label` and `attack`.
        path: gzipped when it ends with `.gz`.
        form: 'asvspoof5' (heading `filename cm-score`, tabs), 'asvspoof2019' (`utterance attack key score`),
            'asvspoof2021' (`utterance score`), 'csv' or 'parquet' (both with every column).

    Raises:
        TableError: an unknown form, a column that the form needs is missing, or white space in a field, which the text
            forms cannot hold.
    """
    if form not in FORMS:
        raise TableError(f"form = '{form}': score files are written as {', '.join(FORMS)}")
    columns = ["utt_id", "attack", "label", "score"] if form == "asvspoof2019" else ["utt_id", "score"]
    if missing := [name for name in columns if name not in table.columns]:
        raise TableError(f"the form '{form}' needs {', '.join(columns)}; the table has no {', '.join(missing)}")
    if form == "csv":
        refuse_line_breaks(table, path, TableError)
    sweep(Path(path).parent, deep=False)
    if form in ("csv", "parquet"):
        with atomic(path) as file:
            table.to_parquet(file, index=False) if form == "parquet" else table.to_csv(file, index=False)
        return
    for name in columns[:-1]:
        spaced = table[name].astype(str).str.contains(r"\s|^$", regex=True)
        if spaced.any():
            found = _some(map(repr, table.loc[spaced, name]))
            raise TableError(f"{int(spaced.sum())} values of {name} are empty or hold white space: {found}; write a csv")
    with atomic(path) as file:
        header = ["filename", "cm-score"] if form == "asvspoof5" else False
        table[columns].to_csv(file, sep="\t" if form == "asvspoof5" else " ", index=False, header=header)


def join(scores: pd.DataFrame, key: pd.DataFrame, names: tuple[str, str] = ("the scores", "the key")) -> pd.DataFrame:
    """The score table of the key's trials, in the key's order: `utt_id, score`, then the key's other columns.

    Two systems joined with one key are therefore aligned. Where the key has a column `subset` (ASVspoof 2021), the
    trials of 'eval' are taken, which are those that the organisers count; scores of its other trials may be there. Where it
    has a column `split` (our trial tables), the splits are taken that any of the scores is of, and they must be scored whole.

    Args:
        scores: as `read_scores` gives it. Labels in it must agree with the key.
        key: as `corpora.protocols.read_key` gives it.
        names: what the messages call the two, such as their paths.

    Raises:
        TableError: ids stand in one table only or occur twice, or labels contradict each other.
    """
    for table, name in zip((scores, key), names, strict=True):
        twice = table["utt_id"][table["utt_id"].duplicated()]
        if len(twice):
            raise TableError(f"{name}: {len(twice)} ids occur more than once: {_some(twice)}")
    wanted = key[key["subset"] == "eval"] if "subset" in key.columns else key
    if "split" in key.columns:
        scored = wanted.loc[wanted["utt_id"].isin(scores["utt_id"]), "split"]
        wanted = wanted[wanted["split"].isin(scored)] if len(scored) else wanted
    if wanted.empty:
        raise TableError(f"{names[1]}: no trial of the subset 'eval' to evaluate")
    _refuse_unmatched(scores["utt_id"], key["utt_id"], wanted["utt_id"], names)
    joined = wanted.merge(scores, on="utt_id", how="left", suffixes=("", "_of_scores"), validate="one_to_one")
    if "label_of_scores" in joined.columns:
        wrong = joined["label"] != joined["label_of_scores"]
        if wrong.any():
            raise TableError(
                f"{int(wrong.sum())} of {len(joined)} labels in {names[0]} contradict {names[1]}: "
                f"{_some(joined.loc[wrong, 'utt_id'])}; is it the key of these scores?"
            )
    return joined[["utt_id", "score", *(name for name in wanted.columns if name not in ("utt_id", "score"))]]


def check_sign(table: pd.DataFrame) -> str | None:
    """A loud sentence when the inverted scores would give a far better EER, else None. The table stays as it is.

    Args:
        table: `score` and `label`.
    """
    bonafide, spoof = split_classes(table["label"], table["score"])
    value, inverted = (eer_point(rank(*classes).curve)[0] for classes in ((bonafide, spoof), (-bonafide, -spoof)))
    if value - inverted < FAR_BETTER:
        return None
    return (
        f"THE SIGN OF THE SCORES LOOKS WRONG: the EER is {value:.2%}, with every score negated it would be "
        f"{inverted:.2%}. A higher score must mean more bona fide. Nothing was changed: negate the scores in the file if "
        "they mean the opposite."
    )


def read_asv(path: str | Path) -> AsvScores:
    """The speaker verifier's scores, from the files that the organisers distribute, for the t-DCF.

    ASVspoof 2019: `attack key score`, the key being target, nontarget or spoof. ASVspoof 2021: `speaker utterance score`,
    line by line beside the key in `../trial_metadata.txt`, of which the subset 'eval' is taken.

    Raises:
        TableError: no such file, another form, a score that is not finite, or a class without scores.
    """
    path = Path(path)
    table = _read_text(path)
    if table.shape[1] != 3:
        raise TableError(
            f"{path}:{table.index[0]}: {table.shape[1]} columns; ASV scores have three: attack, key and score (ASVspoof 2019) "
            "or speaker, utterance and score (2021)"
        )
    numbers = pd.to_numeric(table[2], errors="coerce")
    _refuse(path, ~np.isfinite(numbers), table[2], "scores are not finite numbers")
    kinds, values = table[1], table[2].astype("float64")
    if not kinds.isin(AsvScores._fields).any():
        kinds = _asv_key_2021(path, kinds)
    else:
        _refuse(path, ~kinds.isin(AsvScores._fields), kinds, f"keys are none of {', '.join(AsvScores._fields)}")
    classes = AsvScores(*(values[(kinds == kind).to_numpy()].to_numpy() for kind in AsvScores._fields))
    if empty := [kind for kind, found in classes._asdict().items() if not found.size]:
        raise TableError(f"{path}: no {' and no '.join(empty)} scores: the t-DCF needs target, nontarget and spoof")
    return classes


def _asv_key_2021(path: Path, utterances: pd.Series) -> pd.Series:
    """The key of each line, '-' outside the subset 'eval'."""
    file = path.resolve().parent.parent / "trial_metadata.txt"
    if not file.is_file():
        raise TableError(
            f"{path}: the second column holds neither target, nontarget nor spoof, so this is the form of ASVspoof 2021, "
            f"whose key must lie at {file}: keep the organisers' folder keys/LA/ASV as it unpacks"
        )
    key = _read_text(file)
    if key.shape[1] < 8:
        raise TableError(f"{file}:{key.index[0]}: {key.shape[1]} columns; a key of ASVspoof 2021 has at least 8")
    shared = min(len(key), len(utterances))
    other = np.flatnonzero(key[1].to_numpy()[:shared] != utterances.to_numpy()[:shared])
    if len(key) != len(utterances) or other.size:
        row = int(other[0]) if other.size else shared
        places = (
            f"{of}:{lines.index[row]}" if row < len(lines) else str(of) for of, lines in ((file, key), (path, utterances))
        )
        raise TableError(
            f"{': not the key of '.join(places)}: they must list the same utterances, line by line; they have {len(key)} "
            f"and {len(utterances)} of them"
        )
    for column, known in ((5, AsvScores._fields), (7, SUBSETS)):
        _refuse(file, ~key[column].isin(known), key[column], f"values are none of {', '.join(known)}")
    return key[5].where(key[7] == "eval", "-")


def _refuse_unmatched(scored: pd.Series, keyed: pd.Series, wanted: pd.Series, names: tuple[str, str]) -> None:
    unkeyed = scored[pd.Index(keyed).get_indexer(scored) < 0]  # by hash: `isin` is ten times slower on text
    unscored = wanted[pd.Index(scored).get_indexer(wanted) < 0]
    parts = [
        f"{len(extra)} of {size} ids of {name} are not in {other}: {_some(extra)}"
        for extra, size, name, other in (
            (unkeyed, len(scored), names[0], names[1]),
            (unscored, len(wanted), names[1], names[0]),
        )
        if len(extra)
    ]
    if not parts:
        return
    bare = [ids.str.replace(r"^.*[/\\]", "", regex=True).str.replace(_SUFFIX, "", regex=True) for ids in (unkeyed, unscored)]
    if bare[0].isin(bare[1]).any():
        parts.append("Without folders and file endings ids do match: write the bare ids into the score file.")
    raise TableError("\n  ".join(parts))


def _named(path: Path) -> pd.DataFrame:
    """The table with canonical column names; the index holds line numbers."""
    if path.suffix == ".parquet":
        _need_file(path)
        table = read_parquet(path, TableError)
        return _rename(str(path), table.set_axis(range(1, len(table) + 1)), list(map(str, table.columns)))
    table = _read_text(path)
    first = list(table.iloc[0])
    if {"utt_id", "score"} & {_canonical(cell) for cell in first}:
        return _rename(f"{path}:{table.index[0]}", table.iloc[1:], first)
    if len(first) == 2:
        return table.set_axis(["utt_id", "score"], axis=1)
    if len(first) == 4 and first[2] in LABELS:
        return table.set_axis(["utt_id", "attack", "label", "score"], axis=1)
    if len(first) == 4 and first[3] in LABELS:
        return table.set_axis(["speaker", "utt_id", "score", "label"], axis=1)
    raise TableError(
        f"{path}:{table.index[0]}: {len(first)} columns without a known heading; write 'utt_id' and 'score' above them, "
        "or use 'utterance score' or 'utterance attack key score'"
    )


def _rename(where: str, table: pd.DataFrame, heading: list[str]) -> pd.DataFrame:
    """The table with canonical names, both needed columns in it; `where` is the heading's file and line."""
    names = [name if name in ALIASES else _canonical(name) for name in heading]
    for column in ALIASES:
        if heading.count(column) > 1:
            raise TableError(f"{where}: several columns are called {column}: rename or remove one")
        if column in heading:  # our own name wins over an alias of it, which keeps its name
            names = [given if name == column != given else name for name, given in zip(names, heading, strict=True)]
        elif names.count(column) > 1:
            found = [given for name, given in zip(names, heading, strict=True) if name == column]
            raise TableError(f"{where}: columns {', '.join(found)} could all be {column}: name one of them '{column}'")
    if missing := [name for name in ("utt_id", "score") if name not in names]:
        raise TableError(f"{where}: no column {' and no '.join(missing)}; it has {', '.join(names)}")
    table = table.set_axis(names, axis=1)
    if table.empty:
        raise TableError(f"{where}: a heading and no scores")
    return table.assign(**{name: table[name].astype(str) for name in ("utt_id", "label", "attack") if name in names})


def _canonical(cell: str) -> str:
    plain = cell.strip().lower().replace("_", "-")
    return next((name for name, aliases in ALIASES.items() if plain in aliases), cell)


def _read_text(path: Path) -> pd.DataFrame:
    """The fields of a text file as text, without blank lines; the index holds line numbers."""
    _need_file(path)
    first = head(read_text(path, TableError), skip_blank=True)
    columns = len(fields(path, first, TableError))
    if not columns:
        raise TableError(f"{path}: not a table: there is nothing in it")
    table = read_rows(path, first.whole, first.mark, TableError, first=first.number, columns=columns)
    table.index += first.number
    table = table.apply(lambda column: column.str.strip(" \t"))
    return table[(table != "").any(axis=1)]


def _need_file(path: Path) -> None:
    if not path.is_file():
        raise TableError(f"{path}: no such file")


def _refuse(path: Path, bad: pd.Series, values: pd.Series, what: str) -> None:
    if bad.any():
        raise TableError(f"{path}:{bad.index[bad][0]}: {int(bad.sum())} {what}: {_some(map(repr, values[bad]))}")


def _some(items: Iterable[object]) -> str:
    texts = list(map(str, items))
    return ", ".join(texts[:_SHOWN]) + (" …" if len(texts) > _SHOWN else "")
