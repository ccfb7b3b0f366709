"""Read and write score files in the organisers' formats and the workbook's own.

A score file has one number per trial, higher = more bona fide. Separator (tab, semicolon, comma or white space) and heading are
detected or given. Nothing is repaired: an invalid id, number or label is a `TableError`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from aasist_lib.conventions import (
    DECIMAL_COMMA,
    LABELS,
    NAMES,
    UNKNOWN,
    column_of,
    known_words,
    read_labels,
)  # fmt: skip
from aasist_lib.runtime.files import atomic, sweep
from aasist_lib.runtime.text_tables import (
    TabularError,
    fields,
    head,
    read_parquet,
    read_rows,
    read_text,
    refuse_json_lines,
    refuse_line_breaks,
)  # fmt: skip

FORMS = ("asvspoof5", "asvspoof2019", "asvspoof2021", "csv", "parquet")
LOGITS = ("spoof", "bonafide")
"""Names in `columns` of the two logits whose difference is the score."""
_READ = ("utt_id", "score", "label", "attack", "speaker", *LOGITS)
_SHOWN = 5


class TableError(TabularError):
    """A score file or key cannot be used; the message names the file and, if possible, the line."""


def read_scores(path: str | Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a score file: a table with `utt_id`, `score` (float64) and, if the file has them, `label` and `attack`.

    Formats: parquet, text with a heading whose column names are in `conventions.NAMES`, and text without a heading:
    `utterance score` (ASVspoof 2021), `utterance score label`, `utterance attack label score` (2019), `speaker utterance score
    label`. Labels may be any of `conventions.LABEL_WORDS`. An ASVspoof 5 track 2 file has several lines per utterance, one per
    speaker, and is reduced to one row per utterance. Text may be gzipped (`.gz`).

    Args:
        columns: the file's columns, if they cannot be detected: names in order, such as ['utt_id', 'spoof',
            'bonafide'] for two logits, '-' for an unused column; or `name=heading`, such as ['score=p_real'].

    Raises:
        TableError: the file is missing or has another format, a score is not finite, an id occurs twice, or a label is
            unknown.
    """
    path = Path(path)
    table = _told(path, columns) if columns else _named(path)
    if set(LOGITS) <= set(table.columns):
        for name in LOGITS:
            refuse_numbers(path, table[name])
        table["score"] = (table["bonafide"].astype("float64") - table["spoof"].astype("float64")).map(repr)
    refuse_numbers(path, table["score"])
    refuse(path, table["utt_id"].isna() | (table["utt_id"].str.strip() == ""), table["score"], "scores have no id")
    table = _once_each(path, table)
    if "label" in table.columns:
        read = read_labels(table["label"])
        words = " nor ".join(known_words(label) for label in LABELS)
        refuse(path, ~read.isin(LABELS), table["label"], f"labels are neither {words}")
        table["label"] = read
    others = [name for name in ("label", "attack") if name in table.columns]
    scores = table["score"].astype("float64")  # exact to the last digit, unlike to_numeric
    return table[["utt_id", *others]].assign(score=scores)[["utt_id", "score", *others]].reset_index(drop=True)


def refuse_numbers(path: Path, values: pd.Series) -> None:
    bad = ~np.isfinite(pd.to_numeric(values, errors="coerce"))
    if bad.any() and values[bad].astype("str").str.fullmatch(DECIMAL_COMMA.pattern).all():
        raise _decimal_comma(path, int(values.index[bad][0]), values[bad].iloc[0])
    refuse(path, bad, values, "scores are not finite numbers")


