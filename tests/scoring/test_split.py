"""Scoring a corpus split in blocks, so that an interruption loses at most one block."""

import numpy as np
import pandas as pd
import pytest

from aasist_lib.models import build_model
from aasist_lib.scoring import ScoringError, score_split
from aasist_lib.scoring import split as scoring
from tests.training.test_trainer import changed


@pytest.fixture
def model(tiny_profile):
    return build_model(tiny_profile.model).eval()


@pytest.mark.parametrize("cached", [True, False])
def test_blocks_give_what_one_pass_gives_and_an_interrupted_one_goes_on(tiny_profile, model, monkeypatch, cached):
    profile = changed(tiny_profile, training={"feature_cache": cached})
    whole = score_split(profile, model, "dev")
    monkeypatch.setattr(scoring, "BLOCK", 5)
    scores, starts = scoring._scores, []

    def interrupted(model, source, start, *rest):
        if len(starts) == 2:
            raise KeyboardInterrupt
        starts.append(start)
        return scores(model, source, start, *rest)

    monkeypatch.setattr(scoring, "_scores", interrupted)
    with pytest.raises(KeyboardInterrupt):
        score_split(profile, model, "dev")
    assert starts == [0, 5] and len(list(profile.folder.glob("scores/unfinished-dev-*/*.npy"))) == 2
    monkeypatch.setattr(
        scoring, "_scores", lambda model, source, start, *rest: starts.append(start) or scores(model, source, start, *rest)
    )
    found = score_split(profile, model, "dev")
    assert starts == [0, 5, 10] and not list(profile.folder.glob("scores/unfinished*"))
    pd.testing.assert_frame_equal(found.drop(columns="score"), whole.drop(columns="score"))
    np.testing.assert_allclose(found["score"], whole["score"], atol=1e-5)


def test_blocks_of_another_detector_are_not_taken(tiny_profile, model, monkeypatch):
    monkeypatch.setattr(scoring, "BLOCK", 5)
    scores, calls = scoring._scores, []

    def failing_at_the_end(model, source, start, *rest):
        calls.append(start)
        if start == 10 and len(calls) == 3:
            raise KeyboardInterrupt
        return scores(model, source, start, *rest)

    monkeypatch.setattr(scoring, "_scores", failing_at_the_end)
    with pytest.raises(KeyboardInterrupt):
        score_split(tiny_profile, model, "dev")
    list(model.backend.parameters())[-1].data.add_(1)
    score_split(tiny_profile, model, "dev")
    assert calls == [0, 5, 10, 0, 5, 10]


def test_a_split_that_is_not_there_and_a_detector_of_another_profile_are_errors(tiny_profile, model, tmp_path):
    trials = pd.read_parquet(tiny_profile.data.source / "trials.parquet")
    trials[trials["split"] != "eval"].to_parquet(tmp_path / "trials.parquet", index=False)
    with pytest.raises(ScoringError, match="data.root = .*split 'eval'"):
        score_split(changed(tiny_profile, data={"root": tmp_path}), model, "eval")
    with pytest.raises(ScoringError, match=r"model\.samples, model\.heads .*'toy'"):
        score_split(changed(tiny_profile, model={"heads": 4, "samples": 4000}), model, "dev")
