import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binomtest, norm

from aasist_lib import metrics
from aasist_lib.metrics import MetricError, intervals
from aasist_lib.metrics.intervals import FINE, _cuts, _p_value, _replicate, unseen_errors
from aasist_lib.metrics.rates import eer_point, rank
from aasist_lib.metrics.seeds import SeedBootstrap

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


def drawn(seed, replicates, *sizes):
    """Indices of what is drawn with replacement, an array a class, `replicates` times."""
    rng = np.random.default_rng(seed)
    for _ in range(replicates):
        yield [rng.integers(0, size, size, dtype=np.uint32) for size in sizes]


def measured(bonafide, spoof):
    return eer_point(rank(bonafide, spoof).curve)[0], metrics.min_dcf(bonafide, spoof)


def assert_interval(interval, samples, widened=None, confidence=0.95):
    """The lower end is that of the samples, the upper that of those with errors nobody has seen, where there are such."""
    low, high = (1 - confidence) / 2, (1 + confidence) / 2
    expected = [np.quantile(samples, low), np.quantile(samples if widened is None else widened, high)]
    assert [interval.low, interval.high] == pytest.approx(expected, abs=1e-12)


def measured_with_unseen(bonafide, spoof, draws, seed=0):
    """EER and minDCF of the draws, each trial counted `FINE` times, with errors beside them that no threshold avoids."""
    unseen = unseen_errors(len(draws), bonafide.size, spoof.size, seed)
    return np.array([
        measured(
            np.concatenate((np.full(more[0], -1e9), np.repeat(bonafide[one], FINE))),
            np.concatenate((np.full(more[1], 1e9), np.repeat(spoof[other], FINE))),
        )
        for (one, other), more in zip(draws, unseen, strict=True)
    ])  # fmt: skip


def test_replicates_are_trials_drawn_again_and_measured_anew():
    bonafide, spoof = map(np.sort, gaussian(8, 97, 151))  # odd numbers: never two points equally near to frr = far
    draws = list(drawn(0, 200, 97, 151))
    found = metrics.bootstrap(bonafide, spoof, 200)
    again = np.array([measured(bonafide[one], spoof[other]) for one, other in draws])
    widened = measured_with_unseen(bonafide, spoof, draws)
    assert_interval(found.eer, again[:, 0], widened[:, 0])
    assert_interval(found.min_dcf, again[:, 1], widened[:, 1])
    assert (found.replicates, found.confidence) == (200, 0.95) and metrics.bootstrap(bonafide, spoof).replicates == 1000


@pytest.mark.parametrize(("bonafide", "spoof"), [(60, 140), (20, 20), (3000, 12), (1, 1)])
def test_no_error_seen_is_no_certainty(bonafide, spoof):
    """Without an error the upper end is that of the class of which less is known: Clopper and Pearson's."""
    exact = max(binomtest(0, size).proportion_ci(method="exact").high for size in (bonafide, spoof))
    scores = np.arange(bonafide) + 1.0, -1.0 - np.arange(spoof)
    found = metrics.bootstrap(*scores, replicates=4000)
    assert found.eer.value == found.eer.low == found.min_dcf.value == found.min_dcf.low == 0
    assert found.eer.high == pytest.approx(exact, rel=0.03, abs=0.6 / spoof) and found.min_dcf.high > exact
    seeds = SeedBootstrap(np.repeat([1, 0], [bonafide, spoof]), {"a": [np.concatenate(scores)] * 3}, replicates=1000)
    assert seeds.mean("a").high == pytest.approx(found.eer.high, rel=0.1)
    band = metrics.det_band(*scores, far=[0.5], replicates=500)
    assert band.low == [0] and band.high == pytest.approx(binomtest(0, bonafide).proportion_ci(method="exact").high, rel=0.1)


def test_rare_errors_are_covered_as_often_as_is_said():
    """Two errors in a hundred, 60 bona fide and 100 spoofed trials: often none is seen, and the truth must lie in the
    interval."""
    truth = 0.02
    shift = 2 * norm.isf(truth)
    found = [metrics.bootstrap(*gaussian(seed, 60, 100, shift), replicates=200).eer for seed in range(200)]
    assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.93
    assert sum(each.value == 0 for each in found) > 10, "no error was seen, and the plain interval would be 0 to 0"


def of_groups(indices, groups):
    """The trials of the groups drawn, a group as often as it was drawn."""
    return np.concatenate([np.flatnonzero(groups == index) for index in indices])


