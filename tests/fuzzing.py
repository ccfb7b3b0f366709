"""Ways to damage a table, and what may come of reading it: the table, or one of the library's own errors that says where."""

from __future__ import annotations

import gzip
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

LONGEST_MESSAGE = 6_000
"""Characters: nobody reads a terminal full of one field."""

NASTY = (
    *("", " ", "\t", "\0", "a\0b", "\r", "\n", "a\nb", "-", "--", "nan", "NaN", "NA", "None", "null", "inf", "-inf", "1e999"),
    *("-1e-999", "0x10", "1_000", "1,5", "1.0.0", "٣", "٣.٥", "true", "7", "-7.5", '"', '""', '"a', 'a"b', "'", "\\", "\\n"),
    *(",", ";", "=1+1", "x" * 200_000, "9" * 5_000, "é", "名前", "e\u0301", "\u202e", "\u2028", "\x85", "\xa0", "\ufeff"),
    *("\x0b", "\x0c", "\x1c", "\x1b[31m", "<script>", "../../etc/passwd", "/", ".", "~", "#", "bonafide", "spoof", "Spoof"),
    *("bona-fide", "target", "nontarget", "eval", "hidden", "train", "filename", "utt_id", "score", "label", "cm-score"),
)
"""Values that stand where they do not belong."""

