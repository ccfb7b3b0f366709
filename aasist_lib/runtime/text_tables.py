"""Tables from files of other people, read strictly: nothing is guessed, skipped or repaired, and what is wrong is named with
its line. Protocols, keys, trial tables and score files are all read here.
"""

from __future__ import annotations

import codecs
import gzip
import json
import shlex
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow
import pyarrow.csv
import pyarrow.parquet

from aasist_lib.errors import AasistError

_SHOWN = 120
_LONGEST_LINE = 500
_LARGEST_BLOCK = 2**31 - 1


class TabularError(AasistError, ValueError):
    """A table cannot be used. Long lines of the message, such as quoted values, are shortened in the middle."""

    def __init__(self, message: str) -> None:
        half = _LONGEST_LINE // 2
        lines = (line if len(line) <= _LONGEST_LINE else f"{line[:half]} … {line[-half:]}" for line in message.split("\n"))
        super().__init__("\n".join(lines))


class Head(NamedTuple):
    """The first line of a text that is not blank, and the text around it."""

    number: int
    """Counted from 1."""
    text: str
    whole: bytes
    """The text from this line on."""
    rest: bytes
    """The text after this line."""

    @property
    def mark(self) -> str:
        """The field separator: tab, semicolon, comma, or else blanks (' ')."""
        return next((mark for mark in "\t;," if mark in self.text), " ")


