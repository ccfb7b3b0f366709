"""One system evaluated: what is measured, printed and written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aasist_lib import metrics
from aasist_lib.asv import AsvScores
from aasist_lib.evaluation import EvaluationError, evaluate, format_evaluation, output_folder, write_evaluation
from aasist_lib.runs import RunFolder, sha256

SETTINGS = {"replicates": 40, "seed": 3}


@pytest.fixture
def table() -> pd.DataFrame:
    """400 trials, two attacks, two codecs, five speakers."""
    rng, size = np.random.default_rng(0), 400
    label = np.where(np.arange(size) % 4 == 0, "bonafide", "spoof")
    attack = np.where(label == "bonafide", "-", np.where(np.arange(size) % 2, "A01", "A02"))
    return pd.DataFrame(
        {
            "utt_id": [f"u{i}" for i in range(size)],
            "score": rng.normal(np.where(label == "bonafide", 1.5, np.where(attack == "A01", -1.0, 0.5)), 1),
            "label": label,
            "speaker": rng.choice(list("abcde"), size),
            "attack": attack,
            "codec": rng.choice(["alaw", "none"], size),
        }
    )


@pytest.fixture
def asv() -> AsvScores:
    rng = np.random.default_rng(1)
    return AsvScores(rng.normal(3, 1, 200), rng.normal(-1, 1, 300), rng.normal(1.5, 1, 300))


def test_everything_is_the_metrics(table: pd.DataFrame, asv: AsvScores) -> None:
    found = evaluate(table, by=["attack"], asv=asv, **SETTINGS)
    classes = metrics.split_classes(table["label"], table["score"])
    rates = metrics.asv_error_rates(*asv)
    assert found.trials == {"bonafide": 100, "spoof": 300, "speakers": 5}
    assert found.summary == metrics.summarise(*classes)
    assert found.intervals == metrics.bootstrap(*classes, **SETTINGS)
    assert found.asv == rates
    assert found.min_tdcf == {form: metrics.min_tdcf(*classes, rates, form) for form in ("2019", "2021")}
    pd.testing.assert_frame_equal(found.breakdown, metrics.breakdown(table, ["attack"], **SETTINGS))
    assert found.warnings == ()


def test_without_asv_and_columns_there_is_nothing_of_them(table: pd.DataFrame) -> None:
    found = evaluate(table.assign(speaker="-"), **SETTINGS)
    assert (found.asv, found.min_tdcf, found.breakdown, found.by) == (None, {}, None, ())
    assert found.trials == {"bonafide": 100, "spoof": 300}
    text = format_evaluation(found)
    assert "tdcf" not in text and "attack" not in text and "40 draws of trials" in text


def test_drawing_speakers(table: pd.DataFrame) -> None:
    found = evaluate(table, by=["codec"], groups="speaker", **SETTINGS)
    assert (found.intervals.unit, found.intervals.units) == ("group", 5)
    expected = metrics.breakdown(table, ["codec"], groups="speaker", **SETTINGS)
    pd.testing.assert_frame_equal(found.breakdown, expected)
    pooled = expected[expected["row"] == "pooled"].iloc[0]
    assert (pooled["eer_low"], pooled["eer_high"]) == (found.intervals.eer.low, found.intervals.eer.high)
    assert "40 draws of 5 speakers" in format_evaluation(found)


def test_a_wrong_sign_and_ties_are_warnings(table: pd.DataFrame) -> None:
    assert "SIGN" in evaluate(table.assign(score=-table["score"]), **SETTINGS).warnings[0]
    (ties,) = evaluate(table.assign(score=table["score"].round(0)), **SETTINGS).warnings
    assert "at the EER threshold" in ties and "organisers" in ties


def test_what_the_key_does_not_tell_cannot_be_asked(table: pd.DataFrame) -> None:
    with pytest.raises(EvaluationError, match="does not tell the codec of any trial"):
        evaluate(table.assign(codec="-"), by=["attack", "codec"])
    table.loc[:6, "speaker"] = "-"
    with pytest.raises(EvaluationError, match="the speaker of 7 of 400 trials: draw trials"):
        evaluate(table, groups="speaker")
    with pytest.raises(EvaluationError, match="no column room to draw by"):
        evaluate(table, groups="room")
    with pytest.raises(metrics.MetricError, match="no column device"):
        evaluate(table, by=["device"], replicates=1)
    with pytest.raises(metrics.MetricError, match="no bona fide scores"):
        evaluate(table[table["label"] == "spoof"])


def test_the_printed_table(table: pd.DataFrame, asv: AsvScores) -> None:
    found = evaluate(table, by=["attack"], asv=asv, **SETTINGS)
    lines = format_evaluation(found).splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:] if line}
    assert rows["bonafide"] == ["100"] and rows["speakers"] == ["5"]
    assert rows["eer"][0] == f"{found.summary['eer']:.3%}"
    assert rows["eer"][1:] == f"{100 * found.intervals.eer.low:.2f} – {100 * found.intervals.eer.high:.2f} %".split()
    assert rows["min_dcf"][0] == f"{found.summary['min_dcf']:.4f}"
    assert rows["min_tdcf_2021"] == [f"{found.min_tdcf['2021']:.4f}"]
    assert rows["A01"][:3] == ["cell", "100", "200"]
    assert len(lines) == 12 + 2 + 4  # metrics; gap and heading; two attacks, pooled, worst


@pytest.mark.parametrize("by", [[], ["attack"], ["attack", "codec"], ["attack", "codec", "speaker"]])
def test_what_is_written(tmp_path: Path, table: pd.DataFrame, asv: AsvScores, by: list[str]) -> None:
    source = tmp_path / "scores.txt"
    source.write_text("a 1\n")
    found = evaluate(table, by=by, asv=asv, **SETTINGS)
    written = write_evaluation(found, table, tmp_path / "out", {"scores": source})
    names = ["scores", "det", *(["breakdown"] if by else [])]
    figures = {tmp_path / "out" / "figures" / f"{name}.{kind}" for name in names for kind in ("png", "svg", "pdf")}
    assert set((tmp_path / "out" / "figures").iterdir()) == figures
    assert written[0] == tmp_path / "out" / "evaluation.json" and set(written[1:]) <= figures
    facts = json.loads(written[0].read_text())
    assert facts["metrics"] == found.summary and facts["min_tdcf"] == found.min_tdcf
    assert facts["sources"] == {"scores": {"path": str(source), "sha256": sha256(source)}}
    assert facts["intervals"]["eer"]["low"] == found.intervals.eer.low
    assert len(facts["breakdown"]) == (len(found.breakdown) if by else 0)
    assert "evaluation.json" in RunFolder(tmp_path / "out").manifest["artefacts"]


def test_a_cell_without_bona_fide_is_null(tmp_path: Path, table: pd.DataFrame) -> None:
    table.loc[table["label"] == "bonafide", "codec"] = "none"
    found = evaluate(table, by=["codec"], **SETTINGS)
    facts = json.loads(write_evaluation(found, table, tmp_path)[0].read_text())
    assert facts["breakdown"][0]["codec"] == "alaw" and facts["breakdown"][0]["eer"] is None


def test_the_folder_of_the_results(tmp_path: Path) -> None:
    assert output_folder(tmp_path / "scores.txt.gz", None) == tmp_path / "scores_evaluation"
    assert output_folder(tmp_path / "scores.txt", tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(EvaluationError, match="cannot be made .*--out"):
        output_folder(tmp_path / "scores.txt", tmp_path / "file")


def test_a_scorer_that_gives_constants_is_an_error():
    table = pd.DataFrame({"score": [0.5] * 4, "label": ["bonafide", "spoof"] * 2})
    with pytest.raises(EvaluationError, match=r"all 4 scores are 0\.5: whatever made them tells nothing apart"):
        evaluate(table)
