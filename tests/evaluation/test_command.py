"""The command `evaluate` on real-world files: formats, file names, subsets, dev thresholds, two systems."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aasist_lib import metrics
from aasist_lib.__main__ import main

BONAFIDE, SPOOF = 40, 80


@pytest.fixture
def trials() -> pd.DataFrame:
    """Scores of 120 trials by four attacks and six speakers."""
    rng, size = np.random.default_rng(5), BONAFIDE + SPOOF
    label = np.repeat(["bonafide", "spoof"], [BONAFIDE, SPOOF])
    return pd.DataFrame(
        {
            "utt_id": [f"E{number:03d}" for number in range(size)],
            "score": rng.normal(np.where(label == "bonafide", 1.5, -1.0)).round(6),
            "label": label,
            "attack": np.where(label == "bonafide", "-", np.array(["A07", "A08", "A09", "A10"])[np.arange(size) % 4]),
            "speaker": np.array([f"S{number}" for number in range(6)])[np.arange(size) % 6],
        }
    )


@pytest.fixture
def folder(trials: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with scores in the ASVspoof 2021 format and a key in the 2019 format."""
    put(tmp_path / "s.txt", trials, "utt_id", "score")
    put(tmp_path / "key.txt", trials.assign(none="-"), "speaker", "utt_id", "none", "attack", "label")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(path: Path, table: pd.DataFrame, *columns: str, heading: bool = False) -> None:
    table[list(columns)].to_csv(path, sep=" ", header=heading, index=False)


def evaluated(capsys: pytest.CaptureFixture, *options: str) -> dict[str, list[str]]:
    """Run `evaluate` and return its printed rows by their first word."""
    assert main(["evaluate", *options]) == 0, capsys.readouterr().err
    return {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line}


def eer_of(trials: pd.DataFrame) -> float:
    return metrics.eer(*metrics.split_classes(trials["label"], trials["score"]))[0]


WORDS = {
    "genuine and fake": ("genuine", "fake"),
    "Human": ("Human", "SPOOF"),
    "numbers": ("1", "0"),
    "Bona-Fide": ("Bona-Fide", "spoof"),
}


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("order", [("utt_id", "score", "label"), ("utt_id", "label", "score")])
def test_labels_in_the_score_file_need_no_key(words: str, order: tuple, folder: Path, trials: pd.DataFrame, capsys) -> None:
    bonafide, spoof = WORDS[words]
    table = trials.assign(label=np.where(trials["label"] == "bonafide", bonafide, spoof))
    put(folder / "own.txt", table, *order)
    rows = evaluated(capsys, "--scores", "own.txt")
    assert rows["eer"][0] == f"{eer_of(trials):.3%}" and (rows["bonafide"], rows["spoof"]) == (["40"], ["80"])


def test_two_logits_with_and_without_a_heading(folder: Path, trials: pd.DataFrame, capsys) -> None:
    table = trials.assign(fake=0.75, real=0.75 + trials["score"])
    put(folder / "logits.txt", table, "utt_id", "fake", "real")
    given = ("--key", "key.txt", "--columns", "utt_id", "spoof", "bonafide")
    assert evaluated(capsys, "--scores", "logits.txt", *given)["eer"][0] == f"{eer_of(trials):.3%}"
    put(folder / "named.txt", table, "fake", "real", "utt_id", heading=True)
    given = ("--key", "key.txt", "--columns", "spoof=fake", "bonafide=real", "utt_id=utt_id")
    assert evaluated(capsys, "--scores", "named.txt", *given)["eer"][0] == f"{eer_of(trials):.3%}"