def read_text(path: Path, error: type[ValueError]) -> bytes:
    """Read a text file: unpacked if its name ends with `.gz`, without byte order mark, with bare newlines.

    Raises:
        error: the file cannot be read or unpacked, is not in UTF-8, or holds a NUL (file and line are named).
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as reason:
        raise error(f"{path}: cannot be read ({reason}); download or write it again") from reason
    data = data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        data.decode("utf-8")
        wrong = data.find(b"\0")
    except UnicodeDecodeError as reason:
        wrong = reason.start
    if wrong >= 0:
        line = data.count(b"\n", 0, wrong) + 1
        raise error(f"{path}:{line}: not a text file in UTF-8 (byte 0x{data[wrong]:02x}); save it in UTF-8")
    return data


def head(data: bytes, skip_blank: bool = False) -> Head:
    """The first line of the output of `read_text`, or the first that is not blank; '' if there is none."""
    number, start = 1, 0
    while True:
        end = data.find(b"\n", start)
        line = data[start:] if end < 0 else data[start:end]
        if line.strip() or end < 0 or not skip_blank:
            return Head(number, line.decode("utf-8"), data[start:], b"" if end < 0 else data[end + 1 :])
        number, start = number + 1, end + 1


def refuse_json_lines(path: Path, line: Head, error: type[ValueError]) -> None:
    """Raise an error if the first line is a JSON object, with a command that converts a file of such lines to a table."""
    if not line.text.lstrip().startswith(("{", "[")):
        return
    try:
        found = json.loads(line.text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not line.rest.strip():
        raise error(f"{path}:{line.number}: JSON; a table with one line per trial is needed: id and score, or id and label")
    code = "import sys, pandas; pandas.read_json(sys.argv[1], lines=True, dtype=False).to_csv(sys.argv[2], index=False)"
    made = path.with_name(f"{path.name.split('.')[0]}.csv")
    command = shlex.join(["python", "-c", code, str(path), str(made)])
    raise error(f"{path}:{line.number}: JSON lines; a table is needed: {command}")


def fields(path: Path, line: Head, error: type[ValueError], mark: str | None = None) -> list[str]:
    """The fields of one line, such as a heading; none if it is blank. `mark` and errors as in `read_rows`."""
    if not line.text.strip(" \t"):
        return []
    row = read_rows(path, line.text.encode() + b"\n", mark or line.mark, error, first=line.number).iloc[0]
    return [field.strip(" ") for field in row]


def read_rows(
    path: Path,
    data: bytes,
    mark: str,
    error: type[ValueError],
    *,
    first: int = 1,
    columns: int | None = None,
    wanted: Sequence[int] | None = None,
    form: str = "",
) -> pd.DataFrame:
    """All lines of `data` as text, one row per line; blank lines are rows of ''.

    Fields may be quoted as in CSV. If blanks separate the fields there are no quotes, and runs of blanks and tabs count as one.

    Args:
        path: named in messages.
        data: output of `read_text` from line `first` on.
        mark: the field separator.
        columns: number of fields per line; by default as many as the first line has.
        wanted: positions, from 0, of the fields to return; by default all.
        form: name of lines with this number of fields, for the message.

    Returns:
        `(lines, wanted)`; columns are named by their positions.

    Raises:
        error: a line has another number of fields, or an unclosed quotation mark.
    """
    if not data:
        return pd.DataFrame({place: pd.Series(dtype="str") for place in wanted or range(columns or 0)})
    if mark == " ":
        data = _single_spaces(data)
    elif b'"' in data:
        _refuse_open_quotes(path, data, first, error)
    wrong: list[pyarrow.csv.InvalidRow] = []

    def note(row: pyarrow.csv.InvalidRow) -> str:
        wrong.append(row)
        return "skip"

    settings = (
        # Rows are numbered only if one thread reads them; a line must fit into a block, however long it is.
        pyarrow.csv.ReadOptions(
            use_threads=False,
            block_size=min(len(data) + 2, _LARGEST_BLOCK),
            column_names=None if columns is None else [f"f{place}" for place in range(columns)],
            autogenerate_column_names=columns is None,
        ),
        pyarrow.csv.ParseOptions(
            delimiter=mark, quote_char=False if mark == " " else '"', ignore_empty_lines=False, invalid_row_handler=note
        ),
        pyarrow.csv.ConvertOptions(
            default_column_type=pyarrow.string(),
            include_columns=None if wanted is None else [f"f{place}" for place in wanted],
        ),
    )
    try:
        table = pyarrow.csv.read_csv(pyarrow.BufferReader(data), *settings)
    except pyarrow.ArrowInvalid as reason:
        raise error(f"{path}:{first}: not a table after this line: {reason}") from reason
    if wrong:
        row, called = wrong[0], f" ({form})" if form else ""
        raise error(
            f"{path}:{row.number + first - 1}: {row.expected_columns} fields are needed{called}, "
            f"found {row.actual_columns}: {row.text[:_SHOWN]!r}"
        )
    return table.to_pandas().set_axis(list(wanted or range(table.num_columns)), axis=1)


def read_parquet(path: Path, error: type[ValueError]) -> pd.DataFrame:
    """Read a parquet file: numbers stay numbers, all other columns become text; missing values stay missing.

    Raises:
        error: the file is damaged or not parquet, two columns have one name, or a column is neither text nor numbers.
    """
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)
    except (pyarrow.ArrowException, OSError, ValueError) as reason:
        raise error(f"{path}: not a parquet file, or damaged: {reason}") from reason
    for place, field in enumerate(table.schema):
        if table.column_names.count(field.name) > 1:
            raise error(f"{path}: two columns are named {field.name!r}; rename or remove one")
        if pyarrow.types.is_integer(field.type) or pyarrow.types.is_floating(field.type):
            continue
        try:
            table = table.set_column(place, field.name, table.column(place).cast(pyarrow.string()))
        except (pyarrow.ArrowNotImplementedError, pyarrow.ArrowInvalid) as reason:
            raise error(f"{path}: column {field.name!r} holds {field.type}, not text or numbers; remove it") from reason
    return table.to_pandas(ignore_metadata=True)


def refuse_line_breaks(table: pd.DataFrame, path: str | Path, error: type[ValueError]) -> None:
    """Raise an error at the first value with a line break: written as text, it could not be read back."""
    for name in table.columns:
        values = table[name].astype("str")
        broken = values[values.str.contains("[\\r\\n\\0]", na=False)]
        if len(broken):
            raise error(f"{path}: line breaks or NULs in column {name}, such as {broken.iloc[0]!r}: write a .parquet table")


def _refuse_open_quotes(path: Path, data: bytes, first: int, error: type[ValueError]) -> None:
    """An unclosed quotation mark would swallow all lines up to the next one."""
    for number, line in enumerate(data.split(b"\n"), first):
        if line.count(b'"') % 2:
            said = "unclosed quotation mark; close it, double it, or write the table as .parquet"
            raise error(f"{path}:{number}: {said}: {line.decode()[:_SHOWN]!r}")


def _single_spaces(data: bytes) -> bytes:
    """Replace runs of blanks and tabs by one blank; remove them at both ends of a line."""
    data = data.replace(b"\t", b" ")
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data.replace(b" \n", b"\n").replace(b"\n ", b"\n").strip(b" ")
