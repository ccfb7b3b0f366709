"""Score files: every format in circulation, read, written and joined with a key; and files that are rejected."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aasist_lib import metrics
from aasist_lib.evaluation.asv import read_asv
from aasist_lib.evaluation.matching import check_sign, join
from aasist_lib.evaluation.score_files import FORMS, TableError, read_scores, write_scores

IDS, SCORES = ["a", "b", "c", "d"], [1.0, -2.5, 3.0, 0.1234567890123456]
FORMS_IN_CIRCULATION = {
    "2021": "a 1\nb -2.5\nc 3\nd 0.1234567890123456\n",
    "2019": "a - bonafide 1\nb A07 spoof -2.5\nc - bonafide 3\nd A08 spoof 0.1234567890123456\n",
    "speaker, utterance, score, key": "S1 a 1 bonafide\nS1 b -2.5 spoof\nS2 c 3 bonafide\nS2 d 0.1234567890123456 spoof\n",
    "ASVspoof 5": "filename\tcm-score\na\t1\nb\t-2.5\nc\t3\nd\t0.1234567890123456\n",
    "ASVspoof 5, track 2": "spk\tfilename\tcm-score\tasv-score\tsasv-score\nx\ta\t1\t9\t9\nx\tb\t-2.5\t9\t9\n"
    "x\tc\t3\t9\t9\nx\td\t0.1234567890123456\t9\t9\n",
    "utterance, score, label": "a 1 genuine\nb -2.5 fake\nc 3 Human\nd 0.1234567890123456 FAKE\n",
    "utterance, label, score": "a\t1\t1\nb\t0\t-2.5\nc\t1\t3\nd\t0\t0.1234567890123456\n",
    "scores and labels of 0 and 1": "utt,score,label\na,1,1\nb,-2.5,0\nc,3,1\nd,0.1234567890123456,0\n",
    "bona-fide": "path,prob,score,label\na,1,1,Bona-Fide\nb,0,-2.5,deepfake\nc,1,3,real\nd,1,0.1234567890123456,spoofed\n",
    "comma": "utt_id,score\na, 1\nb,-2.5\nc,3\nd,0.1234567890123456\n",
    "semicolon": "Utterance;CM_Score\na;1\nb;-2.5\nc;3\nd;0.1234567890123456\n",
    "blanks, blank lines, byte order mark, DOS lines": "\ufeff a   1 \r\n\r\nb -2.5\r\nc\t3\r\nd 0.1234567890123456",
    "empty fields elsewhere": "file,text,score\na,,1\nb,,-2.5\nc,,3\nd,words,0.1234567890123456\n",
}

LABELLED = [
    "2019", "speaker, utterance, score, key", "utterance, score, label", "utterance, label, score",
    "scores and labels of 0 and 1", "bona-fide",
]  # fmt: skip


@pytest.fixture
def table() -> pd.DataFrame:
    """A joined score table of four trials."""
    values = {"utt_id": IDS, "score": SCORES, "label": ["bonafide", "spoof", "bonafide", "spoof"]}
    return pd.DataFrame(values | {"speaker": list("xxyy"), "attack": ["-", "A07", "-", "A08"], "codec": "-"})


@pytest.fixture
def key(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="score")


def put(folder: Path, text: str, name: str = "scores.txt") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("form", FORMS_IN_CIRCULATION)
@pytest.mark.parametrize("packed", [False, True])
def test_every_form_is_found_out(tmp_path: Path, form: str, packed: bool) -> None:
    path = put(tmp_path, FORMS_IN_CIRCULATION[form])
    if packed:
        path = tmp_path / "scores.txt.gz"
        path.write_bytes(gzip.compress(FORMS_IN_CIRCULATION[form].encode()))
    found = read_scores(path)
    assert found["utt_id"].tolist() == IDS
    assert found["score"].tolist() == SCORES and found["score"].dtype == np.float64
    labelled = form in LABELLED
    if labelled:
        assert found["label"].tolist() == ["bonafide", "spoof", "bonafide", "spoof"]
    assert list(found.columns) == ["utt_id", "score"] + ["label"] * labelled + ["attack"] * (form == "2019")


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_is_read_to_the_last_digit(tmp_path: Path, table: pd.DataFrame, form: str) -> None:
    scores = np.random.default_rng(0).normal(size=500) * 10.0 ** np.random.default_rng(1).integers(-9, 9, 500)
    many = pd.DataFrame({"utt_id": [f"u{i}" for i in range(500)], "score": scores, "label": "spoof", "attack": "A01"})
    for name in ("one", "one.gz") if form != "parquet" else ("one.parquet",):
        write_scores(many, tmp_path / name, form)
        found = read_scores(tmp_path / name)
        assert found["utt_id"].tolist() == many["utt_id"].tolist()
        np.testing.assert_array_equal(found["score"], scores)


@pytest.mark.parametrize("form", FORMS)
def test_what_a_killed_process_left_unfinished_beside_it_goes(tmp_path: Path, table: pd.DataFrame, form: str) -> None:
    (tmp_path / ".tmp-0123456789ab.csv").write_text("half")
    write_scores(table, tmp_path / "scores", form)
    assert os.listdir(tmp_path) == ["scores"]


def test_the_organisers_forms_are_theirs(tmp_path: Path, table: pd.DataFrame) -> None:
    expected = {
        "asvspoof5": "filename\tcm-score\na\t1.0\nb\t-2.5\nc\t3.0\nd\t0.1234567890123456\n",
        "asvspoof2019": "a - bonafide 1.0\nb A07 spoof -2.5\nc - bonafide 3.0\nd A08 spoof 0.1234567890123456\n",
        "asvspoof2021": "a 1.0\nb -2.5\nc 3.0\nd 0.1234567890123456\n",
    }
    for form, text in expected.items():
        write_scores(table, tmp_path / form, form)
        assert (tmp_path / form).read_text() == text


def test_what_cannot_be_written(tmp_path: Path, table: pd.DataFrame) -> None:
    with pytest.raises(TableError, match="asvspoof5, asvspoof2019"):
        write_scores(table, tmp_path / "x", "kaldi")
    with pytest.raises(TableError, match="attack, label"):
        write_scores(table[["utt_id", "score"]], tmp_path / "x", "asvspoof2019")
    with pytest.raises(TableError, match="1 .*utt_id .*'a b'"):
        write_scores(table.replace({"utt_id": {"a": "a b"}}), tmp_path / "x", "asvspoof2021")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1\n\nb\nc 2\n", "scores.txt:3: 2 fields .*1: 'b'"),
        ("utt_id,score\na,1\n\nb,\n", "scores.txt:4: 1 scores .*: ''"),
        ("a 1\nb four\nc nan\n", "scores.txt:2: 2 scores .*: 'four', 'nan'"),
        ("utt_id score\na 1\nb inf\n", "scores.txt:3: 1 scores .*: 'inf'"),
        ("a 1\nb 2\na 3\n", r"scores.txt:3: 1 ids .*scores.txt:1: 'a'"),
        ("a 1\nb 2 3\n", "scores.txt:2: 2 fields .*3: 'b 2 3'"),
        ("a - 1\nb - 2\n", "scores.txt:1: 3 columns .*--columns: utt_id - score"),
        ("a - maybe 1\n", "4 columns .*--columns: utt_id - - score"),
        ("a 1 real\nb 2 maybe\nc 3 fake\n", "scores.txt:2: 1 labels .*bonafide, .*spoof, .*: 'maybe'"),
        ("utt_id value\na 1\n", "column score.* utt_id, value"),
        ("utt_id score\n", "heading"),
        ("file,trial,score\na,b,1\n", "columns file, trial .*utt_id"),
        ("utt_id,score,label\na,1,2\n", "scores.txt:2: 1 labels .*bonafide, .*spoof, .*: '2'"),
        ('{"utt": "a", "score": 1}\n', "scores.txt:1: JSON"),
        ("a 0,5\nb 1,25\n", "scores.txt:1: '0,5'"),
        ("utt_id,score\n,1\n", "scores.txt:2: 1 scores .*id"),
        ("a 1\n\u2028 2\n", "scores.txt:2: 1 scores .*id: '2'"),
        (f"a 1\nb {'x' * 100_000}\n", "scores.txt:2: 1 scores .*: 'x{20,250} … x{249}'$"),
        ("", "scores.txt: .*table"),
    ],
)
def test_what_is_no_score_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_scores(put(tmp_path, text))


def test_broken_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="/none: "):
        read_scores(tmp_path / "none")
    (tmp_path / "x.gz").write_bytes(b"a 1\n")
    with pytest.raises(TableError, match="x.gz: .*gzip"):
        read_scores(tmp_path / "x.gz")
    (tmp_path / "x.parquet").write_bytes(b"a 1\n")
    with pytest.raises(TableError, match="x.parquet: "):
        read_scores(tmp_path / "x.parquet")


def test_own_names_win_over_others(tmp_path: Path) -> None:
    found = read_scores(put(tmp_path, "file,utt_id,score\n/x/a.wav,a,1\n"))
    assert found["utt_id"].tolist() == ["a"]


def test_joined_in_the_order_of_the_key(table: pd.DataFrame, key: pd.DataFrame) -> None:
    shuffled = table[["utt_id", "score", "label"]].iloc[[2, 0, 3, 1]]
    pd.testing.assert_frame_equal(join(shuffled, key), table)


def test_ids_that_do_not_match_are_counted_on_both_sides(table: pd.DataFrame, key: pd.DataFrame) -> None:
    scores = table[["utt_id", "score"]].replace({"utt_id": {"a": "e"}})
    with pytest.raises(TableError) as error:
        join(scores, key.drop(index=1), ("s.txt", "k.txt"))
    text = str(error.value)
    assert re.search("2 of 4 .*s.txt .*k.txt: e, b", text)
    assert re.search("1 of 3 .*k.txt .*s.txt: a", text) and "extensions" not in text
    many = pd.concat([scores, pd.DataFrame({"utt_id": [f"n{i}" for i in range(9)], "score": 0.0})])
    with pytest.raises(TableError, match=r"10 of 13 .*: e, n0, n1, n2, n3 …"):
        join(many, key)


@pytest.mark.parametrize(
    ("scored", "keyed"),
    [("flac/{}.flac", "{}"), ("{}", "/data/wavs/{}.WAV"), ("x/y/{}.mp3", "z/{}.opus"), ("C:\\sounds\\{}.wav", "{}.m4a")],
)
def test_ids_with_folders_or_endings_are_matched_where_they_are_unique_without(
    table: pd.DataFrame, key: pd.DataFrame, scored: str, keyed: str
) -> None:
    scores = table.assign(utt_id=[scored.format(name) for name in IDS])[["utt_id", "score"]]
    ids = [keyed.format(name) for name in IDS]
    joined = join(scores, key.assign(utt_id=ids))
    assert joined["utt_id"].tolist() == ids and joined["score"].tolist() == SCORES
    assert (
        joined.attrs["matched"] == f"ids matched without folders and without file extensions: {scored.format('a')} is {ids[0]}"
    )


def test_as_few_folders_as_tell_ids_apart_are_compared(table: pd.DataFrame, key: pd.DataFrame) -> None:
    ids = ["left/1", "left/2", "right/1", "right/2"]
    scores = table.assign(utt_id=[f"/home/me/{name}.wav" for name in ids])[["utt_id", "score"]]
    joined = join(scores, key.assign(utt_id=ids))
    assert joined["score"].tolist() == SCORES and "by the last 2 parts of their paths" in joined.attrs["matched"]


def test_names_that_are_not_unique_are_not_guessed(table: pd.DataFrame, key: pd.DataFrame) -> None:
    scores = table.assign(utt_id=["x/1.wav", "y/1.wav", "x/2.wav", "y/2.wav"])[["utt_id", "score"]]
    with pytest.raises(TableError) as error:
        join(scores, key.assign(utt_id=["1", "2", "3", "4"]), ("s.txt", "k.txt"))
    assert re.search(r"s\.txt .*x/1\.wav", str(error.value))
    assert "In s.txt" in str(error.value) and "In k.txt" not in str(error.value)


def test_contradicting_labels_and_repeated_ids(table: pd.DataFrame, key: pd.DataFrame) -> None:
    wrong = table[["utt_id", "score", "label"]].copy()
    wrong.loc[1, "label"] = "bonafide"
    with pytest.raises(TableError, match="1 of 4 labels .*: b"):
        join(wrong, key)
    with pytest.raises(TableError, match="the key: 1 ids .*: a"):
        join(table[["utt_id", "score"]], pd.concat([key, key.iloc[:1]]))


def test_only_the_splits_that_were_scored_count(table: pd.DataFrame, key: pd.DataFrame) -> None:
    whole = pd.concat([key.assign(split="dev"), key.assign(split="train", utt_id="t-" + key["utt_id"])])
    scores = table[["utt_id", "score"]]
    assert join(scores, whole)["utt_id"].tolist() == key["utt_id"].tolist()
    with pytest.raises(TableError, match="1 of 4 .*the key .*the scores: a"):
        join(scores.iloc[1:], whole)


def test_only_the_subset_eval_counts(table: pd.DataFrame, key: pd.DataFrame) -> None:
    key["subset"] = ["eval", "eval", "progress", "eval"]
    scores = table[["utt_id", "score"]]
    assert join(scores, key)["utt_id"].tolist() == ["a", "b", "d"]
    assert len(join(scores.drop(index=2), key)) == 3
    with pytest.raises(TableError, match="1 of 3 .*the key .*the scores: a"):
        join(scores.drop(index=0), key)
    with pytest.raises(TableError, match="subset 'eval'"):
        join(scores, key.assign(subset="hidden"))


def test_an_inverted_sign_is_spoken_of_and_left_alone() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate((rng.normal(1, 1, 300), rng.normal(-1, 1, 500)))
    table = pd.DataFrame({"score": scores, "label": ["bonafide"] * 300 + ["spoof"] * 500})
    assert check_sign(table) is None
    inverted = table.assign(score=-table["score"])
    before = inverted.copy()
    sentence = check_sign(inverted)
    assert sentence is not None and "SIGN" in sentence
    value = metrics.eer(*metrics.split_classes(inverted["label"], inverted["score"]))[0]
    assert f"EER is {value:.2%}" in sentence
    pd.testing.assert_frame_equal(inverted, before)
    guessing = table.assign(score=rng.normal(size=800))
    assert check_sign(guessing) is None and check_sign(guessing.assign(score=-guessing["score"])) is None


def test_asv_scores_of_2019(tmp_path: Path) -> None:
    path = put(tmp_path, "bonafide target 3.5\nbonafide nontarget -1\nA07 spoof 1.25\nA08 spoof 2\n")
    found = read_asv(path)
    assert [each.tolist() for each in found] == [[3.5], [-1], [1.25, 2]]


def test_asv_scores_of_2021_are_labelled_by_the_key_beside_them(tmp_path: Path) -> None:
    scores = "S1 u1 3.5\nS1 u2 -1\nS2 u3 1.25\nS2 u4 9\n"
    path = tmp_path / "ASV" / "ASVTorch_Kaldi" / "score.txt"
    path.parent.mkdir(parents=True)
    path.write_text(scores)
    with pytest.raises(TableError, match=r"score\.txt.*/ASV/trial_metadata\.txt"):
        read_asv(path)
    key = path.parent.parent / "trial_metadata.txt"
    lines = [("u1", "target", "eval"), ("u2", "nontarget", "eval"), ("u3", "spoof", "eval"), ("u4", "target", "hidden")]
    text = "\n".join(f"S {utterance} alaw ita_tx x {kind} notrim {subset}" for utterance, kind, subset in lines)
    key.write_text(text)
    assert [each.tolist() for each in read_asv(path)] == [[3.5], [-1], [1.25]]
    key.write_text(text.replace("u3", "u9"))
    with pytest.raises(TableError, match="trial_metadata.txt"):
        read_asv(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1\n", "scores.txt:1: 2 columns"),
        ("bonafide target 1\nbonafide nontarget x\n", "scores.txt:2: 1 scores .*: 'x'"),
        ("bonafide target 1\nbonafide other 2\n", "scores.txt:2: 1 keys .*target, nontarget, spoof: 'other'"),
        ("bonafide target 1\nA07 spoof 2\n", "nontarget"),
    ],
)
def test_what_is_no_asv_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_asv(put(tmp_path, text))
