"""The strict reader of tables: what counts as a line, a field, a number."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from aasist_lib.runtime.text_tables import fields, head, read_parquet, read_rows, read_text, refuse_line_breaks


class Refused(ValueError):
    """An error of the caller."""


def test_every_kind_of_line_end_and_a_byte_order_mark_are_taken_away(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffa\r\né\rc\n\n".encode())
    assert read_text(file, Refused).decode() == "a\né\nc\n\n"
    packed = tmp_path / "a.txt.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert read_text(packed, Refused) == read_text(file, Refused)


@pytest.mark.parametrize(
    ("content", "line", "byte"), [(b"a\nb\0\n", 2, "00"), (b"a\r\rb\xe9\n", 3, "e9"), ("a".encode("utf-16"), 1, "ff")]
)
def test_what_is_no_text_is_refused_at_its_line(tmp_path: Path, content: bytes, line: int, byte: str) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    with pytest.raises(Refused, match=rf"^{file}:{line}: .*UTF-8.* 0x{byte}\b"):
        read_text(file, Refused)


def test_the_first_line() -> None:
    assert head(b"a b\nc\n") == (1, "a b", b"a b\nc\n", b"c\n")
    assert head(b" \n\n\ta\t1\nc", skip_blank=True) == (3, "\ta\t1", b"\ta\t1\nc", b"c")
    assert head(b"\na\n") == (1, "", b"\na\n", b"a\n")
    assert head(b"", skip_blank=True) == head(b"") == (1, "", b"", b"")
    assert [head(line).mark for line in (b"a;b\tc", b"a;b,c", b"a,b c", b"a b", b"")] == ["\t", ";", ",", " ", " "]


def test_fields_of_a_line() -> None:
    path = Path("a.csv")
    assert fields(path, head(b'a, "b,c" ,d \n1,2,3\n'), Refused) == ["a", '"b', 'c"', "d"]  # CSV quotes begin a field
    assert fields(path, head(b'a,"b,""c""",d\n'), Refused) == ["a", 'b,"c"', "d"]
    assert fields(path, head(b"  a \t b  \n"), Refused) == ["a", "b"] and fields(path, head(b" \t\n"), Refused) == []
    assert fields(path, head(b"a;b,c\n"), Refused, ",") == ["a;b", "c"]
    with pytest.raises(Refused, match=r"^a\.csv:3: .*quotation"):
        fields(path, head(b'\n\na,"b\n', skip_blank=True), Refused)


def test_rows_are_lines_and_lines_have_as_many_fields() -> None:
    path = Path("a.txt")
    rows = read_rows(path, b"a b\n\n  c \t d\ne f", " ", Refused, first=4)
    assert rows.to_numpy().tolist() == [["a", "b"], ["", ""], ["c", "d"], ["e", "f"]]
    assert read_rows(path, b"a,b,c\nd,e,f\n", ",", Refused, columns=3, wanted=[2, 0])[[0, 2]].to_numpy().tolist() == [
        ["a", "c"],
        ["d", "f"],
    ]
    for data, line, found in ((b"a b\nc\nd e", 5, "1: 'c'"), (b"a b\nc d\nd e f", 6, "3: 'd e f'")):
        with pytest.raises(Refused, match=rf"^a\.txt:{line}: 2 .*pairs.*{found}$"):
            read_rows(path, data, " ", Refused, first=4, columns=2, form="pairs")
    long = b"x" * 3_000_000
    assert read_rows(path, b"a b\n" + long + b" d\n", " ", Refused)[0].str.len().tolist() == [1, 3_000_000]
    assert read_rows(path, b"", ",", Refused, columns=2, wanted=[1]).columns.tolist() == [1]


def test_parquet_keeps_numbers_and_makes_text_of_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    whole = pd.DataFrame({"n": [1, 2], "x": [0.5, None], "t": ["a", None], "b": [True, False], "c": pd.Categorical(["u", "v"])})
    whole.set_axis([5, 6]).to_parquet(file)
    found = read_parquet(file, Refused)
    assert found["n"].tolist() == [1, 2] and found["x"].tolist()[0] == 0.5 and found[["x", "t"]].isna().sum().tolist() == [1, 1]
    assert found[["b", "c"]].to_numpy().tolist() == [["true", "u"], ["false", "v"]]
    pd.DataFrame({"a": [[1], [2]]}).to_parquet(file)
    with pytest.raises(Refused, match=rf"^{file}: .*'a'.* list<.*>"):
        read_parquet(file, Refused)


def test_line_breaks_are_refused_where_they_would_be_written() -> None:
    refuse_line_breaks(pd.DataFrame({"a": ["x y", None], "n": [1, 2]}), "a.csv", Refused)
    for broken in ("x\ny", "x\ry", "x\0y"):
        with pytest.raises(Refused, match=r"^a\.csv: .*column a\b.* 'x"):
            refuse_line_breaks(pd.DataFrame({"a": ["", broken]}), "a.csv", Refused)