def _once_each(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Reduce the table to one row per utterance; an utterance's lines must agree."""
    twice = table["utt_id"].duplicated()
    if not twice.any():
        return table
    others = [name for name in ("utt_id", "score", "label") if name in table.columns]
    first = ~twice
    if "speaker" in table.columns and table.duplicated(["utt_id", "speaker"]).sum() == 0:
        if (contradicting := twice & ~table.duplicated(others)).any():
            refuse(path, contradicting, table["utt_id"], "ids have a different score in an earlier line")
        return table[first]
    earlier = table.index[table["utt_id"] == table.loc[twice, "utt_id"].iloc[0]][0]
    refuse(path, twice, table["utt_id"], f"ids are duplicates; the first is also in {path}:{earlier}")
    raise AssertionError("refused above")


def write_scores(table: pd.DataFrame, path: str | Path, form: str) -> None:
    """Write a score table atomically, with all digits; temporary files of killed processes are removed.

    Args:
        table: `utt_id`, `score`, and for 'asvspoof2019' also `label` and `attack`.
        path: gzipped if it ends with `.gz`.
        form: 'asvspoof5' (heading `filename cm-score`, tabs), 'asvspoof2019' (`utterance attack key score`),
            'asvspoof2021' (`utterance score`), 'csv' or 'parquet' (both with every column).

    Raises:
        TableError: an unknown format, a missing column that the format needs, or white space in a field, which the text
            formats cannot represent.
    """
    columns = refuse_form(table, path, form)
    sweep(Path(path).parent, deep=False)
    if form in ("csv", "parquet"):
        with atomic(path) as file:
            table.to_parquet(file, index=False) if form == "parquet" else table.to_csv(file, index=False)
        return
    with atomic(path) as file:
        header = ["filename", "cm-score"] if form == "asvspoof5" else False
        table[columns].to_csv(file, sep="\t" if form == "asvspoof5" else " ", index=False, header=header)


def refuse_form(table: pd.DataFrame, path: str | Path, form: str) -> list[str]:
    """Raise an error if this format cannot represent the table; else return its columns. `score` may still be missing.

    Raises:
        TableError: as `write_scores`.
    """
    if form not in FORMS:
        raise TableError(f"form = '{form}': unknown; score files are written as {', '.join(FORMS)}")
    columns = ["utt_id", "attack", "label", "score"] if form == "asvspoof2019" else ["utt_id", "score"]
    if missing := [name for name in columns[:-1] if name not in table.columns]:
        raise TableError(f"the format '{form}' needs {', '.join(columns)}; the table has no {', '.join(missing)}")
    if form == "csv":
        refuse_line_breaks(table, path, TableError)
    if form in ("csv", "parquet"):
        return columns
    for name in columns[:-1]:
        spaced = table[name].astype(str).str.contains(r"\s|^$", regex=True)
        if spaced.any():
            found, other = some(map(repr, table.loc[spaced, name])), Path(path).with_suffix(".csv")
            raise TableError(f"{int(spaced.sum())} values of {name} are empty or have white space: {found}; write {other.name}")
    return columns


# ---- reading ---------------------------------------------------------------------------------------------------------


def _named(path: Path) -> pd.DataFrame:
    """Read a table with canonical column names; its index has the line numbers."""
    if path.suffix == ".parquet":
        _need_file(path)
        table = read_parquet(path, TableError)
        return _rename(str(path), table.set_axis(range(1, len(table) + 1)), list(map(str, table.columns)))
    table = read_text_table(path)
    first = list(table.iloc[0])
    if _is_heading(first) or _is_strange_heading(table):
        return _rename(f"{path}:{table.index[0]}", table.iloc[1:], first)
    if (names := _by_content(table)) is not None:
        return table.set_axis(names, axis=1)
    raise TableError(
        f"{path}:{table.index[0]}: {table.shape[1]} columns without a known heading, so the score column is unknown: "
        "name the columns in order with --columns: "
        f"{' '.join(_guess(table))} (two logits: --columns utt_id spoof bonafide; '-' = an unused column)"
    )


def _by_content(table: pd.DataFrame) -> list[str] | None:
    """Infer the columns of a table without a heading from most of its lines; None if unclear."""
    numbers = [pd.to_numeric(table[name], errors="coerce").notna().mean() > 0.5 for name in table.columns]
    are = [read_labels(table[name]).isin(LABELS).mean() for name in table.columns]
    labels = [share == 1 or share > 0.5 and not number for share, number in zip(are, numbers, strict=True)]
    if table.shape[1] == 2:
        return ["utt_id", "score"]
    forms = {3: (["utt_id", "score", "label"], ["utt_id", "label", "score"]),
             4: (["utt_id", "attack", "label", "score"], ["speaker", "utt_id", "score", "label"])}  # fmt: skip
    fitting = [
        form for form in forms.get(table.shape[1], ()) if numbers[form.index("score")] and labels[form.index("label")]
    ]  # fmt: skip
    if len(fitting) == 2:  # scores that are all 0 or 1 look like labels
        fitting = [form for form in fitting if not labels[form.index("score")]]
    return fitting[0] if len(fitting) == 1 else None


def _guess(table: pd.DataFrame) -> list[str]:
    """Suggest a value for `--columns`: ids first, then the only numeric column, if any."""
    numbers = [pd.to_numeric(table[name], errors="coerce").notna().all() for name in table.columns]
    return ["utt_id", *("score" if number and sum(numbers) == 1 else "-" for number in numbers[1:])]


def _told(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a table with the column names given by the user."""
    by_name = {column: heading for column, mark, heading in (each.partition("=") for each in columns) if mark}
    names = [*by_name] if by_name else [name for name in columns if name != UNKNOWN]
    given = f"--columns {' '.join(columns)}"
    if unknown := [name for name in names if name not in _READ]:
        raise TableError(f"{given}: unknown column {', '.join(unknown)}; known are {', '.join(_READ)}, and '-'")
    if not ("utt_id" in names and ("score" in names or set(LOGITS) <= set(names))) or len(set(names)) < len(names):
        raise TableError(f"{given}: give utt_id and score, or utt_id and both logits, spoof and bonafide; each once")
    if by_name and len(by_name) < len(columns):
        raise TableError(f"{given}: give either name=heading for all columns, or all names in the order of the file's columns")
    if path.suffix == ".parquet":
        _need_file(path)
        table = read_parquet(path, TableError)
        table = table.set_axis(range(1, len(table) + 1)).astype({name: "str" for name in table.columns})
    else:
        table = read_text_table(path)
        if by_name:
            table = table.iloc[1:].set_axis(list(table.iloc[0]), axis=1)
    if by_name:
        if absent := [heading for heading in by_name.values() if heading not in table.columns]:
            raise TableError(f"{path}: {given}: no heading {', '.join(absent)}; it has {', '.join(map(str, table.columns))}")
        return table[list(by_name.values())].set_axis(list(by_name), axis=1)
    if len(columns) != table.shape[1]:
        raise TableError(f"{path}: {given} names {len(columns)} columns, the file has {table.shape[1]}")
    table = table.set_axis(range(table.shape[1]), axis=1)[[place for place, name in enumerate(columns) if name != UNKNOWN]]
    table = table.set_axis(names, axis=1)
    number = names[-1] if "score" not in names else "score"
    if pd.to_numeric(table[number].iloc[:1], errors="coerce").isna().all() and len(table) > 1:  # a heading
        table = table.iloc[1:]
    return table


def _is_heading(cells: Sequence[str]) -> bool:
    return bool({"utt_id", "score"} & {column_of(cell) or cell for cell in cells})


def _is_strange_heading(table: pd.DataFrame) -> bool:
    """Whether the first line has a word in a column where most other lines have a number."""
    words = table.iloc[0].str.fullmatch(r"(?!(?i:nan|inf|infinity)$)[A-Za-z_].*")
    below = table.iloc[1:].apply(lambda column: pd.to_numeric(column, errors="coerce").notna().mean() > 0.5)
    return len(table) > 1 and bool((words & below).any())


def _rename(where: str, table: pd.DataFrame, heading: list[str]) -> pd.DataFrame:
    """Rename the columns canonically and check that utt_id and score exist; `where` is the heading's file and line."""
    names = [name if name in NAMES else column_of(name) or name for name in heading]
    for column in ("utt_id", "score", "label", "attack", "speaker"):
        if heading.count(column) > 1:
            raise TableError(f"{where}: several columns are called {column}: rename or remove one")
        if column in heading:  # the canonical name takes precedence over an alias
            names = [given if name == column != given else name for name, given in zip(names, heading, strict=True)]
        elif names.count(column) > 1:
            found = [given for name, given in zip(names, heading, strict=True) if name == column]
            raise TableError(
                f"{where}: columns {', '.join(found)} could all be {column}: rename one of them to '{column}', or choose one: "
                f"--columns {_by_heading(heading, {column: found[0]})}"
            )
    if missing := [name for name in ("utt_id", "score") if name not in names]:
        raise TableError(
            f"{where}: no column {' and no '.join(missing)}; it has {', '.join(names)}. Name the columns: "
            "--columns utt_id=HEADING score=HEADING (two logits: utt_id=HEADING spoof=HEADING bonafide=HEADING)"
        )
    table = table.set_axis(names, axis=1)
    if table.empty:
        raise TableError(f"{where}: a heading but no scores")
    return table.assign(**{name: table[name].astype(str) for name in ("utt_id", "label", "attack") if name in names})


def _by_heading(heading: list[str], chosen: dict[str, str]) -> str:
    """Suggest a value for `--columns` for a heading, with these columns already chosen."""
    for column in ("utt_id", "score"):
        fitting = [given for given in heading if given == column or column_of(given) == column]
        chosen = {column: fitting[0] if fitting else "HEADING"} | chosen
    return " ".join(f"{column}={given}" for column, given in chosen.items())


def heading_words(path: Path) -> list[str]:
    """Return the words of a text file's first line, in lower case."""
    _need_file(path)
    return head(read_text(path, TableError), skip_blank=True).text.lower().replace("_", "-").split()


def read_text_table(path: Path) -> pd.DataFrame:
    """Read the fields of a text file as text, without blank lines; the index has the line numbers."""
    _need_file(path)
    first = head(read_text(path, TableError), skip_blank=True)
    refuse_json_lines(path, first, TableError)
    words = first.text.split()
    if first.mark == "," and len(words) > 1 and (commas := [word for word in words if DECIMAL_COMMA.fullmatch(word)]):
        raise _decimal_comma(path, first.number, commas[0])
    named = fields(path, first, TableError)
    columns = len(named)
    if not columns:
        raise TableError(f"{path}: not a table: the file is empty")
    following = head(first.rest, skip_blank=True)
    if _is_heading(named) and following.text.strip() and following.text.count(first.mark) >= columns and first.mark == " ":
        there = len(following.text.split())
        raise TableError(
            f"{path}:{first.number}: the heading names {columns} columns, line {first.number + following.number} has {there}: "
            f"remove the heading, or name all columns, such as '{' '.join([*named, 'label', 'attack'][:there])}'"
        )
    table = read_rows(path, first.whole, first.mark, TableError, first=first.number, columns=columns)
    table.index += first.number
    table = table.apply(lambda column: column.str.strip(" \t"))
    return table[(table != "").any(axis=1)]


def _decimal_comma(path: Path, line: int, value: str) -> TableError:
    made = path.with_name(f"{path.name.split('.')[0]}_points.txt")
    edit = r"sed 's/\([0-9]\),\([0-9]\)/\1.\2/g'"
    name = shlex.quote(str(path))
    command = f"gzip -cd {name} | {edit}" if path.suffix == ".gz" else f"{edit} {name}"
    said = f"{path}:{line}: {value!r} has a decimal comma; numbers need a point"
    return TableError(f"{said}: {command} > {shlex.quote(str(made))}")


def _need_file(path: Path) -> None:
    if not path.is_file():
        raise TableError(f"{path}: no such file")


def refuse(path: Path, bad: pd.Series, values: pd.Series, what: str) -> None:
    if bad.any():
        raise TableError(f"{path}:{bad.index[bad][0]}: {int(bad.sum())} {what}: {some(map(repr, values[bad]))}")


def some(items: Iterable[object]) -> str:
    texts = list(map(str, items))
    return ", ".join(texts[:_SHOWN]) + (" …" if len(texts) > _SHOWN else "")
