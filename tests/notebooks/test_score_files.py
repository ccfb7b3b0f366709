"""Notebook 05 on an external score file, without training or an existing run folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aasist_lib.metrics import eer
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.workbook.kernel import NotebookError, execute

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("AASIST_REFERENCE", ROOT.parent / "shared" / "reference")) / "asvspoof2019_la"


def run_chapter(folder: Path, **values: str) -> RunFolder:
    """Run notebook 05 headless with these parameters; return its run folder."""
    values |= {"PROFILE": "tiny", "SET": f"evaluation.replicates=20 run_dir={folder / 'run'}"}
    execute(ROOT / "notebooks" / "05_eer_analysis.ipynb", folder / "out.ipynb", values, "05", ROOT)
    return RunFolder(folder / "run")


@pytest.fixture
def trials() -> pd.DataFrame:
    """600 trials of two attacks through two codecs, with scores."""
    rng = np.random.default_rng(0)
    label = np.repeat(["bonafide", "spoof"], [200, 400])
    attack = np.where(label == "bonafide", "-", np.array(["A07", "A08"])[np.arange(600) % 2])
    codec = np.array(["none", "mp3"])[np.arange(600) // 2 % 2]
    table = pd.DataFrame({"utt_id": [f"U{n}" for n in range(600)], "label": label, "attack": attack, "codec": codec})
    return table.assign(score=rng.normal(np.where(label == "bonafide", 2, -1), 1))


def test_what_one_system_allows_is_drawn(tmp_path: Path, trials: pd.DataFrame) -> None:
    trials.sample(frac=1, random_state=0)[["utt_id", "score"]].to_csv(tmp_path / "mine.txt", sep=" ", header=False, index=False)
    trials.drop(columns="score").to_csv(tmp_path / "key.csv", index=False)
    run = run_chapter(tmp_path, SCORES=str(tmp_path / "mine.txt"), KEY=str(tmp_path / "key.csv"))
    (row,) = run.read_json("metrics/results.json")
    assert (row["system"], row["attacks"], row["bonafide"], row["spoof"]) == ("mine", "all", 200, 400)
    is_bonafide = trials["label"] == "bonafide"
    assert row["EER"] == pytest.approx(eer(trials["score"][is_bonafide], trials["score"][~is_bonafide])[0], abs=1e-12)
    drawn = {file.stem for file in run.path("figures", "x").parent.glob("*.png")}
    assert drawn == {"scores", "det", "costs", "attacks", "cells"}
    assert run.manifest["name"] == "mine" and run.manifest["title"] == "Scores of mine.txt"
    assert run.manifest["evaluation"]["scores"].startswith(f"{tmp_path / 'mine.txt'}, sha256 ")
    with pytest.raises(NotebookError, match="scores .*mine.txt"):
        run_chapter(tmp_path, SCORES=str(tmp_path / "key.csv"))


def test_a_score_file_without_its_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("U1 0.5\nU2 -0.5\n")
    with pytest.raises(NotebookError, match="notebook 05 KEY"):
        run_chapter(tmp_path, SCORES=str(tmp_path / "mine.txt"))


@pytest.mark.skipif(not REAL.is_dir(), reason="no real score files: set AASIST_REFERENCE")
def test_a_published_system_is_drawn_again(tmp_path: Path) -> None:
    files = {"SCORES": "cm_scores_rawgat_st_mul.txt.gz", "KEY": "cm_protocol_eval.txt.gz", "ASV": "asv_scores_eval.txt.gz"}
    run = run_chapter(tmp_path, **{name: str(REAL / file) for name, file in files.items()})
    (row,) = run.read_json("metrics/results.json")
    published = pd.read_csv(ROOT / "docs" / "published.csv").set_index("system").loc["RawGAT-ST (mul)"]
    assert round(100 * row["EER"], 2) == published["EER %"]
    tandem = {form["form"]: form["min t-DCF"] for form in run.read_json("metrics/tandem.json")}
    assert round(tandem["2019"], 4) == published["min t-DCF"]
    assert round(tandem["2021"], 6) == 0.094168
