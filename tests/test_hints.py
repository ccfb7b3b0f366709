"""Follows the instructions in error messages about score files and keys, and checks that they work."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aasist_lib import metrics
from aasist_lib.__main__ import main
from aasist_lib.corpora import write_trials
from aasist_lib.corpora.protocols import ProtocolError, read_key
from aasist_lib.corpora.table import read_trials
from aasist_lib.evaluation.asv import read_asv
from aasist_lib.evaluation.matching import join, read_joined
from aasist_lib.evaluation.score_files import TableError, read_scores, write_scores
from tests.conftest import make_corpus

IDS, SCORES = ["u1", "u2", "u3", "u4"], [1.5, -0.5, 0.25, -2.0]
LABELS = ["bonafide", "spoof", "bonafide", "spoof"]
ODD = "team's $scores (1).v2"
"""A file stem that a shell would split or expand."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an awkward name that contains a key."""
    made = tmp_path / "it's here"
    made.mkdir()
    (made / "key.txt").write_text("".join(f"{name} {label}\n" for name, label in zip(IDS, LABELS, strict=True)))
    return made


def lines(*columns: list) -> str:
    return "".join(" ".join(map(str, row)) + "\n" for row in zip(*columns, strict=True))


def refusal(*arguments, **more) -> str:
    """Return the error message of `read_joined`."""
    with pytest.raises((TableError, ProtocolError)) as error:
        read_joined(*arguments, **more)
    return str(error.value)


def after(text: str, mark: str, end: str = "") -> str:
    """Return the part of a message after `mark`, up to `end`."""
    assert mark in text, text
    found = text.partition(mark)[2]
    return found.partition(end)[0] if end else found


def is_right(table: pd.DataFrame) -> None:
    assert table["utt_id"].tolist() == IDS and table["score"].tolist() == SCORES and table["label"].tolist() == LABELS


# ---- columns ----------------------------------------------------------------------------------------------------------


def test_columns_in_the_order_that_the_message_begins(folder: Path) -> None:
    """Three columns without a heading; the message suggests the only numeric one as the score."""
    file = folder / f"{ODD}.txt"
    file.write_text(lines(IDS, ["x"] * 4, SCORES))
    said = refusal(file, folder / "key.txt")
    is_right(read_joined(file, folder / "key.txt", after(said, "--columns: ", " (").split()))


def test_two_logits_as_the_message_gives_them(folder: Path) -> None:
    file = folder / "logits.txt"
    file.write_text(lines(IDS, [0.25] * 4, [0.25 + each for each in SCORES]))
    said = refusal(file, folder / "key.txt")
    is_right(read_joined(file, folder / "key.txt", after(said, "two logits: --columns ", ";").split()))


def test_headings_that_are_not_known(folder: Path) -> None:
    file = folder / "named.csv"
    file.write_text("wave,p_real\n" + "".join(f"{name},{score}\n" for name, score in zip(IDS, SCORES, strict=True)))
    said = refusal(file, folder / "key.txt")
    told = after(said, "--columns ", " (").replace("utt_id=HEADING", "utt_id=wave").replace("score=HEADING", "score=p_real")
    is_right(read_joined(file, folder / "key.txt", told.split()))


def test_two_logits_with_headings(folder: Path) -> None:
    file = folder / "named.csv"
    file.write_text("wave,fake_logit,real_logit\n" + lines(IDS, [1.0] * 4, [1 + each for each in SCORES]).replace(" ", ","))
    told = after(refusal(file, folder / "key.txt"), "two logits: ", ")")
    for column, heading in (("utt_id", "wave"), ("spoof", "fake_logit"), ("bonafide", "real_logit")):
        told = told.replace(f"{column}=HEADING", f"{column}={heading}")
    is_right(read_joined(file, folder / "key.txt", told.split()))


def test_two_columns_that_could_be_the_id(folder: Path) -> None:
    file = folder / "both.csv"
    file.write_text("trial,file,score\n" + lines(IDS, ["x.wav"] * 4, SCORES).replace(" ", ","))
    said = refusal(file, folder / "key.txt")
    is_right(read_joined(file, folder / "key.txt", after(said, "choose one: --columns ").split()))
    assert "'utt_id'" in said
    file.write_text(file.read_text().replace("trial,", "utt_id,"))
    is_right(read_joined(file, folder / "key.txt"))


