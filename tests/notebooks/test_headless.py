"""All notebooks once, headless, on the tiny profile: their artefacts, and that a second run skips all of them."""

from __future__ import annotations

import subprocess

import numpy as np
import pandas as pd
import pytest

from aasist_lib.config import load_profile
from aasist_lib.corpora import COLUMNS
from aasist_lib.metrics import eer
from aasist_lib.runtime.files import sha256
from aasist_lib.runtime.run_folder import RunFolder
from tests.conftest import ROOT, headless_command


@pytest.fixture(scope="module")
def run(headless_run: RunFolder) -> RunFolder:
    """The run folder after one headless run."""
    return headless_run


def test_every_notebook_ran_and_kept_its_promises(run: RunFolder) -> None:
    records = run.manifest["notebooks"]
    assert sorted(records) == sorted(load_profile(ROOT / "configs" / "tiny.yaml").notebooks)
    for number, record in records.items():
        assert record["status"] == "ok", number
        assert len(record["outputs"]) > 1, f"{number} writes nothing but itself"
        assert (run.folder / record["executed"]).is_file()


def test_the_manifest_s_hashes_are_those_of_the_files(run: RunFolder) -> None:
    entries = run.manifest["artefacts"]
    assert {name: sha256(run.folder / name) for name in entries} == {n: e["sha256"] for n, e in entries.items()}
    assert {entry["notebook"] for entry in entries.values()} == set(run.manifest["notebooks"])


def test_the_scores_are_finite_and_belong_to_the_trials(run: RunFolder) -> None:
    trials = pd.read_parquet(run.folder / "trials" / "trials.parquet")
    assert set(COLUMNS) <= set(trials.columns)
    for system in ("aasist", "probe"):
        for split in ("dev", "eval"):
            scores = pd.read_parquet(run.folder / "scores" / f"{system}_{split}.parquet")
            assert set(scores["utt_id"]) == set(trials["utt_id"][trials["split"] == split])
            assert np.isfinite(scores["score"]).all() and scores["score"].nunique() > 1
            bonafide = scores["label"] == "bonafide"
            value, _ = eer(scores["score"][bonafide], scores["score"][~bonafide])
            assert 0 <= value <= 1


def test_training_left_a_checkpoint_and_its_history(run: RunFolder) -> None:
    history = pd.read_parquet(run.folder / "metrics" / "history.parquet")
    assert list(history["epoch"]) == list(range(1, len(history) + 1))
    assert history[["train_loss", "dev_loss", "dev_eer", "learning_rate"]].notna().all(axis=None)
    assert (run.folder / "checkpoints" / "best" / "model.safetensors").stat().st_size > 1000


def test_every_figure_has_three_forms_and_alt_text(run: RunFolder) -> None:
    figures = {key.partition("/")[2]: facts for key, facts in run.manifest["exhibits"].items() if key[:6] == "figure"}
    assert len(figures) >= 4
    for name, facts in figures.items():
        assert len(facts["alt"].split()) >= 4, name
        for suffix in ("png", "svg", "pdf"):
            assert (run.folder / "figures" / f"{name}.{suffix}").stat().st_size > 500, name


def test_attention_was_kept(run: RunFolder) -> None:
    files = list((run.folder / "attention").glob("*.npz"))
    assert files
    for file in files:
        with np.load(file) as maps:
            assert maps.files and all(np.isfinite(maps[name]).all() for name in maps.files)


def test_the_report_needs_no_network(run: RunFolder) -> None:
    pages = list((run.folder / "report").rglob("*.html"))
    assert len(pages) == 1 + len(run.manifest["notebooks"])
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "<script" not in text and 'src="http' not in text and 'class="formula-error"' not in text, page.name
        assert "HBox(" not in text, page.name


def test_a_second_run_skips_every_notebook(run: RunFolder) -> None:
    done = subprocess.run(headless_command(run.folder), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" skipped ") == len(run.manifest["notebooks"]), done.stdout
