from os import scandir
from pathlib import Path

import pandas as pd
import pyarrow.parquet
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
    with pytest.raises(TrialTableError, match=r"trials\.txt: .*\.parquet, .*\.tsv .*\.csv"):
        write_trials(trials, tmp_path / "trials.txt")


def test_columns_are_put_in_order_and_others_dropped(trials):
    assert list(validate(trials[COLUMNS[::-1]].assign(more=1), "t.tsv").columns) == COLUMNS


def test_missing_columns_are_named(trials):
    with pytest.raises(TrialTableError, match=r"^keys\.tsv:1: .*column speaker, codec; .*utt_id, path, label, "):
        validate(trials.drop(columns=["speaker", "codec"]), "keys.tsv")


def test_an_unknown_label_is_named_with_its_line(trials):
    trials.loc[1, "label"] = "maybe"
    with pytest.raises(
        TrialTableError,
        match=r"keys\.tsv:3: .*label 'maybe'; .*bonafide, genuine, .* 0 .*spoof$",
    ):
        validate(trials, "keys.tsv")
    trials.loc[2, "label"] = "maybe"
    with pytest.raises(TrialTableError, match=r"keys\.tsv:3: .*label 'maybe'; .* \(and 1 more"):
        validate(trials, "keys.tsv")


def test_an_unknown_split_is_named_with_the_line_the_caller_gives(trials):
    trials.loc[2, "split"] = "test"
    with pytest.raises(TrialTableError, match=r"keys\.tsv:30: .*split 'test'"):
        validate(trials, "keys.tsv", at=lambda row: f"keys.tsv:{(10, 20, 30)[row]}")


def test_a_duplicate_id_names_both_lines(trials):
    trials.loc[2, "utt_id"] = "clip0"
    with pytest.raises(TrialTableError, match=r"keys\.tsv:4: .*'clip0' .*keys\.tsv:2"):
        validate(trials, "keys.tsv")


@pytest.mark.parametrize("nothing", ["", None])
def test_an_empty_value_is_refused(trials, nothing):
    trials.loc[0, "speaker"] = nothing
    with pytest.raises(TrialTableError, match=r"keys\.tsv:2: .*speaker; .*'-'"):
        validate(trials, "keys.tsv")


@pytest.mark.parametrize("gone", [1, 10, 12])
def test_absent_files_are_counted_and_the_first_ten_named(trials, tmp_path, gone):
    many = pd.concat([trials.iloc[:1]] * 13, ignore_index=True)
    many["utt_id"] = [f"u{row}" for row in range(13)]
    absent = [f"{tmp_path}/gone{row}.flac" for row in range(gone)]
    many.loc[: gone - 1, "path"] = absent
    with pytest.raises(TrialTableError) as error:
        validate(many, "keys.tsv")
    first, *shown, _ = str(error.value).split("\n")
    assert first.startswith(f"keys.tsv: {gone} of 13 ") and shown == [
        *(f"  keys.tsv:{row + 2}: {path}" for row, path in enumerate(absent[:10])),
        *(["  … and 2 more"] if gone == 12 else []),
    ]


def test_a_link_is_a_file_where_it_leads_to_one(tmp_path):
    (tmp_path / "a.flac").touch()
    (tmp_path / "folder.flac").mkdir()
    for name, goal in (("b", "a"), ("gone", "nowhere"), ("loop", "loop"), ("place", "folder")):
        (tmp_path / f"{name}.flac").symlink_to(tmp_path / f"{goal}.flac")
    assert table.files_in(tmp_path) == {"a.flac", "b.flac"}


