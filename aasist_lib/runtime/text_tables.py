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
    """A table that cannot be used. Long lines of the message, as where it quotes a damaged value, lack their middle."""

    def __init__(self, message: str) -> None:
        half = _LONGEST_LINE // 2
        lines = (line if len(line) <= _LONGEST_LINE else f"{line[:half]} … {line[-half:]}" for line in message.split("\n"))
        super().__init__("\n".join(lines))


class Head(NamedTuple):
    """The first line of a text that is not blank."""

    number: int
    """Counted from 1."""
    text: str
    whole: bytes
    """The text from this line on."""
    rest: bytes
    """The text after this line."""

    @property
    def mark(self) -> str:
        """What separates the fields: tab, semicolon, comma, or else blanks (' ')."""
        return next((mark for mark in "\t;," if mark in self.text), " ")


def read_text(path: Path, error: type[ValueError]) -> bytes:
    """A text file, unpacked if its name ends with `.gz`, without byte order mark; every line ends with a bare newline.

    Raises:
        error: the file cannot be read or unpacked, is not in UTF-8, or holds a NUL (file and line are named).
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as reason:
        raise error(f"{path}: cannot be read ({reason}); download it again, or write it again") from reason
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
    """The first line of what `read_text` gave, or the first that is not blank; '' where there is none."""
    number, start = 1, 0
    while True:
        end = data.find(b"\n", start)
        line = data[start:] if end < 0 else data[start:end]
        if line.strip() or end < 0 or not skip_blank:
            return Head(number, line.decode("utf-8"), data[start:], b"" if end < 0 else data[end + 1 :])
        number, start = number + 1, end + 1


def refuse_json_lines(path: Path, line: Head, error: type[ValueError]) -> None:
    """An error where the first line is an object of JSON, with a command that makes a table of a file of such lines."""
    if not line.text.lstrip().startswith(("{", "[")):
        return
    try:
        found = json.loads(line.text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not line.rest.strip():
        raise error(f"{path}:{line.number}: JSON; a table is needed, a line a trial: id and score, or id and label")
    code = "import sys, pandas; pandas.read_json(sys.argv[1], lines=True, dtype=False).to_csv(sys.argv[2], index=False)"
    made = path.with_name(f"{path.name.split('.')[0]}.csv")
    command = shlex.join(["python", "-c", code, str(path), str(made)])
    raise error(f"{path}:{line.number}: JSON lines; a table is needed: {command}")


def fields(path: Path, line: Head, error: type[ValueError], mark: str | None = None) -> list[str]:
    """The fields of this one line, such as a heading; none of a blank one. `mark` and errors as in `read_rows`."""
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
    """All the lines of `data`, a row a line, as text; blank lines are rows of ''.

    Fields are quoted as in CSV, unless blanks separate them; then runs of blanks and tabs count as one.

    Args:
        path: for the messages.
        data: a part of what `read_text` gives, from line `first` on.
        mark: what separates the fields.
        columns: how many fields every line must have; by default as many as the first.
        wanted: the places, from 0, of the fields to return; by default all.
        form: what lines of so many fields are called, for the message.

    Returns:
        `(lines, wanted)`, the columns called by their places.

    Raises:
        error: a line has another number of fields, or a quotation mark that it does not close.
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
        # Rows are numbered only when one thread reads them; a line must lie within a block, however long it is.
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
        raise error(f"{path}:{first}: not a table from this line on: {reason}") from reason
    if wrong:
        row, called = wrong[0], f" ({form})" if form else ""
        raise error(
            f"{path}:{row.number + first - 1}: {row.expected_columns} fields are needed{called}, "
            f"found {row.actual_columns}: {row.text[:_SHOWN]!r}"
        )
    return table.to_pandas().set_axis(list(wanted or range(table.num_columns)), axis=1)


def read_parquet(path: Path, error: type[ValueError]) -> pd.DataFrame:
    """A parquet file: columns of numbers as they are, all others as text; missing values stay missing.

    Raises:
        error: no parquet file or a damaged one, two columns of one name, or one that is neither text nor numbers.
    """
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)
    except (pyarrow.ArrowException, OSError, ValueError) as reason:
        raise error(f"{path}: not a parquet file, or damaged: {reason}") from reason
    for place, field in enumerate(table.schema):
        if table.column_names.count(field.name) > 1:
            raise error(f"{path}: two columns are called {field.name!r}; rename or remove one")
        if pyarrow.types.is_integer(field.type) or pyarrow.types.is_floating(field.type):
            continue
        try:
            table = table.set_column(place, field.name, table.column(place).cast(pyarrow.string()))
        except (pyarrow.ArrowNotImplementedError, pyarrow.ArrowInvalid) as reason:
            raise error(f"{path}: column {field.name!r} holds {field.type}, not text or numbers; remove it") from reason
    return table.to_pandas(ignore_metadata=True)


def refuse_line_breaks(table: pd.DataFrame, path: str | Path, error: type[ValueError]) -> None:
    """For whoever writes text: an error at the first value that would take more than a line, which is never read back."""
    for name in table.columns:
        values = table[name].astype("str")
        broken = values[values.str.contains("[\\r\\n\\0]", na=False)]
        if len(broken):
            raise error(f"{path}: line breaks or NULs in column {name}, such as {broken.iloc[0]!r}: write a .parquet table")


def _refuse_open_quotes(path: Path, data: bytes, first: int, error: type[ValueError]) -> None:
    """Unnoticed, a quotation mark swallows all the lines up to the next."""
    for number, line in enumerate(data.split(b"\n"), first):
        if line.count(b'"') % 2:
            said = "a quotation mark that is not closed on its line; close it, double it, or write the table as .parquet"
            raise error(f"{path}:{number}: {said}: {line.decode()[:_SHOWN]!r}")


def _single_spaces(data: bytes) -> bytes:
    """Runs of blanks and tabs as one blank, none at either end of a line."""
    data = data.replace(b"\t", b" ")
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data.replace(b" \n", b"\n").replace(b"\n ", b"\n").strip(b" ")
