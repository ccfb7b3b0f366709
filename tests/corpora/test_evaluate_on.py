"""Training on one corpus, testing on another: `data.evaluate_on`."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from aasist_lib.config import ConfigError, load_profile
from aasist_lib.corpora import COLUMNS, TrialTableError, load_trials, read_trials, write_trials
from tests.corpora.conftest import record


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    for split in ("train", "dev", "eval"):
        record(tmp_path / "home" / split / "bonafide" / f"h{split}" / "1.wav", tmp_path / "home" / split / "spoof" / "1.wav")
    folder = tmp_path / "wild" / "release_in_the_wild"
    record(folder / "0.wav", folder / "1.wav")
    (folder / "meta.csv").write_text("file,speaker,label\n0.wav,Alec Guinness,spoof\n1.wav,Alec Guinness,bona-fide\n")
    return tmp_path


def data(corpora: Path, **evaluate_on: str):
    overrides = [f"data.evaluate_on.{key}={value}" for key, value in evaluate_on.items()]
    return load_profile("demo", ["data.corpus=folder", f"data.root={corpora / 'home'}", *overrides]).data


def test_the_eval_split_is_the_other_corpus(corpora):
    trials = load_trials(data(corpora, corpus="in_the_wild", root=str(corpora / "wild")))
    assert trials.groupby("split")["corpus"].unique().map(list).to_dict() == {
        "train": ["home"], "dev": ["home"], "eval": ["in_the_wild"],
    }  # fmt: skip
    assert len(trials) == 6 and trials.index.tolist() == list(range(6))


def test_the_training_corpus_own_eval_split_need_not_be_there(corpora):
    shutil.rmtree(corpora / "home" / "eval")
    assert len(load_trials(data(corpora, corpus="in_the_wild", root=str(corpora / "wild")))) == 6


def test_of_the_other_corpus_only_eval_is_taken(corpora):
    for split in ("train", "dev", "eval"):
        record(*(corpora / "far" / split / label / f"f{split}.wav" for label in ("bonafide", "spoof")))
    trials = load_trials(data(corpora, corpus="folder", root=str(corpora / "far")))
    assert trials.loc[trials["corpus"] == "far", "utt_id"].tolist() == ["eval/bonafide/feval.wav", "eval/spoof/feval.wav"]
    assert trials.groupby("split")["corpus"].unique().map(list).to_dict() == {
        "train": ["home"], "dev": ["home"], "eval": ["far"],
    }  # fmt: skip


@pytest.fixture
def demo(corpora: Path) -> Path:
    """A corpus as the demo's builder leaves it, with a spoof of each split."""
    root = corpora / "demo"
    splits = ("train", "dev", "eval")
    record(*(root / f"{split}.flac" for split in splits))
    rows = [(split, root / f"{split}.flac", "spoof", "someone", "A", "none", split, "demo") for split in splits]
    write_trials(pd.DataFrame(rows, columns=COLUMNS), root / "trials.parquet")
    return root


def test_the_demo_is_its_trial_table(demo, corpora):
    trials = load_trials(load_profile("demo", [f"data.root={demo}"]).data)
    assert list(trials.columns) == COLUMNS and trials["utt_id"].tolist() == ["train", "dev", "eval"]
    assert all(Path(path).is_file() for path in trials["path"])
    other = load_trials(data(corpora, corpus="demo", root=str(demo)))
    assert other.loc[other["corpus"] == "demo", "utt_id"].tolist() == ["eval"] and list(other.columns) == COLUMNS


def test_a_corpus_without_an_eval_split_is_refused(demo, corpora):
    table = read_trials(demo / "trials.parquet")
    write_trials(table[table["split"] != "eval"], demo / "trials.parquet")
    with pytest.raises(TrialTableError, match=f"^data.evaluate_on: {demo} .*split eval"):
        load_trials(data(corpora, corpus="demo", root=str(demo)))


def test_shared_speakers_and_trials_are_refused(corpora):
    other = corpora / "other"
    record(other / "bonafide" / "hdev" / "2.wav", other / "spoof" / "2.wav")
    with pytest.raises(TrialTableError, match=r"data\.evaluate_on: .*speaker .* 1 .*: hdev\. "):
        load_trials(data(corpora, corpus="folder", root=str(other)))
    table = corpora / "t.csv"
    table.write_text(f"utt_id,path,label\ntrain/spoof/1.wav,{other}/spoof/2.wav,spoof\n")
    with pytest.raises(TrialTableError, match=r"data\.evaluate_on: .*utt_id .* 1 .*: train/spoof/1\.wav\. "):
        load_trials(data(corpora, corpus="table", root=str(table)))


def test_three_of_the_shared_names_are_shown_and_the_remedy(corpora):
    record(
        *(corpora / "home" / split / "bonafide" / name / "2.wav" for split, name in zip(("train", "dev"), "cb", strict=True))
    )
    record(*(corpora / "home" / "dev" / "bonafide" / name / "2.wav" for name in "ad"))
    record(*(corpora / "other" / "bonafide" / name / "3.wav" for name in "dcbae"), corpora / "other" / "spoof" / "3.wav")
    with pytest.raises(TrialTableError) as error:
        load_trials(data(corpora, corpus="folder", root=str(corpora / "other")))
    assert re.search(r"\(eval\).* 4 .*: a, b, c\. .*data\.corpus: table", str(error.value))


def test_a_test_set_cannot_be_trained_on(corpora):
    wild = {"corpus": "in_the_wild", "root": corpora / "wild"}
    profile = load_profile("demo", ["data.corpus=in_the_wild", f"data.root={corpora / 'wild'}"]).data
    assert set(load_trials(profile)["split"]) == {"eval"}
    with pytest.raises(TrialTableError, match="eval split"):
        load_trials(profile.model_copy(update={"evaluate_on": data(corpora, **wild).evaluate_on}))


def test_unknown_corpora_are_errors_of_the_profile():
    with pytest.raises(ConfigError, match="data.evaluate_on.corpus"):
        load_profile("demo", ["data.evaluate_on.corpus=asvspoof1999", "data.evaluate_on.root=x"])
    with pytest.raises(ConfigError, match="data.evaluate_on.root"):
        load_profile("demo", ["data.evaluate_on.corpus=in_the_wild"])
