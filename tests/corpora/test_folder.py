"""Recordings of one's own: sorted folders, and trial tables in three formats."""

from pathlib import Path

import pandas as pd
import pytest

from aasist_lib import audio
from aasist_lib.config import DataConfig
from aasist_lib.corpora import COLUMNS, TrialTableError, load_trials
from aasist_lib.corpora.folder import load_folder, load_table
from tests.corpora.conftest import record


def test_two_folders_are_an_eval_split(tmp_path):
    record(tmp_path / "bonafide" / "a.wav", tmp_path / "spoof" / "a.wav", tmp_path / "spoof" / "a.FLAC")
    (tmp_path / "spoof" / "notes.txt").touch()
    trials = load_trials(DataConfig(corpus="folder", root=tmp_path))
    assert trials[["utt_id", "label", "speaker", "attack", "split"]].to_numpy().tolist() == [
        ["bonafide/a.wav", "bonafide", "-", "-", "eval"],
        ["spoof/a.FLAC", "spoof", "-", "-", "eval"],
        ["spoof/a.wav", "spoof", "-", "-", "eval"],
    ]
    assert all(len(audio.read(path)) == 160 for path in trials["path"]) and set(trials["corpus"]) == {tmp_path.name}


def test_folders_below_name_split_speaker_and_attack(tmp_path):
    for split in ("train", "eval"):
        record(
            tmp_path / split / "bonafide" / f"anna {split}" / "1.flac", tmp_path / split / "spoof" / "vits" / "deep" / "1.flac"
        )
    trials = load_folder(tmp_path)
    assert trials[["utt_id", "speaker", "attack", "split"]].to_numpy().tolist() == [
        ["train/bonafide/anna train/1.flac", "anna train", "-", "train"],
        ["train/spoof/vits/deep/1.flac", "deep", "vits", "train"],
        ["eval/bonafide/anna eval/1.flac", "anna eval", "-", "eval"],
        ["eval/spoof/vits/deep/1.flac", "deep", "vits", "eval"],
    ]
    assert set(load_folder(tmp_path, ("train", "dev"))["split"]) == {"train"}


def test_a_folder_that_is_not_sorted_says_what_is_needed(tmp_path):
    with pytest.raises(TrialTableError, match="/none: .*bonafide/ .*spoof/"):
        load_folder(tmp_path / "none")
    record(tmp_path / "bonafide" / "a.wav")
    with pytest.raises(
        TrialTableError,
        match=r"/spoof: .*\.flac, .*bonafide/ .*spoof/, .* train/, ",
    ):
        load_folder(tmp_path)
    record(tmp_path / "train" / "bonafide" / "a.wav")
    with pytest.raises(TrialTableError, match="bonafide .*train; "):
        load_folder(tmp_path)
    (tmp_path / "spoof").mkdir()
    (tmp_path / "dev").mkdir()
    with pytest.raises(TrialTableError, match="bonafide, spoof .*train, dev; "):
        load_folder(tmp_path)


def test_a_link_that_leads_nowhere_is_an_absent_file(tmp_path):
    record(tmp_path / "bonafide" / "a.wav")
    lost = tmp_path / "spoof" / "lost.wav"
    lost.parent.mkdir()
    lost.symlink_to(tmp_path / "nowhere.wav")
    with pytest.raises(TrialTableError, match=rf"^{tmp_path}: 1 of 2 .*\n  {lost}: {lost}\n"):
        load_folder(tmp_path)


def test_without_the_split_asked_for_there_is_an_error(tmp_path):
    record(tmp_path / "bonafide" / "a.wav", tmp_path / "spoof" / "a.wav")
    with pytest.raises(TrialTableError, match="train or dev"):
        load_folder(tmp_path, ("train", "dev"))


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    record(tmp_path / "clips" / "a.wav", tmp_path / "clips" / "b.wav")
    return pd.DataFrame(
        {"utt_id": ["a", "b"], "path": ["clips/a.wav", str(tmp_path / "clips" / "b.wav")], "label": ["bonafide", "spoof"]}
    )


def save(table: pd.DataFrame, file: Path) -> Path:
    if file.suffix == ".parquet":
        table.to_parquet(file, index=False)
    else:
        table.to_csv(file, sep="," if file.suffix == ".csv" else "\t", index=False)
    return file


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_three_columns_are_enough_for_a_table(table, tmp_path, ending):
    file = save(table, tmp_path / f"mine.{ending}")
    data = DataConfig(corpus="table", root=file)
    trials = load_trials(data)
    assert list(trials.columns) == COLUMNS and trials["split"].tolist() == ["eval", "eval"]
    assert (trials[["speaker", "attack", "codec", "corpus"]] == "-").all(axis=None)
    assert all(len(audio.read(path)) == 160 for path in trials["path"])
    assert data.source == file and not list(tmp_path.glob("*.lock")), "nothing is written beside a user's table"


def test_a_table_keeps_what_it_tells(table, tmp_path):
    known = table.assign(speaker=["anna", "ben"], attack=["-", "A01"], codec="mp3", split=["train", "dev"], corpus="mine")
    trials = load_table(save(known, tmp_path / "mine.csv"), ("train",))
    assert trials.drop(columns="path").to_numpy().tolist() == [["a", "bonafide", "anna", "-", "mp3", "train", "mine"]]


def test_a_bad_table_is_named_with_its_line(table, tmp_path):
    with pytest.raises(TrialTableError, match=r"mine\.csv:1: .*column label.* utt_id, path"):
        load_table(save(table.drop(columns="label"), tmp_path / "mine.csv"))
    with pytest.raises(TrialTableError, match=r"mine\.csv:1: .*column path, label.* utt_id$"):
        load_table(save(table[["utt_id"]], tmp_path / "mine.csv"))
    with pytest.raises(TrialTableError, match=r"mine\.csv:3: .*label 'maybe'"):
        load_table(save(table.assign(label=["spoof", "maybe"]), tmp_path / "mine.csv"))
    with pytest.raises(TrialTableError, match=r"1 of 2 .*\n.*mine\.csv:2: "):
        load_table(save(table.assign(path=["gone.wav", "clips/b.wav"]), tmp_path / "mine.csv"))
    with pytest.raises(TrialTableError, match=r"mine\.txt: .*\.parquet, .*\.tsv .*\.csv"):
        load_table(save(table, tmp_path / "mine.txt"))
    with pytest.raises(TrialTableError, match=r"none\.csv: .*data\.root .*\.csv"):
        load_table(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("utt_id,path,label\na,clips/a.wav,spoof,more\n", r"mine\.csv:2: 3 fields .*4"),
        ("utt_id,path,label\na,clips/a.wav,spoof\nb,clips/b.wav,spoof,more\n", "mine.csv:3: 3 fields .*4"),
        ("utt_id,path,label\na,clips/a.wav,spoof\n\nb,clips/b.wav,spoof\n", r"mine\.csv:3: .*utt_id"),
        ("", "mine.csv:1: .*heading"),
    ],
)
def test_a_table_with_a_line_too_long_or_empty_is_refused(table, tmp_path, text, message):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(TrialTableError, match=message):
        load_table(tmp_path / "mine.csv")