def test_replicates_of_groups_are_all_trials_of_the_groups_drawn():
    bonafide, spoof = gaussian(9, 60, 90)
    rng = np.random.default_rng(1)
    ours, theirs = rng.integers(0, 9, 60), rng.integers(3, 12, 90)  # 0 to 2 have bona fide only, 9 to 11 spoofs only
    found = metrics.bootstrap(bonafide, spoof, 200, 0.8, 5, [f"{n:02}" for n in ours], [f"{n:02}" for n in theirs])
    draws = [(of_groups(indices, ours), of_groups(indices, theirs)) for (indices,) in drawn(5, 200, 12)]
    plain = [measured(bonafide[one], spoof[other])[1] for one, other in draws]
    assert_interval(found.min_dcf, plain, measured_with_unseen(bonafide, spoof, draws, 5)[:, 1], 0.8)
    assert (found.confidence, found.unit, found.units) == (0.8, "group", 12)


@pytest.mark.parametrize("grouped", [False, True])
def test_pairs_are_measured_on_the_same_draws(grouped):
    rng = np.random.default_rng(2)
    labels = rng.permutation(np.repeat([1, 0], [97, 151]))
    a, b = (1.5 * labels + rng.normal(0, 1, 248) for _ in range(2))
    positive, negative, speakers = labels == 1, labels == 0, rng.integers(10, 30, 248)
    found = metrics.paired_bootstrap(labels, a, b, groups=speakers if grouped else None, replicates=60)
    draws = list(drawn(0, 60, *([20] if grouped else [97, 151])))
    if grouped:
        draws = [[of_groups(indices + 10, speakers[each]) for each in (positive, negative)] for (indices,) in draws]
    of_a, of_b = (
        np.array([measured(scores[positive][one], scores[negative][other]) for one, other in draws]) for scores in (a, b)
    )
    more_a, more_b = (measured_with_unseen(scores[positive], scores[negative], draws) for scores in (a, b))
    assert_interval(found.min_dcf_a, of_a[:, 1], more_a[:, 1])
    assert_interval(found.min_dcf_b, of_b[:, 1], more_b[:, 1])
    assert_interval(found.min_dcf_difference, of_a[:, 1] - of_b[:, 1])
    if not grouped:  # groups change the numbers of trials, so that two points can be equally near
        assert_interval(found.eer_a, of_a[:, 0], more_a[:, 0])
        assert_interval(found.eer_b, of_b[:, 0], more_b[:, 0])
        assert_interval(found.eer_difference, of_a[:, 0] - of_b[:, 0])
    assert (found.replicates, found.confidence) == (60, 0.95)
    assert (found.unit, found.units) == (("group", 20) if grouped else ("trial", 248))


@pytest.mark.parametrize(
    ("differences", "p_value"),
    [
        ([-3, -2, 0.5, -1, -4, -5, -6, -7, -8], 2 * 2 / 10),  # one of nine is on the other side
        ([3, 2, -0.5, 1, 4, 5, 6, 7, 8], 2 * 2 / 10),
        ([1, 2, 3, 4], 2 * 1 / 5),
        ([-1, 1, 2, 0, 3, 4, 5, 6, 7, 8, 9], 2 * 3 / 12),  # equal counts for either side
        ([0, 0, 0], 1),
    ],
)
def test_the_p_value_counts_replicates_on_the_other_side_and_one_more(differences, p_value):
    assert _p_value(np.array(differences, dtype=float)) == pytest.approx(p_value)


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
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.006) and high < found.high < high + 0.015


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


def test_draws_that_always_lack_a_class_end_with_advice(monkeypatch):
    monkeypatch.setattr(intervals, "MOST_REDRAWS", 1)
    with pytest.raises(MetricError, match="1 draws of 2 groups"):
        metrics.bootstrap([1.0, 2.0], [0.0, 1.5], 50, bonafide_groups=["a", "a"], spoof_groups=["b", "b"])


def test_the_least_that_is_accepted():
    two = metrics.bootstrap([1.0, 2.0], [0.0, 1.5], 1, 0.99, bonafide_groups=["a", "b"], spoof_groups=["a", "b"])
    assert (two.unit, two.units, two.replicates) == ("group", 2, 1) and two.eer.low <= two.eer.high