def test_a_heading_that_is_shorter_than_its_lines(folder: Path) -> None:
    file = folder / "short.txt"
    body = lines(IDS, SCORES, LABELS)
    file.write_text("filename cm-score\n" + body)
    said = refusal(file, folder / "key.txt")
    assert "heading" in said
    file.write_text(body)
    is_right(read_joined(file, folder / "key.txt"))
    file.write_text(after(said, "such as '", "'") + "\n" + body)
    is_right(read_joined(file, folder / "key.txt"))


@pytest.mark.parametrize("heading", ["utt_id,score,score", "score,score,utt_id"])
def test_a_column_that_is_there_twice(folder: Path, heading: str) -> None:
    file = folder / "twice.csv"
    rows = lines(IDS, SCORES, SCORES) if heading.startswith("utt") else lines(SCORES, SCORES, IDS)
    file.write_text(f"{heading}\n" + rows.replace(" ", ","))
    assert "several columns are called score: rename or remove one" in refusal(file, folder / "key.txt")
    file.write_text(f"{heading}\n".replace("score", "x", 1) + rows.replace(" ", ","))
    is_right(read_joined(file, folder / "key.txt"))


# ---- commands in messages --------------------------------------------------------------------------------------------


def run_in_shell(command: str, folder: Path) -> None:
    """Run a command exactly as in the message; `python` is this interpreter."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "python").unlink(missing_ok=True)
    (folder / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (folder / "bin" / "python").chmod(0o755)
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(["bash", "-c", command], cwd=folder, env={"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mark", [" ", ";", "\t"])
@pytest.mark.parametrize("packed", [False, True])
def test_decimal_commas(folder: Path, mark: str, packed: bool) -> None:
    file = folder / f"{ODD}.txt"
    file.write_text(lines(IDS, [str(score).replace(".", ",") for score in SCORES]).replace(" ", mark))
    if packed:
        subprocess.run(["gzip", str(file)], check=True)
        file = folder / f"{ODD}.txt.gz"
    said = refusal(file, folder / "key.txt")
    assert f"{file}:1: '1,5'" in said
    run_in_shell(after(said, "numbers need a point: "), folder)
    (made,) = folder.glob("*_points.txt")
    is_right(read_joined(made, folder / "key.txt"))


def test_json_lines(folder: Path) -> None:
    file = folder / f"{ODD}.jsonl"
    rows = pd.DataFrame({"utt_id": IDS, "score": SCORES, "label": LABELS})
    rows.to_json(file, orient="records", lines=True)
    for read in (read_scores, read_key):
        with pytest.raises((TableError, ProtocolError), match="JSON lines") as error:
            read(file)
    run_in_shell(after(str(error.value), "a table is needed: "), folder)
    (made,) = folder.glob("*.csv")
    is_right(read_joined(made, None))
    assert read_key(made)["label"].tolist() == LABELS


def test_other_json_gets_no_command_that_would_fail(folder: Path) -> None:
    for text in ('{"u1": 1.5, "u2": -0.5}\n', "[\n1,\n2]\n", '{\n "u1": 1.5\n}\n'):
        (folder / "scores.json").write_text(text)
        said = refusal(folder / "scores.json", folder / "key.txt")
        assert "JSON" in said and "python" not in said


# ---- ids and labels --------------------------------------------------------------------------------------------------


def test_a_score_file_without_labels_needs_its_key(folder: Path) -> None:
    (folder / "s.txt").write_text(lines(IDS, SCORES))
    assert "give the key of its trials (--key" in refusal(folder / "s.txt", None)
    is_right(read_joined(folder / "s.txt", folder / "key.txt"))


@pytest.mark.parametrize("word", ["bonafide", "genuine", "human", "real", "1", "spoof", "spoofed", "fake", "deepfake", "0"])
def test_every_label_that_a_message_names_is_read(folder: Path, word: str) -> None:
    (folder / "s.txt").write_text("u1 1.5 perhaps\nu2 1 fake\nu3 2 fake\n")
    (folder / "k.txt").write_text("u1 perhaps\nu2 fake\n")
    for said in (refusal(folder / "s.txt", None), refusal(folder / "s.txt", folder / "k.txt")):
        assert re.search(rf"\b{word}\b", said)
    with pytest.raises(ProtocolError, match=rf"'perhaps'.*\b{word}\b"):
        read_key(folder / "k.txt")
    for name in ("s.txt", "k.txt"):
        (folder / name).write_text((folder / name).read_text().replace("perhaps", word))
    assert len(read_scores(folder / "s.txt")) == 3 and len(read_key(folder / "k.txt")) == 2


@pytest.mark.parametrize("name", ["utt_id", "filename", "file", "utt", "utterance", "trial", "id", "path", "filepath", "wav"])
def test_every_heading_that_a_message_names_is_read(folder: Path, name: str) -> None:
    (folder / "k.txt").write_text("a,b,label\nu1,x,spoof\n")
    with pytest.raises(ProtocolError, match=rf"column .*\b{name}\b"):
        read_key(folder / "k.txt")
    (folder / "k.txt").write_text(f"{name},b,label\nu1,x,spoof\n")
    assert read_key(folder / "k.txt")["utt_id"].tolist() == ["u1"]


def test_lines_to_be_removed_or_renamed_in_a_key(folder: Path) -> None:
    key = folder / "k.txt"
    for text, said, remedy in (
        ("u1 spoof\n\nu2 bonafide\n", ":2: .*utt_id.* empty", "u1 spoof\nu2 bonafide\n"),
        ("utt_id,label,label\nu1,spoof,x\n", ":1: .*label .*rename", "utt_id,label,other\nu1,spoof,x\n"),
        ("id,other\nu1,spoof\n", ":1: .*label or key", "id,label\nu1,spoof\n"),
        ("id,other\nu1,spoof\n", ":1: .*label or key", "id,key\nu1,spoof\n"),
    ):
        key.write_text(text)
        with pytest.raises(ProtocolError, match=said):
            read_key(key)
        key.write_text(remedy)
        assert read_key(key)["label"].iloc[0] == "spoof"


def test_a_file_in_another_encoding(folder: Path) -> None:
    file = folder / "s.txt"
    file.write_bytes("ü1 1.5\n".encode("latin-1"))
    assert "save it in UTF-8" in refusal(file, folder / "key.txt")
    file.write_text(file.read_text("latin-1"), encoding="utf-8")
    assert read_scores(file)["utt_id"].tolist() == ["ü1"]


def test_names_that_are_not_unique_without_folders_are_settled_in_the_file_that_is_named(folder: Path) -> None:
    scores = pd.DataFrame({"utt_id": ["x/1.wav", "y/1.wav"], "score": [1.0, 2.0]})
    key = pd.DataFrame({"utt_id": ["a", "b"], "label": ["bonafide", "spoof"]})
    with pytest.raises(TableError, match=r"s\.txt .*x/1\.wav") as error:
        join(scores, key, ("s.txt", "k.txt"))
    assert "In s.txt" in str(error.value)
    assert len(join(scores.assign(utt_id=["a.wav", "b.wav"]), key, ("s.txt", "k.txt"))) == 2


def test_the_key_of_asv_scores_of_2021_lies_where_the_message_says(folder: Path) -> None:
    file = folder / "ASV" / "Kaldi" / "score.txt"
    file.parent.mkdir(parents=True)
    file.write_text("S1 u1 1\nS1 u2 -1\nS1 u3 2\n")
    with pytest.raises(TableError) as error:
        read_asv(file)
    key = Path(after(str(error.value), "must be at ", ": keep"))
    kinds = enumerate(("target", "nontarget", "spoof"), 1)
    key.write_text("".join(f"S1 u{number} alaw x x {kind} notrim eval\n" for number, kind in kinds))
    assert [each.tolist() for each in read_asv(file)] == [[1], [-1], [2]]


def test_what_a_form_cannot_hold_is_written_as_the_message_says(folder: Path) -> None:
    table = pd.DataFrame({"utt_id": ["a b", "c"], "score": [1.0, 2.0]})
    with pytest.raises(TableError) as error:
        write_scores(table, folder / "s.txt", "asvspoof2021")
    written = folder / after(str(error.value), "; write ")
    write_scores(table, written, written.suffix.removeprefix("."))
    assert read_scores(written)["utt_id"].tolist() == ["a b", "c"]


# ---- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def system(folder: Path) -> Path:
    """Eval and dev scores and keys, 60 trials of two attacks each; the working folder of `evaluate`."""
    rng, size = np.random.default_rng(0), 60
    for split, shift in (("eval", 0.0), ("dev", 0.5)):
        labels = ["bonafide" if number % 3 == 0 else "spoof" for number in range(size)]
        ids, attacks = [f"{split}{number}" for number in range(size)], [f"A0{7 + number % 2}" for number in range(size)]
        scores = [rng.normal(1.5 if label == "bonafide" else -1.0) + shift for label in labels]
        (folder / f"{split}.txt").write_text(lines(ids, scores))
        rows = [("S1", name, "-", "-" if label == "bonafide" else attack, label)
                for name, label, attack in zip(ids, labels, attacks, strict=True)]  # fmt: skip
        (folder / f"{split}.key").write_text("".join(" ".join(row) + "\n" for row in rows))
        spoofs = [row for row in zip(ids, scores, labels, strict=True) if row[2] == "spoof"]
        (folder / f"{split}_spoofs.txt").write_text("".join(" ".join(map(str, row)) + "\n" for row in spoofs))
    return folder


def command(folder: Path, text: str) -> int:
    """Run `evaluate` with the options of a message; file names are relative to the folder."""
    words = [str(folder / word) if (folder / word).is_file() else word for word in shlex.split(text)]
    return main(["evaluate", *words])


def test_a_class_alone_at_a_threshold_or_at_that_of_dev(system: Path, capsys) -> None:
    assert command(system, "--scores eval_spoofs.txt") == 2
    said = capsys.readouterr().err
    assert "--threshold T" in said and "--dev-scores FILE --dev-key FILE" in said
    assert command(system, "--scores eval_spoofs.txt --threshold 0.5") == 0
    assert "detected (1 - far)" in capsys.readouterr().out
    told = after(said, "was chosen on: ").strip().replace("FILE", "dev.txt", 1).replace("FILE", "dev.key")
    assert command(system, f"--scores eval_spoofs.txt {told}") == 0
    dev = read_joined(system / "dev.txt", system / "dev.key")
    threshold = metrics.eer(*metrics.split_classes(dev["label"], dev["score"]))[1]
    assert f"{threshold:.6g}" in capsys.readouterr().out
    assert command(system, "--scores eval_spoofs.txt --threshold 0.5 --by attack") == 2
    assert "leave out --by and --bootstrap" in capsys.readouterr().err


def test_columns_of_a_part_are_those_that_the_message_lists(system: Path, capsys) -> None:
    assert command(system, "--scores eval.txt --key eval.key --only atack=A07") == 2
    columns = after(capsys.readouterr().err, "with a column of the key: ").strip().split(", ")
    assert "attack" in columns
    assert command(system, "--scores eval.txt --key eval.key --only attack=A99") == 2
    values = after(capsys.readouterr().err, "there are ").strip().split(", ")
    assert {"A07", "A08"} <= set(values)
    assert command(system, "--scores eval.txt --key eval.key --only attack=A07,A08") == 0
    assert command(system, "--scores eval.txt --key eval.key --leave-out attack=A07") == 0


def test_another_folder_for_other_inputs(system: Path, capsys) -> None:
    results = system / "results"
    first, other = (["evaluate", "--scores", str(system / f"{split}.txt"), "--key", str(system / f"{split}.key"), "--out"]
                    for split in ("eval", "dev"))  # fmt: skip
    assert main([*first, str(results)]) == 0
    assert main([*other, str(results)]) == 2 and "name another folder with --out" in capsys.readouterr().err
    assert main([*other, str(system / "others")]) == 0


def test_durations_from_a_column_or_from_the_corpus(system: Path, tmp_path: Path, capsys) -> None:
    assert command(system, "--scores eval.txt --key eval.key --by duration") == 2
    said = capsys.readouterr().err
    assert "'seconds'" in said and "--key" in said
    key = read_key(system / "eval.key").assign(seconds=[1.0 + number % 4 for number in range(60)])
    key.to_csv(system / "seconds.csv", index=False)
    assert command(system, "--scores eval.txt --key seconds.csv --by duration") == 0
    shown = capsys.readouterr().out
    assert "< 2 s" in shown and "2–4 s" in shown
    (tmp_path / "corpus").mkdir()
    corpus = make_corpus(tmp_path / "corpus")
    trials = read_trials(corpus / "trials.parquet")
    write_trials(trials, corpus / "eval.csv")
    rows = trials[trials["split"] == "eval"]
    scores = [1.0 + number / 99 if label == "bonafide" else -1 - number / 99 for number, label in enumerate(rows["label"])]
    (corpus / "s.txt").write_text(lines(rows["utt_id"].tolist(), scores))
    assert command(corpus, "--scores s.txt --key eval.csv --by duration") == 0
    assert "< 2 s" in capsys.readouterr().out


def test_scores_of_the_wrong_sign_are_negated_in_the_file(system: Path, capsys) -> None:
    scores = read_scores(system / "eval.txt")
    write_scores(scores.assign(score=-scores["score"]), system / "wrong.txt", "asvspoof2021")
    assert command(system, "--scores wrong.txt --key eval.key") == 0
    assert "negate the scores in the file" in capsys.readouterr().err
    shutil.copy(system / "eval.txt", system / "right.txt")
    assert command(system, "--scores right.txt --key eval.key") == 0 and "SIGN" not in capsys.readouterr().err
