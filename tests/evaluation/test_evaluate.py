"""Evaluation of one system: results, printed text and files."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aasist_lib import metrics
from aasist_lib.evaluation.asv import AsvScores
from aasist_lib.evaluation.evaluate import (
    EvaluationError,
    compare,
    evaluate,
    format_comparison,
    format_evaluation,
    write_evaluation,
)
from aasist_lib.runtime.files import RunError, sha256
from aasist_lib.runtime.run_folder import RunFolder, evaluation_folder

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
    assert "EER threshold" in ties and "organisers" in ties


def test_what_the_key_does_not_tell_cannot_be_asked(table: pd.DataFrame) -> None:
    with pytest.raises(EvaluationError, match="codec"):
        evaluate(table.assign(codec="-"), by=["attack", "codec"])
    table.loc[:6, "speaker"] = "-"
    with pytest.raises(EvaluationError, match="speaker .*7 of 400"):
        evaluate(table, groups="speaker")
    with pytest.raises(EvaluationError, match="room"):
        evaluate(table, groups="room")
    with pytest.raises(metrics.MetricError, match="device"):
        evaluate(table, by=["device"], replicates=1)


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
    assert len(lines) == 12 + 2 + 4  # metrics; blank line and heading; two attacks, pooled, worst


@pytest.mark.parametrize("by", [[], ["attack"], ["attack", "codec"], ["attack", "codec", "speaker"]])
def test_what_is_written(tmp_path: Path, table: pd.DataFrame, asv: AsvScores, by: list[str]) -> None:
    source = tmp_path / "scores.txt"
    source.write_text("a 1\n")
    found = evaluate(table, by=by, asv=asv, **SETTINGS)
    written = write_evaluation(found, table, RunFolder.of_evaluation(tmp_path / "out", {}), {"scores": source})
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
    facts = json.loads(write_evaluation(found, table, RunFolder(tmp_path))[0].read_text())
    assert facts["breakdown"][0]["codec"] == "alaw" and facts["breakdown"][0]["eer"] is None


def test_the_folder_of_the_results(tmp_path: Path) -> None:
    """The same inputs go to the same folder, other inputs to the next one; nothing is overwritten."""
    first, inputs, others = tmp_path / "scores", {"scores": "1f"}, {"scores": "2e"}
    assert evaluation_folder(first, inputs) == first
    RunFolder.of_evaluation(first, inputs)
    assert evaluation_folder(first, inputs) == first
    assert evaluation_folder(first, others) == tmp_path / "scores-2"
    RunFolder.of_evaluation(tmp_path / "scores-2", others)
    assert evaluation_folder(first, {"scores": "3d"}) == tmp_path / "scores-3"
    assert evaluation_folder(first, others) == tmp_path / "scores-2"
    with pytest.raises(RunError, match="scores 1f.*--out"):
        RunFolder.of_evaluation(first, others)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    assert evaluation_folder(tmp_path / "mine", inputs) == tmp_path / "mine-2"


def test_a_class_alone_has_rates_at_a_threshold(table: pd.DataFrame) -> None:
    """For a corpus of one class: the detection or false alarm rate instead of an EER."""
    for label, rate in (("spoof", "far"), ("bonafide", "frr")):
        part = table[table["label"] == label].reset_index(drop=True)
        with pytest.raises(EvaluationError, match=f"{len(part)} trials .*{label}.*--threshold T.*--dev-scores FILE"):
            evaluate(part)
        found = evaluate(part, threshold=0.25)
        wrong = (part["score"] >= 0.25) if label == "spoof" else (part["score"] < 0.25)
        assert getattr(found.operating, rate) == metrics.exact_rate(int(wrong.sum()), len(part))
        assert (found.summary, found.intervals) == (None, None)
        assert f"{wrong.mean():.3%}" in format_evaluation(found)
        assert ("detected" in format_evaluation(found)) == (label == "spoof")
        with pytest.raises(EvaluationError, match="--by .*--bootstrap"):
            evaluate(part, threshold=0.25, by=["attack"])


def test_rates_at_a_threshold_beside_the_eer(tmp_path: Path, table: pd.DataFrame) -> None:
    found = evaluate(table, by=["attack"], threshold=0.25, **SETTINGS)
    at = found.operating
    frr, far = (table.loc[table["label"] == label, "score"] < 0.25 for label in ("bonafide", "spoof"))
    assert at is not None and (at.frr.value, at.far.value) == (frr.mean(), (~far).mean())
    assert at.hter == pytest.approx((at.frr.value + at.far.value) / 2)
    assert (
        found.breakdown.set_index("attack").loc["A01", "far"] == (table.loc[table["attack"] == "A01", "score"] >= 0.25).mean()
    )
    text = format_evaluation(found)
    assert all(f"{rate:.3%}" in text for rate in (at.frr.value, at.far.value, at.hter))
    facts = json.loads(write_evaluation(found, table, RunFolder(tmp_path))[0].read_text())
    assert facts["operating_point"]["threshold"] == 0.25 and facts["operating_point"]["hter"] == at.hter


def test_two_systems_on_the_same_trials(tmp_path: Path, table: pd.DataFrame) -> None:
    worse = table.assign(score=table["score"] + np.random.default_rng(4).normal(0, 3, len(table)))
    found = compare(table, worse, **SETTINGS)
    assert found.eer_difference.value == found.eer_a.value - found.eer_b.value < 0 and found.eer_p_value < 0.05
    text = format_comparison(found, ("a.txt", "b.txt"))
    assert f"{found.eer_difference.value:+.3%}" in text and "a.txt" in text and "paired bootstrap over 400 trials" in text
    run = RunFolder(tmp_path)
    facts = json.loads(write_evaluation(evaluate(table, **SETTINGS), table, run, against=found)[0].read_text())
    assert facts["against"]["eer_p_value"] == found.eer_p_value
    assert compare(table, worse, "speaker", **SETTINGS).units == 5
    with pytest.raises(EvaluationError, match="trials: 2 "):
        compare(table, worse.assign(utt_id=["v0", *worse["utt_id"][1:]]))


def test_only_warnings_of_the_library_are_findings(table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings of other packages go to the terminal, not into the evaluation."""

    def warning_summary(*classes: np.ndarray) -> dict[str, float]:
        warnings.warn_explicit("internals moved", DeprecationWarning, "site-packages/numpy/core.py", 1)
        warnings.warn_explicit("values are odd", UserWarning, "site-packages/scipy/stats.py", 1)
        return metrics.summarise(*classes)

    monkeypatch.setattr("aasist_lib.evaluation.evaluate.summarise", warning_summary)
    with pytest.warns(UserWarning, match="values are odd"), pytest.warns(DeprecationWarning, match="internals"):
        found = evaluate(table.assign(score=table["score"].round(0)), **SETTINGS)
    assert len(found.warnings) == 1 and "EER threshold" in found.warnings[0]


def test_a_scorer_that_gives_constants_is_an_error():
    table = pd.DataFrame({"score": [0.5] * 4, "label": ["bonafide", "spoof"] * 2})
    with pytest.raises(EvaluationError, match=r"4 scores .*0\.5"):
        evaluate(table)
