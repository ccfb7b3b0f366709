"""benchmarks/wild.py: figures of a folder of labelled recordings."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile

from aasist_lib.scoring.recordings import LeftOut, Recording
from benchmarks import wild


def table(*rows) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["label", "source", "kind", "score", "llr"])
    return frame.assign(decision=np.where(frame["llr"].isna(), "undecided: x", np.where(frame["llr"] > 0, "bonafide", "spoof")))


SCORED = table(
    ("bonafide", "a", "human", 2.0, 5.0),
    ("bonafide", "a", "human", 1.0, 0.5),
    ("bonafide", "b", "human", -1.0, -5.0),
    ("bonafide", "b", "human", 3.0, np.nan),
    ("spoof", "a", "tts", 1.5, 4.0),
    ("spoof", "a", "vocoder", -2.0, -4.0),
    ("spoof", "c", "tts", -3.0, -0.1),
    ("spoof", "b", "tts", -2.0, -6.0),
)


def test_the_figures_of_a_table_counted_by_hand():
    found = wild.summary(SCORED)
    assert found["eer"] == pytest.approx(0.25)
    assert found["auc"] == pytest.approx(14 / 16)
    assert found["undecided"] == pytest.approx(1 / 8)
    # Decided: 2 of 3 bona fide kept, 3 of 4 spoofed found.
    assert (found["bonafide_kept"], found["spoof_found"]) == pytest.approx((2 / 3, 3 / 4))
    assert found["hter"] == pytest.approx((1 / 3 + 1 / 4) / 2)
    # Confident: |llr| > log 19 = 2.94: 5, -5, 4, -4, -6, of which -5 and 4 are wrong.
    assert found["wrong_among_confident"] == pytest.approx(2 / 5)
    person, spoof = np.array([5, 0.5, -5]), np.array([4, -4, -0.1, -6])
    bits = (np.log2(1 + np.exp(-person)).mean() + np.log2(1 + np.exp(spoof)).mean()) / 2
    assert found["cllr"] == pytest.approx(bits)


def test_nobody_confident_is_nobody_wrong():
    assert wild.summary(SCORED.assign(llr=SCORED["llr"] / 100))["wrong_among_confident"] == 0


def test_pairs_are_of_one_source():
    kinds = wild.by_kind(SCORED).set_index("kind")
    assert kinds.loc["tts", ["clips", "pairs"]].tolist() == [3, 4]
    assert kinds.loc["tts", "right"] == pytest.approx(3 / 4)  # 2.0 > 1.5 > 1.0 in a; both of b above -2.0
    assert kinds.loc["vocoder", "right"] == 1


def test_sources_without_both_classes_have_no_row():
    sources = wild.by_source(SCORED).set_index("source")
    assert list(sources.index) == ["a", "b"]
    assert sources.loc["a", "auc"] == pytest.approx(3 / 4)


def test_facts_tell_a_loud_class_from_a_quiet_one(tmp_path):
    rng, rows = np.random.default_rng(0), []
    for number in range(8):
        loud = number % 2
        soundfile.write(tmp_path / f"{number}.wav", (0.1 + 0.2 * loud) * rng.standard_normal(16_000).clip(-3, 3), 16_000)
        rows.append({"path": f"{number}.wav", "label": ("bonafide", "spoof")[loud]})
    found = wild.facts(pd.DataFrame(rows), tmp_path)
    assert found["level"] == 0
    assert all(0 <= rate <= 0.5 for rate in found.values())


def manifest(folder, text):
    (folder / "manifest.csv").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\nx.wav,spoof\n", "lacks the columns kind, source"),
        ("path,label,source,kind\nx.wav,spoof,a,tts\ny.wav,fake,a,tts\n", "line 3: label 'fake'"),
        ("path,label,source,kind\nx.wav,spoof,a,tts\n", "only spoof clips"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path, text, said):
    with pytest.raises(SystemExit, match=said):
        wild.read_manifest(manifest(tmp_path, text))


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"manifest\.csv: not found"):
        wild.read_manifest(tmp_path)


def test_the_command_scores_every_clip_and_reports_those_it_cannot(tmp_path, monkeypatch, capsys):
    rows = [f"{name}.wav,{label},{source},{kind}" for name, label, source, kind in (
        ("p1", "bonafide", "a", "human"), ("p2", "bonafide", "a", "human"), ("f1", "spoof", "a", "tts"),
        ("f2", "spoof", "a", "vc"), ("gone", "spoof", "a", "vc"),
    )]  # fmt: skip
    manifest(tmp_path, "path,label,source,kind\n" + "\n".join(rows) + "\n")
    scores = {"p1": 3.0, "p2": 2.0, "f1": -3.0, "f2": 2.5}

    def score_file(detector, file):
        if file.stem not in scores:
            return [LeftOut(str(file), "no such file")]
        score = scores[file.stem]
        decision = "bonafide" if score > 0 else "spoof"
        return [Recording(str(file), "mono", 1.0, score, decision, 2 * score, False, 0.5, pd.DataFrame(), np.zeros(1), ())]

    monkeypatch.setattr(wild, "score_file", score_file)
    monkeypatch.setattr(wild.Detector, "load", lambda path: SimpleNamespace())
    monkeypatch.setattr(sys, "argv", ["wild.py", str(tmp_path), "--keep", str(tmp_path / "kept.csv")])
    wild.main()
    said = capsys.readouterr()
    assert "gone.wav: no such file" in said.err
    found = json.loads(said.out.splitlines()[-1])
    assert found["clips"] == 4 and found["all"]["eer"] == pytest.approx(0.5)
    assert found["all"]["spoof_found"] == 0.5
    assert pd.read_csv(tmp_path / "kept.csv")["score"].tolist() == [3.0, 2.0, -3.0, 2.5]
    assert "| vc | 1 |" in said.out and "| a | 2 | 2 |" in said.out