@pytest.mark.parametrize("years", ["2015", "2017", "2021 PA"])
def test_keys_of_other_challenges(years: str, folder: Path, trials: pd.DataFrame, capsys) -> None:
    table = trials.assign(n="-", subset="eval", word=np.where(trials["label"] == "bonafide", "human", "spoof"))
    table.loc[::5, "subset"] = "hidden"
    forms = {
        "2015": ("speaker", "utt_id", "attack", "word"),
        "2017": ("utt_id", "label", "speaker", "n", "n", "n", "n"),
        "2021 PA": ("speaker", "utt_id", *["n"] * 7, "label", "n", "subset"),
    }
    put(folder / "key", table, *forms[years])
    counted = table[table["subset"] == "eval"] if years == "2021 PA" else table
    rows = evaluated(capsys, "--scores", "s.txt", "--key", "key")
    assert rows["eer"][0] == f"{eer_of(counted):.3%}" and int(rows["spoof"][0]) == (counted["label"] == "spoof").sum()


def test_track_2_has_its_cm_score_in_several_lines_and_a_min_a_dcf(folder: Path, trials: pd.DataFrame, capsys) -> None:
    """Each utterance has a trial with each of two speakers."""
    rng = np.random.default_rng(1)
    twice = pd.concat([trials.assign(spk="T1"), trials.assign(spk="T2")], ignore_index=True)
    target = (twice["label"] == "bonafide") & (twice["spk"] == "T1")
    twice["asv"] = np.where(target, "target", np.where(twice["label"] == "spoof", "spoof", "nontarget"))
    twice["asv-score"] = rng.normal(np.where(twice["asv"] == "nontarget", -1, 2)).round(5)
    twice["sasv-score"] = (twice["asv-score"] + twice["score"]).round(5)
    named = twice.rename(columns={"utt_id": "filename", "score": "cm-score", "label": "cm-label", "asv": "asv-label"})
    scores = ["filename", "cm-score", "asv-score", "sasv-score", "spk"]
    named[scores].to_csv(folder / "t2.tsv", sep="\t", index=False)
    named[["filename", "cm-label", "spk", "asv-label"]].to_csv(folder / "t2.key", sep="\t", index=False)
    rows = evaluated(capsys, "--scores", "t2.tsv", "--key", "t2.key")
    assert rows["eer"][0] == f"{eer_of(trials):.3%}" and (rows["bonafide"], rows["spoof"]) == (["40"], ["80"])
    classes = [twice.loc[twice["asv"] == kind, "sasv-score"] for kind in ("target", "nontarget", "spoof")]
    assert rows["min_a_dcf"] == [f"{metrics.min_a_dcf(*classes, metrics.ASVSPOOF_COSTS):.4f}"]
    named.loc[3, "cm-score"] += 1
    named[scores].to_csv(folder / "t2.tsv", sep="\t", index=False)
    assert main(["evaluate", "--scores", "t2.tsv", "--key", "t2.key"]) == 2
    assert "ids have a different score" in capsys.readouterr().err


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_results_of_every_file_get_a_folder_of_their_own(folder: Path, trials: pd.DataFrame, capsys) -> None:
    names = ("aasist.lr1e-4.txt", "aasist.lr1e-6.txt", ".scores.txt", "team's scores (2).csv", "scores.txt.gz", "s p a c e")
    for number, name in enumerate(names):
        table = trials.assign(score=trials["score"] * (1 + number))
        table[["utt_id", "score"]].to_csv(folder / name, index=False)
        assert main(["evaluate", "--scores", name, "--key", "key.txt"]) == 0
    made = sorted(path.name for path in folder.iterdir() if path.is_dir())
    stems = ("aasist.lr1e-4", "aasist.lr1e-6", "s p a c e", "scores", "team's scores (2)")
    assert made == sorted([*(f"{stem}_evaluation" for stem in stems), "scores_evaluation-2"])
    for name in names:
        held = [json.loads((folder / place / "evaluation.json").read_text())["sources"]["scores"]["path"] for place in made]
        assert held.count(name) == 1


