import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aasist_lib import metrics
from aasist_lib.metrics import MetricError
from aasist_lib.metrics.intervals import _cuts, _replicate
from aasist_lib.metrics.rates import eer_point, rank

scores = hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(-9, 9).map(float))
COSTS = (0.05, 1.0, 10.0)


def gaussian(seed, bonafide=300, spoof=500, shift=2.0):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, bonafide), rng.normal(0, 1, spoof)


@given(scores, scores, st.randoms(use_true_random=False))
def test_weights_count_like_repeated_trials(bonafide, spoof, random):
    weights = [np.array([1] + [random.randint(0, 3) for _ in each[1:]]) for each in (bonafide, spoof)]
    ranked = rank(bonafide, spoof)
    found = _replicate(_cuts(ranked.bonafide, ranked.spoof), (weights[0], weights[1]), COSTS)
    repeated = rank(np.repeat(ranked.bonafide, weights[0]), np.repeat(ranked.spoof, weights[1]))
    # The two points around frr = far can be equally near; rounding then decides between them.
    nearest = np.abs(repeated.curve.frr - repeated.curve.far)
    ties = np.flatnonzero(nearest <= nearest.min() + 1e-12)
    candidates = (repeated.curve.frr[ties] + repeated.curve.far[ties]) / 2
    assert np.min(np.abs(candidates - found[0])) < 1e-12
    assert found[1] == pytest.approx(metrics.min_dcf(repeated.bonafide, repeated.spoof), abs=1e-12)


def test_bootstrap_is_about_the_measured_value_and_repeats():
    bonafide, spoof = gaussian(0)
    found = metrics.bootstrap(bonafide, spoof, replicates=300, seed=4)
    assert found == metrics.bootstrap(bonafide, spoof, replicates=300, seed=4)
    assert found != metrics.bootstrap(bonafide, spoof, replicates=300, seed=5)
    assert found.eer.value == metrics.eer(bonafide, spoof)[0]
    assert found.min_dcf.value == metrics.min_dcf(bonafide, spoof)
    for interval in (found.eer, found.min_dcf):
        assert interval.low < interval.value < interval.high
    assert (found.unit, found.units, found.replicates) == ("trial", 800, 300)
    narrow = metrics.bootstrap(bonafide, spoof, replicates=300, confidence=0.5, seed=4)
    assert found.eer.low < narrow.eer.low < narrow.eer.high < found.eer.high


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    truth = 0.15865525393145707  # P(N(0, 1) < -1)
    found = [metrics.bootstrap(*gaussian(seed, 200, 200), replicates=200, confidence=0.8).eer for seed in range(100)]
    covered = sum(interval.low <= truth <= interval.high for interval in found)
    assert 68 <= covered <= 92


def test_bootstrap_agrees_with_resampling_and_sorting():
    bonafide, spoof = gaussian(1, 100, 200)
    rng = np.random.default_rng(0)
    drawn = [eer_point(rank(rng.choice(bonafide, bonafide.size), rng.choice(spoof, spoof.size)).curve)[0] for _ in range(1500)]
    found = metrics.bootstrap(bonafide, spoof, replicates=1500).eer
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.006)


def test_speakers_that_repeat_widen_the_interval():
    rng = np.random.default_rng(2)
    speakers = np.repeat(np.arange(12), 40)
    offset = rng.normal(0, 1, 12)[speakers]
    bonafide, spoof = 1.5 + offset + rng.normal(0, 0.5, 480), offset + rng.normal(0, 0.5, 480)
    trials = metrics.bootstrap(bonafide, spoof, replicates=300)
    grouped = metrics.bootstrap(bonafide, spoof, 300, bonafide_groups=speakers, spoof_groups=speakers)
    assert (grouped.unit, grouped.units) == ("group", 12)
    assert grouped.eer.value == trials.eer.value
    assert grouped.eer.high - grouped.eer.low > 1.5 * (trials.eer.high - trials.eer.low)


def test_groups_of_one_trial_and_draws_without_a_class():
    found = metrics.bootstrap([1.0, 2.0], [0.0, 1.5], 50, bonafide_groups=["a", "b"], spoof_groups=["c", "c"])
    assert 0 <= found.eer.low <= found.eer.high <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bonafide_groups": ["a", "b"]}, "one class only"),
        ({"bonafide_groups": ["a"], "spoof_groups": ["a", "b"]}, r"bonafide_groups has shape \(1,\) for 2 scores"),
        ({"bonafide_groups": ["a", "a"], "spoof_groups": ["a", "a"]}, "every trial is in group 'a'"),
        ({"replicates": 0}, "replicates = 0"),
        ({"confidence": 95}, "confidence = 95"),
        ({"p_spoof": 0}, "p_spoof = 0"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(MetricError, match=message):
        metrics.bootstrap([1.0, 2.0], [0.0, 1.5], **settings)


def test_paired_test_sees_what_separate_intervals_hide():
    bonafide, spoof = gaussian(5)
    labels = np.repeat([1, 0], [300, 500])
    a = np.concatenate((bonafide, spoof))
    worse = a + np.where(labels == 1, -0.25, 0.0)
    worse += np.random.default_rng(0).normal(0, 0.05, a.size)
    found = metrics.paired_bootstrap(labels, a, worse, replicates=400)
    assert found.eer_a.value == metrics.eer(bonafide, spoof)[0]
    assert found.eer_a.high > found.eer_b.low  # the two intervals overlap
    assert found.eer_difference.high < 0  # the difference is certain
    assert found.eer_p_value < 0.02
    assert found.min_dcf_difference.value < 0
    swapped = metrics.paired_bootstrap(labels, worse, a, replicates=400)
    assert swapped.eer_difference.low == pytest.approx(-found.eer_difference.high)


def test_paired_test_of_a_system_with_itself():
    bonafide, spoof = gaussian(6, 50, 60)
    labels = ["bonafide"] * 50 + ["spoof"] * 60
    both = np.concatenate((bonafide, spoof))
    speakers = np.arange(110) % 7
    found = metrics.paired_bootstrap(labels, both, both, groups=speakers, replicates=60)
    assert (found.eer_difference.low, found.eer_difference.high, found.eer_p_value) == (0, 0, 1)
    assert (found.unit, found.units) == ("group", 7)
    with pytest.raises(MetricError, match="one group a trial"):
        metrics.paired_bootstrap(labels, both, both, groups=[1, 2])
    with pytest.raises(MetricError, match="110 labels for 3 scores"):
        metrics.paired_bootstrap(labels, both, both[:3])


def test_det_band_holds_the_curve():
    bonafide, spoof = gaussian(7)
    band = metrics.det_band(bonafide, spoof, far=[0.01, 0.1, 0.5, 1.0], replicates=300)
    curve = metrics.det_curve(bonafide, spoof)
    measured = [curve.frr[curve.far <= far].min() for far in band.far]
    assert np.all(band.low <= measured) and np.all(measured <= band.high)
    assert band.low[1] < band.high[1]
    assert band.high[3] == 0
    assert np.all(np.diff(band.low) <= 0)


def test_interval_in_percent():
    assert metrics.Interval(0.042, 0.031, 0.0534).percent() == "4.20 % (3.10–5.34)"
