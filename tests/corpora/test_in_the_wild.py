"""In-the-Wild as its archive unpacks: meta.csv beside numbered WAV files."""

from pathlib import Path

import pytest

from aasist_lib import audio
from aasist_lib.config import DataConfig
from aasist_lib.corpora import TrialTableError, load_trials
from aasist_lib.corpora.in_the_wild import load_in_the_wild
from tests.corpora.conftest import record


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "release_in_the_wild"
    record(folder / "0.wav", folder / "1.wav")
    (folder / "meta.csv").write_text("file,speaker,label\n0.wav,Alec Guinness,spoof\n1.wav,Alec Guinness,bona-fide\n")
    return tmp_path


@pytest.mark.parametrize("below", ["", "release_in_the_wild"])
def test_meta_csv_becomes_the_eval_split(tree, below):
    trials = load_trials(DataConfig(corpus="in_the_wild", root=tree / below))
    assert trials.drop(columns="path").to_numpy().tolist() == [
        ["0.wav", "spoof", "Alec Guinness", "-", "-", "eval", "in_the_wild"],
        ["1.wav", "bonafide", "Alec Guinness", "-", "-", "eval", "in_the_wild"],
    ]
    assert all(len(audio.read(path)) == 160 for path in trials["path"])


def test_what_is_missing_is_named(tree):
    (tree / "release_in_the_wild" / "1.wav").unlink()
    with pytest.raises(TrialTableError, match=rf"^{tree}: 1 of 2 .*\n.*meta\.csv:3: .*/1\.wav"):
        load_in_the_wild(tree)
    (tree / "release_in_the_wild" / "meta.csv").unlink()
    with pytest.raises(TrialTableError, match=r"meta\.csv") as error:
        load_in_the_wild(tree)
    assert f"\n  {tree}/release_in_the_wild/meta.csv\n" in str(error.value)
    assert "https://deepfake-total.com/in_the_wild" in str(error.value)


def test_a_bad_line_is_named(tree):
    with (tree / "release_in_the_wild" / "meta.csv").open("a") as file:
        file.write("2.wav,Alec Guinness,maybe\n")
    with pytest.raises(TrialTableError, match=r"meta\.csv:4: .*label 'maybe'"):
        load_in_the_wild(tree)


def test_there_is_nothing_to_train_on(tree):
    with pytest.raises(TrialTableError, match="eval split"):
        load_in_the_wild(tree, ("train", "dev"))
