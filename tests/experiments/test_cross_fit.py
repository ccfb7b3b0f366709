"""Calibration by detectors that have not met the family of attacks that they score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aasist_lib.conventions import family
from aasist_lib.corpora import TrialTableError
from aasist_lib.experiments.cross_fit import FOLDER, cross_fit, fit, shared_families
from aasist_lib.metrics import eer
from aasist_lib.models.checkpoints import CheckpointError, load_typicality, read_facts
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
    assert after["calibration"]["left_out"] == ["buzz", "tone"] and after["calibration"] != before["calibration"]
    assert {key: after[key] for key in before if key != "calibration"} == {
        k: v for k, v in before.items() if k != "calibration"
    }
    assert load_typicality(checkpoint) is not None, "kept"
    detector = Detector.load(checkpoint)
    assert detector.threshold == after["threshold"] and "had not met the attack" in detector.caution()


def test_the_fit_is_weak_where_the_left_out_families_are_not_told_apart():
    rng = np.random.default_rng(0)
    table = pd.concat(
        pd.DataFrame({"left_out": name, "label": label, "score": rng.normal(centre, 1, 200)})
        for name, spoof in (("known-like", -4), ("new", 2))
        for label, centre in (("bonafide", 2), ("spoof", spoof))
    )
    facts = fit(table)
    easy = fit(table[table["left_out"] == "known-like"])
    assert 0 < facts["calibration"]["scale"] < easy["calibration"]["scale"] / 2
    assert facts["calibration"]["bonafide"] == 200 and facts["calibration"]["spoof"] == 400
    assert facts["calibration"]["bound"] <= np.log(200)
    bonafide, spoof = (table.loc[table["label"] == label, "score"] for label in ("bonafide", "spoof"))
    assert (facts["calibration"]["eer"], facts["threshold"]) == eer(bonafide, spoof)
