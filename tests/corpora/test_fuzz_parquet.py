"""Parquet tables with columns of any type, and damaged files; folders and files of any name."""

from __future__ import annotations

import datetime
import decimal
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from aasist_lib.corpora import TrialTableError, read_key, read_trials
from aasist_lib.corpora.folder import load_folder, load_table
from aasist_lib.evaluation.score_files import read_scores
from tests.fuzzing import NASTY, SETTINGS, Damage, check_trials, outcome, undamaged

COLUMNS: dict[str, list] = {
    "utt_id": ["u1", "u2", "u3"],
    "score": [1.5, -2.0, 0.25],
    "path": ["u1.wav", "u2.wav", "u3.wav"],
    "label": ["bonafide", "spoof", "spoof"],
    "speaker": ["ann", "bob", "bob"],
    "attack": ["-", "A01", "A02"],
    "codec": ["-", "none", "mp3"],
    "split": ["eval", "eval", "dev"],
    "corpus": ["mine", "mine", "mine"],
}
VALUES: list[list] = [
    *([1, 2, 3], [1, 1, 1], [0.5, float("nan"), 2.0], [float("inf"), 1.0, -1.0], [True, False, True], [None, None, None]),
    *(["a", None, "c"], [b"a", b"\xff\xfe", b""], [[1], [], None], [["a"], ["b"], ["c"]], [{"a": 1}, {"a": 2}, None]),
    *([decimal.Decimal("1.5")] * 3, [datetime.date(2026, 1, 1)] * 3, [datetime.datetime(1, 1, 1)] * 3, ["1e999", "nan", "-"]),
    *([datetime.timedelta(1)] * 3, ["0.5", "1.5", "2.5"], ["eval", "train", "test"], ["", " ", "\0"], ["a\nb", "a\tb", "a,b"]),
    *([value] * 3 for value in NASTY),
]
READERS = {"key": read_key, "trials": read_trials, "table": load_table, "scores": read_scores}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parquet")
    for name in COLUMNS["path"]:
        (folder / name).touch()
    return folder


def packed(columns: list[tuple[str, list]]) -> bytes:
    sink = pyarrow.BufferOutputStream()
    names = [name for name, _ in columns]
    parquet.write_table(pyarrow.Table.from_arrays([pyarrow.array(values) for _, values in columns], names=names), sink)
    return sink.getvalue().to_pybytes()


WHOLE = packed(list(COLUMNS.items()))


def check(reader: str, place: Path, damage: Damage) -> None:
    read: Callable[[Path], pd.DataFrame] = READERS[reader]
    table = outcome(read, place / f"{reader}.parquet", damage, undamaged(read, place / f"whole-{reader}.parquet", WHOLE))
    if table is not None and reader != "scores":
        check_trials(table)
    elif table is not None:
        assert table["score"].dtype == "float64" and table["score"].abs().max() < float("inf") and table["utt_id"].is_unique


@pytest.mark.parametrize("reader", READERS)
@SETTINGS
@given(
    name=st.sampled_from(list(COLUMNS)), values=st.sampled_from(VALUES), way=st.sampled_from(["in place", "twice", "dropped"])
)
def test_columns_of_any_type_are_read_or_refused(place: Path, reader: str, name: str, values: list, way: str) -> None:
    others = [(other, kept) for other, kept in COLUMNS.items() if other != name]
    new = {"in place": [(name, values)], "twice": [(name, COLUMNS[name]), (name, values)], "dropped": []}[way]
    check(reader, place, Damage(packed(others + new)))


@pytest.mark.parametrize("reader", ["key", "scores"])
@SETTINGS
@given(start=st.integers(0, len(WHOLE)), size=st.integers(0, 40), new=st.binary(max_size=40))
def test_damaged_files_are_read_or_refused(place: Path, reader: str, start: int, size: int, new: bytes) -> None:
    check(reader, place, Damage(WHOLE[:start] + new + WHOLE[start + size :]))


FILE_NAMES = [name for name in NASTY if name.strip("./") and not set(name) & {"/", "\0"} and len(name.encode()) < 200]


@SETTINGS
@given(
    places=st.lists(st.sampled_from(["bonafide", "spoof", "train", "dev", "eval/bonafide", "eval/spoof", "other"]), max_size=4),
    group=st.sampled_from(["", *FILE_NAMES]),
    names=st.lists(st.sampled_from(FILE_NAMES), min_size=1, max_size=3, unique=True),
)
def test_a_folder_with_any_names_is_loaded_or_refused(place: Path, places: list[str], group: str, names: list[str]) -> None:
    root = place / "folder"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for below in places:
        (root / below / group).mkdir(parents=True, exist_ok=True)
        for name in names:
            (root / below / group / f"{name}.wav").touch()
    try:
        table = load_folder(root)
    except TrialTableError as error:
        assert str(root) in str(error)
        return
    check_trials(table)
    assert all(Path(path).is_file() for path in table["path"])
