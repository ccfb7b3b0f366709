from os import scandir
from pathlib import Path

import pandas as pd
import pytest

from aasist_lib.config import DataConfig
from aasist_lib.corpora import load_trials, table
from aasist_lib.corpora.table import COLUMNS, TrialTableError, read_trials, validate, write_trials


@pytest.fixture
def trials(tmp_path: Path) -> pd.DataFrame:
    rows = []
    for number, (label, split) in enumerate([("bonafide", "train"), ("spoof", "dev"), ("spoof", "eval")]):
        clip = tmp_path / "flac" / f"{number}.flac"
        clip.parent.mkdir(exist_ok=True)
        clip.touch()
        rows.append([f"clip{number}", str(clip), label, "anna", "-", "none", split, "demo"])
    return pd.DataFrame(rows, columns=COLUMNS)


def test_a_table_reads_back_and_is_stored_relative_to_its_folder(trials, tmp_path):
    for name in ("trials.parquet", "trials.tsv", "trials.csv"):
        write_trials(trials, tmp_path / name)
        pd.testing.assert_frame_equal(read_trials(tmp_path / name), trials)
    assert pd.read_parquet(tmp_path / "trials.parquet")["path"][0] == "flac/0.flac"
    with pytest.raises(TrialTableError, match=r"trials\.txt: a trial table is a \.parquet, a \.tsv or a \.csv file"):
        write_trials(trials, tmp_path / "trials.txt")


def test_columns_are_put_in_order_and_others_dropped(trials):
    assert list(validate(trials[COLUMNS[::-1]].assign(more=1), "t.tsv").columns) == COLUMNS


def test_missing_columns_are_named(trials):
    with pytest.raises(TrialTableError, match=r"keys\.tsv:1: no column speaker, codec"):
        validate(trials.drop(columns=["speaker", "codec"]), "keys.tsv")


def test_an_unknown_label_is_named_with_its_line(trials):
    trials.loc[1, "label"] = "fake"
    with pytest.raises(TrialTableError, match=r"keys\.tsv:3: unknown label 'fake'; known are bonafide, spoof"):
        validate(trials, "keys.tsv")


def test_an_unknown_split_is_named_with_the_line_the_caller_gives(trials):
    trials.loc[2, "split"] = "test"
    with pytest.raises(TrialTableError, match=r"keys\.tsv:30: unknown split 'test'"):
        validate(trials, "keys.tsv", at=lambda row: f"keys.tsv:{(10, 20, 30)[row]}")


def test_a_duplicate_id_names_both_lines(trials):
    trials.loc[2, "utt_id"] = "clip0"
    with pytest.raises(TrialTableError, match=r"keys\.tsv:4: utt_id 'clip0' is already at keys\.tsv:2"):
        validate(trials, "keys.tsv")


@pytest.mark.parametrize("nothing", ["", None])
def test_an_empty_value_is_refused(trials, nothing):
    trials.loc[0, "speaker"] = nothing
    with pytest.raises(TrialTableError, match=r"keys\.tsv:2: no value in column speaker; write '-'"):
        validate(trials, "keys.tsv")


def test_absent_files_are_counted_and_the_first_ten_named(trials, tmp_path):
    many = pd.concat([trials.iloc[:1]] * 13, ignore_index=True)
    many["utt_id"] = [f"u{row}" for row in range(13)]
    many["path"] = [str(tmp_path / f"gone{row}.flac") for row in range(12)] + [trials["path"][0]]
    with pytest.raises(TrialTableError) as error:
        validate(many, "keys.tsv")
    message = str(error.value)
    assert "12 of 13 listed files are absent" in message and "keys.tsv:2: " in message and "and 2 more" in message
    assert sum(f"gone{row}.flac" in message for row in range(12)) == 10


def test_each_folder_is_listed_once_and_a_missing_one_has_no_files(trials, monkeypatch, tmp_path):
    listed = []
    monkeypatch.setattr(table.os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    validate(trials, "keys.tsv")
    assert listed == [str(tmp_path / "flac")]
    with pytest.raises(TrialTableError, match="1 of 3 listed files are absent"):
        validate(trials.assign(path=[*trials["path"][:2], "nowhere/2.flac"]), "keys.tsv")
    with pytest.raises(TrialTableError, match="3 of 3 listed files are absent"):
        validate(trials.assign(path=str(tmp_path / "flac")), "keys.tsv")
    monkeypatch.chdir(tmp_path / "flac")
    validate(trials.assign(path=["0.flac", "./1.flac", "../flac/2.flac"]), "keys.tsv")


def test_nothing_is_written_when_the_table_is_wrong(trials, tmp_path):
    with pytest.raises(TrialTableError):
        write_trials(trials.assign(label="?"), tmp_path / "trials.parquet")
    assert not (tmp_path / "trials.parquet").exists()


def test_an_empty_table_and_a_missing_one_say_so(trials, tmp_path):
    with pytest.raises(TrialTableError, match="no trials"):
        validate(trials.iloc[:0], "keys.tsv")
    with pytest.raises(TrialTableError, match="no such trial table"):
        read_trials(tmp_path / "none.parquet")


def test_load_trials_reads_the_demo(trials, tmp_path):
    write_trials(trials, tmp_path / "trials.parquet")
    pd.testing.assert_frame_equal(load_trials(DataConfig(root=tmp_path)), trials)