def test_the_same_inputs_go_to_their_folder_again_and_others_to_another(folder: Path, trials: pd.DataFrame, capsys) -> None:
    def places() -> list[str]:
        return sorted(path.name for path in folder.glob("s_evaluation*"))

    for _ in range(2):
        assert main(["evaluate", "--scores", "s.txt", "--key", "key.txt"]) == 0
    assert places() == ["s_evaluation"]
    first = (folder / "s_evaluation" / "evaluation.json").read_bytes()
    put(folder / "key2.txt", trials.assign(none="-"), "speaker", "utt_id", "none", "attack", "label")
    for more in (["--key", "key2.txt"], ["--key", "key.txt", "--only", "attack=A07"], ["--key", "key.txt", "--threshold", "0"]):
        assert main(["evaluate", "--scores", "s.txt", *more]) == 0
    put(folder / "s.txt", trials.assign(score=-trials["score"]), "utt_id", "score")
    assert main(["evaluate", "--scores", "s.txt", "--key", "key.txt"]) == 0
    assert places() == ["s_evaluation", *(f"s_evaluation-{number}" for number in (2, 3, 4, 5))]
    assert (folder / "s_evaluation" / "evaluation.json").read_bytes() == first


def test_nothing_is_written_into_a_run(folder: Path, capsys) -> None:
    (folder / "run").mkdir()
    manifest = {"schema": 1, "created": "", "updated": "", "notebooks": {}, "artefacts": {}, "exhibits": {}, "name": "demo"}
    (folder / "run" / "manifest.json").write_text(json.dumps(manifest))
    assert main(["evaluate", "--scores", "s.txt", "--key", "key.txt", "--out", "run"]) == 2
    assert "holds a run: it is not overwritten; name another folder with --out" in capsys.readouterr().err
    assert [path.name for path in (folder / "run").iterdir() if not path.name.startswith(".")] == ["manifest.json"]


# ---- subsets, thresholds, comparisons --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "attacks", "speakers"),
    [
        (["--only", "attack=A07,A08"], {"A07", "A08"}, 6),
        (["--leave-out", "attack=A07,A08"], {"A09", "A10"}, 6),
        (["--only", "speaker=S0,S1,S2", "--leave-out", "attack=A10"], {"A07", "A08", "A09"}, 3),
    ],
)
def test_a_part_is_evaluated_on_purpose(options, attacks, speakers, folder: Path, trials: pd.DataFrame, capsys) -> None:
    part = trials[trials["attack"].isin(attacks | {"-"})]
    if speakers == 3:
        part = part[part["speaker"].isin(["S0", "S1", "S2"])]
    rows = evaluated(capsys, "--scores", "s.txt", "--key", "key.txt", *options)
    assert rows["eer"][0] == f"{eer_of(part):.3%}" and rows["speakers"] == [str(speakers)]
    assert int(rows["spoof"][0]) == (part["label"] == "spoof").sum()


def test_a_detector_that_is_good_at_home_and_bad_abroad_is_seen_at_a_glance(folder: Path, trials: pd.DataFrame, capsys) -> None:
    """Eval scores are 3 lower than dev scores: the EER does not show it, but the error rates at the dev threshold do."""
    dev = trials.assign(score=trials["score"] + 3)
    put(folder / "dev.txt", dev, "utt_id", "score", "label")
    rows = evaluated(capsys, "--scores", "s.txt", "--key", "key.txt", "--dev-scores", "dev.txt", "--by", "attack")
    threshold = metrics.eer(*metrics.split_classes(dev["label"], dev["score"]))[1]
    bonafide, spoof = metrics.split_classes(trials["label"], trials["score"])
    expected = metrics.operating_point(bonafide, spoof, threshold)
    assert rows["eer"][0] == f"{eer_of(dev):.3%}" and expected.frr.value > 0.9 and expected.far.value < 0.02
    assert rows["frr"][-5] == f"{expected.frr.value:.3%}" and rows["far"][-5] == f"{expected.far.value:.3%}"
    assert rows["hter"][-1] == f"{expected.hter:.3%}" and "frr" in rows["attack"] and "hter" in rows["attack"]
    found = json.loads((folder / "s_evaluation" / "evaluation.json").read_text())
    assert found["operating_point"]["threshold"] == threshold and found["operating_point"]["hter"] == expected.hter
    assert {"scores", "key", "dev_scores"} == found["sources"].keys()


