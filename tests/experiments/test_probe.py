import numpy as np
import pytest

from aasist_lib.corpora import load_trials
from aasist_lib.datasets.feature_bank import build_bank
from aasist_lib.experiments.probe import pooled, run_probe
from aasist_lib.metrics import eer, split_classes
from aasist_lib.models.encoder import SpeechEncoder
from tests.training.test_trainer import changed


def test_pooled_features_are_mean_and_deviation_of_every_layer(tiny_profile):
    encoder = SpeechEncoder(tiny_profile.model.frontend)
    trials = load_trials(tiny_profile.data)
    bank = build_bank(tiny_profile, encoder, trials[trials["split"] == "dev"].reset_index(drop=True), train=False)
    features = pooled(bank, 0)
    assert features.shape == (12, 4 * 2 * 32)
    states = bank[5, 0].astype(np.float64)
    np.testing.assert_allclose(features[5].reshape(4, 64)[2, :32], states[2].mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features[5].reshape(4, 64)[2, 32:], states[2].std(axis=0), rtol=1e-4, atol=1e-5)


def test_the_probe_learns_and_scores_bona_fide_higher(tiny_profile):
    tables = run_probe(tiny_profile, SpeechEncoder(tiny_profile.model.frontend))
    assert set(tables) == {"dev", "eval"} and list(tables["dev"].columns[:2]) == ["utt_id", "score"]
    assert (tables["eval"]["split"] == "eval").all()
    rate, _ = eer(*split_classes(tables["eval"]["label"], tables["eval"]["score"]))
    assert rate < 0.25


def test_without_a_bank_the_probe_says_the_same(tiny_profile, monkeypatch):
    encoder = SpeechEncoder(tiny_profile.model.frontend)
    kept = run_probe(tiny_profile, encoder)["eval"]
    monkeypatch.setattr("aasist_lib.datasets.source.build_bank", lambda *_, **__: pytest.fail("a bank was built"))
    fresh = run_probe(changed(tiny_profile, training={"feature_cache": False}), encoder)["eval"]
    np.testing.assert_allclose(fresh["score"], kept["score"], atol=2e-2)