def test_each_folder_is_listed_once_and_a_missing_one_has_no_files(trials, monkeypatch, tmp_path):
    listed = []
    monkeypatch.setattr(table.os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    validate(trials, "keys.tsv")
    assert listed == [str(tmp_path / "flac")]
    with pytest.raises(TrialTableError, match="1 of 3 "):
        validate(trials.assign(path=[*trials["path"][:2], "nowhere/2.flac"]), "keys.tsv")
    with pytest.raises(TrialTableError, match="3 of 3 "):
        validate(trials.assign(path=str(tmp_path / "flac")), "keys.tsv")
    monkeypatch.chdir(tmp_path / "flac")
    validate(trials.assign(path=["0.flac", "./1.flac", "../flac/2.flac"]), "keys.tsv")


def test_nothing_is_written_when_the_table_is_wrong(trials, tmp_path):
    with pytest.raises(TrialTableError):
        write_trials(trials.assign(label="?"), tmp_path / "trials.parquet")
    assert not (tmp_path / "trials.parquet").exists()


def test_an_empty_table_and_a_missing_one_say_so(trials, tmp_path):
    with pytest.raises(TrialTableError, match="keys.tsv: .*trials"):
        validate(trials.iloc[:0], "keys.tsv")
    with pytest.raises(TrialTableError, match="none.parquet: "):
        read_trials(tmp_path / "none.parquet")


def test_load_trials_reads_the_demo(trials, tmp_path):
    write_trials(trials, tmp_path / "trials.parquet")
    pd.testing.assert_frame_equal(load_trials(DataConfig(root=tmp_path)), trials)


def test_errors_of_a_file_name_it_and_its_line(trials, tmp_path):
    file = tmp_path / "trials.csv"
    heading = f"{','.join(COLUMNS)},more;of it\n"
    cells = ",".join(trials.iloc[0]) + ",x;y\n"
    file.write_text(heading + cells)
    assert read_trials(file)["utt_id"].tolist() == ["clip0"]  # a comma separates, whatever else is in the heading
    for text, message in [
        (heading + cells + cells, ":3: .*'clip0' .*trials.csv:2"),
        (heading + cells[:-1] + "\xa0\0\n", r":2: .*UTF-8.* 0x00\b"),
        ('utt_id,"path\n', r":1: .*quotation mark.*: 'utt_id,\"path'"),
        (heading.replace("codec", "path").replace("split", "label"), ":1: .*label, path"),
        ("", ":1: .*heading.*: utt_id, path, label,"),
        (heading + cells.replace("anna", " \t "), ":2: .*speaker"),
        (heading + cells.replace(trials["path"][0], ""), ":2: .*path"),
        (heading + cells[:-1] + ",z\n", ":2: 9 fields .*10: "),
        (heading + cells + "clip1\n", ":3: 9 fields .*1: 'clip1'"),
    ]:
        file.write_text(text, newline="")
        with pytest.raises(TrialTableError, match=rf"^{file}{message}"):
            read_trials(file)


@pytest.mark.parametrize("nothing", ["", None])
def test_a_clip_without_a_path_is_refused_as_such(trials, tmp_path, nothing):
    trials.assign(path=[trials["path"][0], nothing, nothing]).to_parquet(tmp_path / "trials.parquet")
    with pytest.raises(TrialTableError, match=r"trials\.parquet:3: .*path; .* \(and 1 more"):
        read_trials(tmp_path / "trials.parquet")


def test_speakers_that_are_numbers_in_parquet_are_text(trials, tmp_path):
    trials.assign(speaker=[7, 8, 9]).to_parquet(tmp_path / "trials.parquet")
    pd.testing.assert_frame_equal(read_trials(tmp_path / "trials.parquet"), trials.assign(speaker=["7", "8", "9"]))
    trials.drop(columns="codec").to_parquet(tmp_path / "trials.parquet")
    with pytest.raises(TrialTableError, match=r"trials\.parquet:1: .*codec; "):
        read_trials(tmp_path / "trials.parquet")


def test_a_file_of_another_kind_and_a_damaged_one_say_so(tmp_path):
    for name, message in (("trials.txt", r".*\.parquet, .*\.tsv"), ("trials.parquet", ".*damaged")):
        (tmp_path / name).write_text("utt_id")
        with pytest.raises(TrialTableError, match=rf"^{tmp_path / name}: {message}"):
            read_trials(tmp_path / name)


@pytest.mark.parametrize("name", ["trials.parquet", "trials.tsv", "trials.csv"])
def test_what_is_written_has_the_columns_alone_and_paths_as_they_are_elsewhere(trials, tmp_path, name):
    folder = tmp_path / "tables"
    folder.mkdir()
    shifted = trials.set_axis([7, 8, 9])
    write_trials(shifted, folder / name)
    if name.endswith(".parquet"):
        written = pd.read_parquet(folder / name)
        assert pyarrow.parquet.read_schema(folder / name).names == COLUMNS  # with metadata, an index is no column to pandas
    else:
        written = pd.read_csv(folder / name, sep="\t" if name.endswith("tsv") else ",")
    assert list(written.columns) == COLUMNS and written.index.tolist() == [0, 1, 2]
    assert written["path"].tolist() == trials["path"].tolist()  # they are not below the table's folder
    with pytest.raises(TrialTableError, match=rf"^{folder / name}:2: .*label"):
        write_trials(trials.assign(label="?"), folder / name)


def test_text_cannot_hold_a_line_break(trials, tmp_path):
    trials.loc[1, "speaker"] = "an\nna"
    for name in ("trials.tsv", "trials.csv"):
        with pytest.raises(TrialTableError, match=rf"^{tmp_path / name}: .*column speaker.* 'an\\n"):
            write_trials(trials, tmp_path / name)
        assert not (tmp_path / name).exists()
    write_trials(trials, tmp_path / "trials.parquet")
    assert read_trials(tmp_path / "trials.parquet")["speaker"].tolist() == ["anna", "an\nna", "anna"]