@pytest.mark.parametrize("function", [metrics.bootstrap, metrics.det_band])
def test_unusable_scores_are_named_by_their_class(function):
    with pytest.raises(MetricError, match="^1 of 2 bona fide scores"):
        function([np.nan, 1.0], [0.0, 1.0])
    with pytest.raises(MetricError, match="spoof scores"):
        function([0.0, 1.0], [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bonafide_groups": ["a", "b"]}, "bonafide_groups and spoof_groups"),
        ({"bonafide_groups": ["a"], "spoof_groups": ["a", "b"]}, r"^bonafide_groups .*\(1,\) .*2 scores"),
        ({"bonafide_groups": ["a", "b"], "spoof_groups": ["a"]}, r"^spoof_groups .*\(1,\) .*2 scores"),
        ({"bonafide_groups": ["a", "a"], "spoof_groups": ["a", "a"]}, "group 'a'"),
        ({"replicates": 0}, "replicates = 0"),
        ({"confidence": 95}, "confidence = 95"),
        ({"confidence": 0}, "confidence = 0"),
        ({"confidence": 1}, "confidence = 1: "),
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
    with pytest.raises(MetricError, match=r"^groups .*\(2,\)"):
        metrics.paired_bootstrap(labels, both, both, groups=[1, 2])
    with pytest.raises(MetricError, match="110 labels .*3 scores"):
        metrics.paired_bootstrap(labels, both, both[:3])


def test_det_band_holds_the_curve():
    bonafide, spoof = gaussian(7)
    band = metrics.det_band(bonafide, spoof, far=[0.01, 0.1, 0.5, 1.0], replicates=300)
    curve = metrics.det_curve(bonafide, spoof)
    measured = [curve.frr[curve.far <= far].min() for far in band.far]
    assert np.all(band.low <= measured) and np.all(measured <= band.high)
    assert band.low[1] < band.high[1]
    assert band.low[3] == 0 < band.high[3] < 0.02, "an error that no threshold avoids may be there"
    assert np.all(np.diff(band.low) <= 0)


def rejected_at(bonafide, spoof, rates):
    """The least false rejection rate at no more than these rates of false acceptance."""
    curve = rank(bonafide, spoof).curve
    return [curve.frr[curve.far <= rate + 1e-12].min() for rate in rates]


@pytest.mark.parametrize("grouped", [False, True])
def test_a_det_band_is_that_of_the_curves_of_the_draws(grouped):
    bonafide, spoof = map(np.sort, gaussian(10, 30, 40, shift=1.0))
    rates = [number / 40 for number in range(1, 41)]  # just what can be measured: rounding must not miss a point
    if grouped:
        rng = np.random.default_rng(3)
        ours, theirs = (rng.integers(0, 8, size) for size in (30, 40))
        draws = [(of_groups(each, ours), of_groups(each, theirs)) for (each,) in drawn(0, 200, 8)]
        band = metrics.det_band(bonafide, spoof, far=rates, bonafide_groups=ours, spoof_groups=theirs)
    else:
        draws = list(drawn(0, 200, 30, 40))
        band = metrics.det_band(bonafide, spoof, far=rates)
    curves = [rejected_at(bonafide[one], spoof[other], rates) for one, other in draws]
    assert band.low == pytest.approx(np.quantile(curves, 0.025, axis=0), abs=1e-12)
    assert (band.high >= np.quantile(curves, 0.975, axis=0) - 1e-12).all() and (np.diff(band.high) <= 1e-12).all()


def test_the_rates_of_a_det_band_go_from_a_single_spoof_to_all():
    bonafide, spoof = gaussian(11, 20, 50)
    band = metrics.det_band(bonafide, spoof, replicates=20)
    assert band.far == pytest.approx(np.exp(np.linspace(np.log(1 / 50), 0, 200)))
    assert band.low.shape == band.high.shape == (200,)
    same = metrics.det_band(bonafide, spoof, far=list(band.far), replicates=20)
    assert (same.low == band.low).all() and (same.high == band.high).all()
    whole = metrics.det_band(bonafide, spoof, far=[1], replicates=20)
    assert whole.far.dtype == np.float64 and whole.low.tolist() == [0]


@pytest.mark.parametrize("far", [[0.1, 1.01], [-0.1, 0.5], [float("nan")], 0.1])
def test_what_is_no_rate_of_a_det_band_is_refused(far):
    with pytest.raises(MetricError, match=r"^far .*\[0, 1\]"):
        metrics.det_band([1.0, 2.0], [0.0, 1.5], far=far)
    assert metrics.det_band([1.0, 2.0], [0.0, 1.5], far=[0, 1], replicates=3).low.shape == (2,)


def test_interval_in_percent():
    assert metrics.Interval(0.042, 0.031, 0.0534).percent() == "4.20 % (3.10–5.34)"
