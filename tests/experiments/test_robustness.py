"""A trained detector under distortions: the same clips, the same draws, rates with intervals."""

import numpy as np
import pandas as pd
import pytest

from aasist_lib.augment import AugmentationError, build
from aasist_lib.augment.registry import TRANSFORMS
from aasist_lib.config.augmentation import AugmentationConfig, catalogue
from aasist_lib.corpora import load_trials
from aasist_lib.experiments.robustness import (
    Condition,
    balanced,
    codec_matrix,
    distort,
    distort_all,
    score_shifts,
    score_waves,
    waves_of,
)
from aasist_lib.metrics import eer, split_classes
from aasist_lib.models.checkpoints import load_model
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring import score_split
from aasist_lib.training import train


@pytest.fixture(scope="module")
def detector(tmp_path_factory, tiny_encoder, tiny_corpus):
    """A trained toy detector, its profile and dev trials."""
    from tests.conftest import profile_for

    profile = profile_for(tiny_encoder, tiny_corpus, tmp_path_factory.mktemp("run"))
    model, _ = load_model(train(profile, RunFolder.open(profile)).checkpoint)
    trials = load_trials(profile.data)
    return model.eval(), profile, trials[trials["split"] == "dev"].reset_index(drop=True)


def items(*kinds):
    return [item for item in catalogue() if item.kind in kinds]


def test_scores_of_waves_are_those_of_scoring(detector):
    model, profile, dev = detector
    expected = score_split(profile, model, "dev").set_index("utt_id").loc[dev["utt_id"], "score"]
    np.testing.assert_allclose(score_waves(model, waves_of(dev, profile.model.samples)), expected, atol=5e-3)


def test_shifts_compare_the_same_clips_before_and_after(detector):
    model, _, dev = detector
    shifts = score_shifts(model, dev, items("gain", "noise", "babble"), (0.0, 1.0))
    assert len(shifts) == 3 * 2 * 2 and set(shifts["label"]) == {"bonafide", "spoof"}
    nothing = shifts[(shifts["kind"] == "gain") & (shifts["intensity"] == 0)]
    assert (nothing["shift"].abs() < 1e-6).all() and (nothing["eer"] == nothing["eer_clean"]).all()
    noise = shifts[(shifts["kind"] == "noise") & (shifts["label"] == "spoof")].set_index("intensity")
    assert noise["spread"][1.0] > 3 * noise["spread"][0.0] > 0, "an SNR of 10 dB must move scores more than one of 40 dB"
    waves, transform = waves_of(dev, model.config.samples), build("noise", items("noise")[0].exactly(1.0), 1.0, dev["path"])
    change = score_waves(model, distort_all(waves, dev, transform)) - score_waves(model, waves)
    assert noise["shift"][1.0] == change[(dev["label"] == "spoof").to_numpy()].mean() != 0
    again = score_shifts(model, dev, items("gain", "noise", "babble"), (0.0, 1.0))
    pd.testing.assert_frame_equal(shifts, again)


def test_the_matrix_has_a_row_a_condition_with_an_interval_around_the_rate(detector):
    model, _, dev = detector
    matrix = codec_matrix(model, dev, [Condition("mp3", 16, True), Condition("amr-nb", 4.75, False)], replicates=50)
    assert list(matrix["codec"]) == ["none", "mp3", "amr-nb"] and list(matrix["trained"]) == [True, True, False]
    assert (matrix["low"] <= matrix["eer"]).all() and (matrix["eer"] <= matrix["high"]).all()
    clean = score_waves(model, waves_of(dev, model.config.samples))
    assert matrix["eer"][0] == eer(*split_classes(dev["label"], clean))[0]
    seen = []
    codec_matrix(model, dev, [Condition("mp3", 16, True)], 10, score=lambda waves: seen.append(waves) or clean)
    assert not np.array_equal(seen[0], seen[1]) and seen[0].shape == seen[1].shape


def test_a_codec_that_is_not_installed_is_an_error(detector):
    model, _, dev = detector
    with pytest.raises(AugmentationError, match="amr-wb"):
        codec_matrix(model, dev, [Condition("amr-wb", 12.65, False)], 10)


def test_balanced_takes_as_many_of_either_class_and_only_the_attacks_asked_for():
    labels = ["bonafide"] * 10 + ["spoof"] * 90
    attacks = ["-"] * 10 + ["a", "b", "c"] * 30
    trials = pd.DataFrame({"label": labels, "attack": attacks, "utt_id": range(100)})
    drawn = balanced(trials, 16, seed=1, attacks={"a", "b"})
    assert drawn["label"].value_counts().to_dict() == {"bonafide": 8, "spoof": 8}
    assert set(drawn["attack"]) <= {"-", "a", "b"} and drawn["utt_id"].is_monotonic_increasing
    assert not drawn.equals(balanced(trials, 16, seed=2, attacks={"a", "b"}))
    assert len(balanced(trials, 60, seed=1)) == 40


def test_distort_depends_on_seed_and_clip_alone():
    from aasist_lib.augment import build

    wave = np.random.default_rng(0).standard_normal(4000).astype(np.float32) * 0.1
    noise = build("noise", {"snr_db": (20, 0), "colours": ("white",)}, 1.0)
    assert np.array_equal(distort(wave, noise, "a", 1), distort(wave, noise, "a", 1))
    assert not np.array_equal(distort(wave, noise, "a", 1), distort(wave, noise, "b", 1))
    assert not np.array_equal(distort(wave, noise, "a", 1), distort(wave, noise, "a", 2))


def test_the_catalogue_holds_every_kind_a_profile_may_name_that_needs_no_folder():
    kinds = [item.kind for item in catalogue()]
    config = AugmentationConfig.model_validate({"distortions": [{"kind": kind} for kind in kinds]})
    assert len(set(kinds)) == len(kinds) == len(TRANSFORMS) - 1 and list(config.distortions) == list(catalogue())
