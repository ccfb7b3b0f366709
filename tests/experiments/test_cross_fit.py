"""Calibration by detectors that have not met the family of attacks that they score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aasist_lib.conventions import family
from aasist_lib.corpora import TrialTableError
from aasist_lib.experiments.cross_fit import FOLDER, cross_fit, fit, shared_families
from aasist_lib.metrics import calibrate_fit, eer
from aasist_lib.models.checkpoints import (
    CheckpointError,
    load_model,
    load_typicality,
    read_facts,
    save_checkpoint,
    trained_weights,
)
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring.detector import Detector
from aasist_lib.training import train
from tests.conftest import make_corpus, profile_for


@pytest.fixture(scope="module")
def profile(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory):
    """The toy corpus with spoofs of two families, one of them in two forms."""
    folder = tmp_path_factory.mktemp("families")
    corpus = make_corpus(folder)
    table = pd.read_parquet(corpus / "trials.parquet")
    spoof = table["label"] == "spoof"
    table.loc[spoof, "attack"] = np.resize(["tone-a", "tone-b", "buzz"], spoof.sum())
    table.to_parquet(corpus / "trials.parquet", index=False)
    return profile_for(tiny_encoder, corpus, folder)


def test_families_are_those_of_train_and_dev_and_bona_fide_has_none(profile):
    table = pd.read_parquet(profile.data.root / "trials.parquet")
    assert shared_families(table) == ["buzz", "tone"]
    assert set(family(table.loc[table["label"] == "bonafide", "attack"])) == {"-"}
    unknown = table.assign(attack=table["attack"].where(table["attack"] != "buzz", "-"))
    with pytest.raises(TrialTableError, match=r"two families.*\['tone'\]"):
        shared_families(unknown)
    with pytest.raises(TrialTableError, match=r"two families.*\['tone'\]"):
        shared_families(table[table["attack"] != "buzz"])


def test_every_family_is_scored_by_a_detector_without_it(profile):
    run = RunFolder.open(profile)
    with pytest.raises(CheckpointError, match="train first"):
        cross_fit(profile, run)
    checkpoint = train(profile, run).checkpoint
    before = read_facts(checkpoint)
    found = cross_fit(profile, run, lambda text: None)
    assert found["left_out"].tolist() == ["buzz", "tone"] and found["clips"].tolist() == [2, 4]
    for name in ("buzz", "tone"):
        facts = read_facts(run.path(FOLDER, name, "checkpoints", "best"))
        assert name not in {*facts["trained_on"]["attacks"], *map(str, family(pd.Series(facts["trained_on"]["attacks"])))}
        assert facts["model"]["members"] == 1
    after = read_facts(checkpoint)
    hardest = found.loc[found["scale"].idxmin(), "left_out"]
    assert after["calibration"]["left_out"] == hardest and after["calibration_known"] == before["calibration"]
    assert {key: after[key] for key in before if key != "calibration"} == {
        k: v for k, v in before.items() if k != "calibration"
    }
    assert load_typicality(checkpoint) is not None, "kept"
    assert (
        f"of family {hardest}, the hardest of 2, scored by a detector trained without it" in Detector.load(checkpoint).caution()
    )
    again = cross_fit(profile, run, lambda text: None)
    pd.testing.assert_frame_equal(again, found)
    assert read_facts(checkpoint) == after, "fitted on top of the first fit"


def test_the_least_separable_family_decides_on_the_detector_s_scale():
    rng = np.random.default_rng(0)
    ratios = {name: (rng.normal(2, 1, 200), rng.normal(spoof, 1, 90)) for name, spoof in (("easy", -2), ("hard", 1.5))}
    known = {"scale": 3.0, "offset": -1.0, "bound": 9.0, "separable": False, "bonafide": 200, "spoof": 180}
    facts, table = fit({"calibration": known, "dev_threshold": 0.4}, ratios)
    alone, fitted = calibrate_fit(*ratios["hard"]), facts["calibration"]
    assert table["left_out"].tolist() == ["easy", "hard"] and table["clips"].tolist() == [90, 90]
    assert table["eer"].tolist() == [eer(*ratios[name])[0] for name in ("easy", "hard")]
    assert fitted["left_out"] == "hard" and fitted["bound"] == pytest.approx(np.log(90)) and fitted["families"] == 2
    assert fitted["scale"] == pytest.approx(3 * alone.scale), "on the scale of the detector's own calibration"
    assert fitted["scale"] * 0.4 + fitted["offset"] == pytest.approx(0), "no evidence at the threshold"
    again = fit({"calibration": fitted, "calibration_known": known, "dev_threshold": 0.4}, ratios)[0]
    assert again["calibration"] == fitted


def test_a_family_that_is_ranked_the_wrong_way_leaves_no_evidence():
    rng = np.random.default_rng(0)
    ratios = {name: (rng.normal(0, 1, 200), rng.normal(spoof, 1, 90)) for name, spoof in (("easy", -4), ("turned", 2))}
    known = {"scale": 3.0, "offset": -1.0, "bound": 9.0, "separable": False, "bonafide": 200, "spoof": 180}
    facts, table = fit({"calibration": known, "dev_threshold": 0.4}, ratios)
    assert table["scale"].min() < 0 and facts["calibration"]["left_out"] == "turned"
    assert facts["calibration"]["scale"] == 0 and abs(facts["calibration"]["offset"]) == 0


def test_what_is_not_trained_to_the_end_is_not_calibrated_and_left_out_families_stay_so(profile, tmp_path):
    training = profile.training.model_copy(update={"leave_out": ["tone-b"], "epochs": 1})
    part = profile.model_copy(update={"run_dir": tmp_path / "run", "training": training})
    run = RunFolder.open(part)
    checkpoint = train(part, run).checkpoint
    model, facts = load_model(checkpoint)
    cross_fit(part, run, lambda text: None)
    assert read_facts(run.path(FOLDER, "buzz", "checkpoints", "best"))["trained_on"]["attacks"] == ["tone-a"]
    whole = {key: value for key, value in facts.items() if key != "typicality"}
    save_checkpoint(checkpoint, trained_weights(model), whole)
    with pytest.raises(CheckpointError, match="not finished; resume it"):
        cross_fit(part, run)
    save_checkpoint(checkpoint, trained_weights(model), facts | {"calibration": None})
    with pytest.raises(CheckpointError, match="nothing to calibrate"):
        cross_fit(part, run)