@pytest.mark.parametrize("label", ["spoof", "bonafide"])
def test_a_class_alone_gives_a_rate_with_its_exact_interval(label: str, folder: Path, trials: pd.DataFrame, capsys) -> None:
    part = trials[trials["label"] == label].reset_index(drop=True)
    put(folder / "part.txt", part, "utt_id", "score", "label")
    assert main(["evaluate", "--scores", "part.txt"]) == 2
    assert "an EER needs both classes" in capsys.readouterr().err
    rows = evaluated(capsys, "--scores", "part.txt", "--threshold", "0.25")
    wrong = int((part["score"] > 0.25).sum() if label == "spoof" else (part["score"] <= 0.25).sum())
    name, rate = ("far", "frr")[label == "bonafide"], metrics.exact_rate(wrong, len(part))
    assert rows[name][-5:] == [f"{rate.value:.3%}", f"{100 * rate.low:.2f}", "–", f"{100 * rate.high:.2f}", "%"]
    assert "eer" not in rows and ("detected" in rows) == (label == "spoof")
    assert json.loads((folder / "part_evaluation" / "evaluation.json").read_text())["metrics"] is None


def test_a_system_against_another(folder: Path, trials: pd.DataFrame, capsys) -> None:
    other = trials.assign(score=trials["score"] + np.random.default_rng(2).normal(0, 3, len(trials)).round(5))
    put(folder / "other.txt", other.sample(frac=1, random_state=0), "utt_id", "score")
    rows = evaluated(capsys, "--scores", "s.txt", "--key", "key.txt", "--against", "other.txt")
    assert rows["paired"][0] == "bootstrap" and rows["s"][0] == f"{eer_of(trials):.3%}"
    assert rows["other"][0] == f"{eer_of(other):.3%}" and rows["difference"][0] == f"{eer_of(trials) - eer_of(other):+.3%}"
    assert float(rows["p"][0]) < 0.05
    found = json.loads((folder / "s_evaluation" / "evaluation.json").read_text())
    assert found["against"]["eer_difference"]["value"] < 0 and found["sources"]["against"]["path"] == "other.txt"
    put(folder / "other.txt", other.iloc[1:], "utt_id", "score")
    assert main(["evaluate", "--scores", "s.txt", "--key", "key.txt", "--against", "other.txt"]) == 2
    assert "1 of 120 ids of key.txt are not in other.txt: E000" in capsys.readouterr().err


def test_groups_that_a_key_tells_are_broken_down_with_intervals(folder: Path, trials: pd.DataFrame, capsys) -> None:
    table = trials.assign(
        gender=np.array(["F", "M"])[np.arange(len(trials)) // 3 % 2], seconds=np.arange(len(trials)) % 6 + 0.5
    )
    table.to_csv(folder / "key.csv", index=False)
    for column, names in (("gender", ["F", "M"]), ("duration", ["<", ">", "2–4"])):
        rows = evaluated(capsys, "--scores", "s.txt", "--key", "key.csv", "--by", column)
        assert all(name in rows for name in names), rows
    women = table[table["gender"] == "F"]
    rows = evaluated(capsys, "--scores", "s.txt", "--key", "key.csv", "--by", "gender")
    assert f"{eer_of(women):.2%}" in rows["F"] and "–" in rows["F"]


def test_no_error_seen_has_an_upper_end(folder: Path, trials: pd.DataFrame, capsys) -> None:
    perfect = trials.assign(score=np.where(trials["label"] == "bonafide", 5.0, -5.0) + trials["score"] / 100)
    put(folder / "perfect.txt", perfect, "utt_id", "score")
    rows = evaluated(capsys, "--scores", "perfect.txt", "--key", "key.txt")
    assert rows["eer"][0] == "0.000%" and rows["eer"][1] == "0.00"
    exact = 100 * metrics.exact_rate(0, BONAFIDE).high
    assert float(rows["eer"][3]) == pytest.approx(exact, rel=0.03) and float(rows["min_dcf"][3]) > 0.05
    rows = evaluated(capsys, "--scores", "perfect.txt", "--key", "key.txt", "--bootstrap", "speaker")
    assert float(rows["eer"][3]) > exact / 2