SETTINGS = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The same examples on every machine, and no test that fails because a machine is slow."""


@dataclass(frozen=True)
class Damage:
    """A damaged file. `line`, from 1, is the only line touched, None where it is more than one. A `harmless` one holds the same
    table as before."""

    content: bytes
    line: int | None = None
    harmless: bool = False


def damages(lines: Sequence[Sequence[str]], mark: str, heading: bool = False) -> st.SearchStrategy[Damage]:
    """Every way to damage a table of these fields. Each class and subset should have two lines or more in it, so that the
    loss of one is the fault of its line."""
    return _fields(lines, mark) | _lines(lines, mark, heading) | _files(lines, mark)


def packed(damage: st.SearchStrategy[Damage]) -> st.SearchStrategy[Damage]:
    """Damaged, then gzipped; or gzipped, then damaged."""

    @st.composite
    def draw_one(draw: st.DrawFn) -> Damage:
        whole = draw(damage)
        content = gzip.compress(whole.content, mtime=0)
        way = draw(st.sampled_from(["whole", "cut", "flipped", "text", "tail"]))
        if way == "whole":
            return Damage(content, whole.line, whole.harmless)
        if way == "cut":
            return Damage(content[: draw(st.integers(0, len(content) - 1))])
        if way == "flipped":
            place = draw(st.integers(0, len(content) - 1))
            return Damage(content[:place] + bytes([content[place] ^ draw(st.integers(1, 255))]) + content[place + 1 :])
        return Damage(whole.content) if way == "text" else Damage(content + draw(st.binary(min_size=1, max_size=20)))

    return draw_one()


_UNDAMAGED: dict[tuple[Path, bytes], pd.DataFrame] = {}


def undamaged(read: Callable[[Path], pd.DataFrame], file: Path, content: bytes) -> pd.DataFrame:
    """What the reader gives for the undamaged file; read once."""
    if (file, content) not in _UNDAMAGED:
        file.write_bytes(content)
        _UNDAMAGED[file, content] = read(file)
    return _UNDAMAGED[file, content]


def outcome(read: Callable[[Path], pd.DataFrame], file: Path, damage: Damage, whole: pd.DataFrame) -> pd.DataFrame | None:
    """What reading a damaged file gives: a table, or None when it is refused as it should be.

    Checked are the error (the library's own, names the file, names the line at fault if one line is, and is short), that there
    are no warnings, that lines never touched are in the table as before, and that harmless changes have changed nothing.

    Args:
        read: the reader.
        file: written to.
        damage: what is written.
        whole: what the reader gives for the undamaged file.
    """
    file.write_bytes(damage.content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = read(file)
    except Exception as error:
        if not type(error).__module__.startswith("aasist_lib."):
            raise
        message = str(error)
        assert str(file) in message and len(message) < LONGEST_MESSAGE, message[:LONGEST_MESSAGE]
        assert not damage.harmless, message
        if damage.line is not None:
            numbers = {int(number) for number in re.findall(re.escape(str(file)) + r":(\d+)\b", message)}
            # A first line sets the form: others may be found at fault for it.
            assert numbers and (damage.line in numbers or damage.line == 1), (damage.line, message)
        return None
    if damage.harmless:
        pd.testing.assert_frame_equal(table, whole)
    if damage.line is not None and damage.line > 1:
        lost = set(whole.itertuples(index=False, name=None)) - set(table.itertuples(index=False, name=None))
        assert len(lost) <= 1, lost
    return table


def check_trials(table: pd.DataFrame) -> None:
    """A table of trials is worth the name: text everywhere, ids that are there and unique, known labels."""
    assert len(table) and table["utt_id"].is_unique
    assert set(table["label"]) <= {"bonafide", "spoof"}
    for name in table.columns.difference(["score"]):
        assert all(isinstance(value, str) and value.strip() for value in table[name]), name


def _join(rows: Sequence[Sequence[str]], mark: str) -> bytes:
    return "".join(mark.join(row) + "\n" for row in rows).encode()


@st.composite
def _fields(draw: st.DrawFn, lines: Sequence[Sequence[str]], mark: str) -> Damage:
    """One field dropped, doubled, replaced or lengthened."""
    rows = [list(line) for line in lines]
    number = draw(st.integers(0, len(rows) - 1))
    place = draw(st.integers(0, len(rows[number]) - 1))
    value = draw(st.sampled_from(NASTY) | st.text(max_size=8) | st.sampled_from([field for row in rows for field in row]))
    old = rows[number][place]
    new = {"drop": [], "double": [old, old], "replace": [value], "before": [value + old], "after": [old + value]}
    rows[number][place : place + 1] = new[draw(st.sampled_from(sorted(new)))]
    # A line break makes two lines of one, either of which may be at fault.
    broken = any(mark in field for field in rows[number] for mark in "\r\n")
    return Damage(_join(rows, mark), None if broken else number + 1)


@st.composite
def _lines(draw: st.DrawFn, lines: Sequence[Sequence[str]], mark: str, heading: bool) -> Damage:
    """Lines dropped, doubled, moved, cut, blank, of another separator, or of rubbish."""
    rows = [mark.join(line) for line in lines]
    number = draw(st.integers(0, len(rows) - 1))
    way = draw(st.sampled_from(["drop", "double", "blank", "cut", "separator", "text", "one class", "first only", "all twice"]))
    line: int | None = number + 1
    if way == "drop":
        del rows[number]
        line = None
    elif way == "double":
        rows.append(rows[number])
        line = None if heading and not number else len(rows)
    elif way == "blank":
        rows.insert(number, draw(st.sampled_from(["", " ", "\t", mark])))
    elif way == "cut":
        rows[number] = rows[number][: draw(st.integers(0, len(rows[number])))]
    elif way == "separator":
        rows[number] = draw(st.sampled_from(["\t", ";", ",", " ", "|", "\xa0", "  "])).join(lines[number])
    elif way == "text":
        rows[number] = draw(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=30))
    else:
        chosen = (
            [row for row in rows if "spoof" in row] if way == "one class" else rows[:1] if way == "first only" else rows * 2
        )
        rows, line = chosen, None
    if way in ("cut", "text") and not rows[number].strip():
        line = None  # as good as dropped
    return Damage("".join(row + "\n" for row in rows).encode(), line)


@st.composite
def _files(draw: st.DrawFn, lines: Sequence[Sequence[str]], mark: str) -> Damage:
    """The file as a whole: other encodings, line ends and separators, a part of it, or no table at all."""
    content = _join(lines, mark)
    text = content.decode()
    harmless = {
        "byte order mark": b"\xef\xbb\xbf" + content,
        "DOS": content.replace(b"\n", b"\r\n"),
        "old Macintosh": content.replace(b"\n", b"\r"),
        "no last newline": content.rstrip(b"\n"),
    }
    way = draw(st.sampled_from([*harmless, "encoding", "separator", "cut", "insert", "flip", "binary", "gzip", "empty"]))
    if way in harmless:
        return Damage(harmless[way], harmless=True)
    place = draw(st.integers(0, len(content)))
    if way == "encoding":
        content = text.replace("0", "é").encode(draw(st.sampled_from(["utf-16", "utf-16-le", "utf-32", "latin-1", "cp037"])))
    elif way == "separator":
        content = text.replace(mark, draw(st.sampled_from(["\t", ";", ",", " ", "|", "\xa0", "\0", ""]))).encode()
    elif way in ("cut", "insert"):
        content = content[:place] + (b"" if way == "cut" else draw(st.binary(min_size=1, max_size=9)) + content[place:])
    elif way == "flip" and place < len(content):
        content = content[:place] + bytes([content[place] ^ draw(st.integers(1, 255))]) + content[place + 1 :]
    elif way in ("binary", "empty"):
        content = (
            draw(st.binary(max_size=300))
            if way == "binary"
            else draw(st.sampled_from([b"", b"\n", b" \n\t\n", b"\xef\xbb\xbf"]))
        )
    elif way == "gzip":
        content = gzip.compress(content, mtime=0)
    return Damage(content)
