"""Means and differences over seeds, against what is known of the noise that went in."""

import numpy as np
import pytest

from aasist_lib import metrics
from aasist_lib.metrics import MetricError
from aasist_lib.metrics.seeds import SeedBootstrap

LABELS = np.repeat([1, 0], [400, 400])


def trainings(seed, gaps, clips=0):
    """Scores of one training a gap between the classes; `clips` seeds what the trainings share."""
    shared = np.random.default_rng(clips).normal(0, 1, LABELS.size)
    rng = np.random.default_rng(seed)
    return [gap * LABELS + shared + rng.normal(0, 0.3, LABELS.size) for gap in gaps]


def eers(scores):
    return np.array([metrics.eer(*metrics.split_classes(LABELS, each))[0] for each in scores])


def test_the_mean_and_the_difference_are_those_of_the_single_seeds():
    a, b = trainings(1, [2.0, 2.1, 1.9]), trainings(2, [1.5, 1.6, 1.7])
    found = SeedBootstrap(LABELS, {"a": a, "b": b}, replicates=50)
    assert found.eer["a"] == pytest.approx(eers(a), abs=1e-12)
    assert found.mean("b").value == pytest.approx(eers(b).mean(), abs=1e-12)
    compared = found.compare("a", "b")
    assert compared.difference.value == pytest.approx((eers(a) - eers(b)).mean(), abs=1e-12) and compared.seeds == 3
    assert compared.difference.low < compared.difference.value < compared.difference.high


def test_with_one_seed_it_is_the_paired_bootstrap_over_trials():
    (a,), (b,) = trainings(1, [2.0]), trainings(2, [1.7])
    found = SeedBootstrap(LABELS, {"a": [a], "b": [b]}, replicates=400, seed=3).compare("a", "b")
    paired = metrics.paired_bootstrap(LABELS, a, b, replicates=400, seed=3)
    assert (found.difference.low, found.difference.high) == (paired.eer_difference.low, paired.eer_difference.high)
    assert np.isnan(found.p_value) and not found.exceeds_noise


def test_the_same_trainings_differ_by_nothing():
    a = trainings(1, [2.0, 1.8, 2.2])
    found = SeedBootstrap(LABELS, {"a": a, "same": a}, replicates=50).compare("a", "same")
    assert (found.difference.low, found.difference.high, found.p_value) == (0, 0, 1) and not found.exceeds_noise


def test_a_large_steady_gain_exceeds_the_noise_and_a_scattered_one_does_not():
    base = trainings(1, [1.5, 1.52, 1.48])
    better, scattered = trainings(2, [2.5, 2.52, 2.48]), trainings(3, [3.0, 1.3, 1.6])
    found = SeedBootstrap(LABELS, {"base": base, "better": better, "scattered": scattered}, replicates=200)
    assert found.compare("better", "base").exceeds_noise
    assert found.compare("better", "base").difference.high < 0 < found.compare("base", "better").difference.low
    assert not found.compare("scattered", "base").exceeds_noise


def test_three_seeds_of_one_sign_are_not_enough_for_the_t_test():
    base, lucky = trainings(1, [1.5, 1.5, 1.5]), trainings(2, [1.7, 2.0, 3.2])
    found = SeedBootstrap(LABELS, {"base": base, "lucky": lucky}, replicates=400).compare("lucky", "base")
    assert found.difference.high < 0, "the interval alone would call it a gain"
    assert found.p_value > 0.05 and not found.exceeds_noise


def test_equal_systems_are_rarely_told_apart():
    """Seeds that scatter widely around the same mean: the verdict must come out in about 5 % of the cases, not 25 %."""
    rng, labels = np.random.default_rng(0), np.repeat([1, 0], [150, 150])
    verdicts, intervals = 0, 0
    for repeat in range(150):
        shared = rng.normal(0, 1, labels.size)
        systems = {name: [gap * labels + shared for gap in rng.normal(1.5, 0.4, 3)] for name in "ab"}
        found = SeedBootstrap(labels, systems, replicates=100, seed=repeat).compare("a", "b")
        verdicts += found.exceeds_noise
        intervals += found.difference.low > 0 or found.difference.high < 0
    assert verdicts <= 0.09 * 150 < intervals


def test_drawing_one_seed_less_gives_the_variance_of_the_mean():
    gaps = [1.2, 1.5, 1.9, 2.4]
    found = SeedBootstrap(LABELS, {"a": trainings(1, gaps)}, replicates=4000)
    rates = np.broadcast_to(found.eer["a"], (4000, 4))  # the trials held fast: only the seeds are drawn
    interval = found._interval(found.eer["a"], rates, rates)
    means = rates[0, np.random.default_rng([0, 4]).integers(0, 4, (4000, 3))].mean(axis=1)
    assert means.var() == pytest.approx(found.eer["a"].var(ddof=1) / 4, rel=0.1)
    assert interval.low == np.quantile(means, 0.025)


def test_a_gain_that_is_the_same_in_every_seed_exceeds_the_noise():
    (worse,), (better,) = trainings(1, [1.5]), trainings(2, [2.5])
    found = SeedBootstrap(LABELS, {"better": [better] * 3, "worse": [worse] * 3}, replicates=100).compare("better", "worse")
    assert found.p_value == 0 and found.exceeds_noise


def test_of_two_seeds_one_is_drawn():
    found = SeedBootstrap(LABELS, {"a": trainings(1, [1.2, 2.4])}, confidence=0.4)  # means of two would be in the middle
    rates = np.broadcast_to(found.eer["a"], (1000, 2))  # the trials held fast
    interval = found._interval(found.eer["a"], rates, rates)
    assert [interval.low, interval.high] == pytest.approx(sorted(found.eer["a"]))


def test_without_settings_it_draws_as_the_other_bootstraps_do():
    (a,) = trainings(1, [2.0])
    found = SeedBootstrap(LABELS, {"a": [a]})
    assert (found.replicates, found.confidence, found.seed) == (1000, 0.95, 0)
    assert found.mean("a") == metrics.paired_bootstrap(LABELS, a, a).eer_a


def test_it_repeats_and_follows_its_seed():
    systems = {"a": trainings(1, [2.0, 1.8]), "b": trainings(2, [1.7, 1.9])}
    first, again = (SeedBootstrap(LABELS, systems, replicates=30, seed=1).compare("a", "b") for _ in range(2))
    assert first == again != SeedBootstrap(LABELS, systems, replicates=30, seed=2).compare("a", "b")


def test_what_cannot_be_compared_is_refused():
    systems = {"a": trainings(1, [2.0, 1.8]), "probe": trainings(2, [1.7])}
    found = SeedBootstrap(LABELS, systems, replicates=10)
    assert found.mean("probe").value == found.eer["probe"][0]
    with pytest.raises(MetricError, match="a .*2 seeds .*probe 1"):
        found.compare("a", "probe")
    with pytest.raises(MetricError, match=" b, c: "):
        SeedBootstrap(LABELS, {"a": systems["a"], "b": [], "c": []})
