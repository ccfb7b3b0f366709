import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from aasist_lib import metrics

scores = hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e4, 1e4, allow_nan=False, width=32))
tied = hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(-2, 2).map(float))


def test_cllr_of_known_ratios():
    assert metrics.cllr([0.0], [0.0]) == pytest.approx(1, abs=1e-15)
    assert metrics.cllr([np.log(3)], [-np.log(3)]) == pytest.approx(np.log2(4 / 3), abs=1e-15)


def test_cllr_is_stable_at_huge_scores():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.cllr([1e4, 1e4], [-1e4]) == 0
        assert metrics.cllr([-1e4], [1e4]) == pytest.approx(1e4 / np.log(2), rel=1e-15)
        assert metrics.min_cllr([-1e4, 1e4], [-1e4, 1e4]) == pytest.approx(1)


@given(scores | tied, scores | tied)
def test_min_cllr_is_a_minimum_that_only_sees_the_order(bonafide, spoof):
    least = metrics.min_cllr(bonafide, spoof)
    ranks = np.unique(np.concatenate((bonafide, spoof)), return_inverse=True)[1].astype(float)
    assert least == pytest.approx(metrics.min_cllr(ranks[: bonafide.size], ranks[bonafide.size :]), abs=1e-12)
    assert -1e-12 <= least <= min(1, metrics.cllr(bonafide, spoof)) + 1e-12


def test_min_cllr_equals_that_of_another_isotonic_regression(golden_scores):
    for case in ("gaussian", "overlap", "ties_rounded_1dp", "inverted", "tiny_3_vs_5"):
        bonafide, spoof = golden_scores(case)
        labels = np.repeat([1.0, 0.0], [bonafide.size, spoof.size])
        weights = np.repeat([0.5 / bonafide.size, 0.5 / spoof.size], [bonafide.size, spoof.size])
        # At equal weights of the classes the fitted probability is the best one, and its entropy is the cost.
        fitted = IsotonicRegression().fit(scores := np.concatenate((bonafide, spoof)), labels, weights).predict(scores)
        bits = -np.where(labels == 1, np.log2(np.maximum(fitted, 1e-300)), np.log2(np.maximum(1 - fitted, 1e-300)))
        assert metrics.min_cllr(bonafide, spoof) == pytest.approx(np.sum(weights * bits), abs=1e-9)


def test_min_cllr_gives_tied_scores_one_value():
    # One value in both classes says nothing: 1 bit, in whatever order the trials come.
    assert metrics.min_cllr([1.0, 1.0], [1.0, 1.0, 1.0]) == pytest.approx(1, abs=1e-15)
    # Half of each class is separated, the other half tied: 0.5 * (0.5 + 0.5) bits.
    assert metrics.min_cllr([0.0, 1.0], [0.0, -1.0]) == pytest.approx(0.5, abs=1e-15)


def test_calibration_removes_a_wrong_scale_and_offset(golden_scores):
    bonafide, spoof = golden_scores("gaussian")
    stretched = 5 * bonafide - 20, 5 * spoof - 20
    fitted = metrics.calibrate_fit(*stretched)
    after = [metrics.calibrate_apply(fitted, each) for each in stretched]
    assert metrics.cllr(*stretched) > 5
    assert metrics.min_cllr(*stretched) < metrics.cllr(*after) < 0.4
    assert metrics.eer(*after)[0] == metrics.eer(bonafide, spoof)[0]
    assert metrics.act_dcf(*after) < metrics.act_dcf(bonafide, spoof)


def test_calibration_finds_the_true_ratios():
    rng = np.random.default_rng(3)  # equal variances: the log-likelihood ratio is 2 * score
    fitted = metrics.calibrate_fit(rng.normal(1, 1, 20_000), rng.normal(-1, 1, 60_000), p_spoof=0.2)
    assert fitted.scale == pytest.approx(2, abs=0.06)
    assert fitted.offset == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize("gap", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(("bonafide", "spoof"), [(6, 6), (12, 300), (2, 2), (1, 5)])
def test_no_error_on_dev_is_said_and_gives_no_more_than_its_trials_support(gap, bonafide, spoof):
    positive, negative = gap * (1 + np.arange(bonafide)), -gap * (1 + np.arange(spoof))
    with pytest.warns(UserWarning, match="overlap"):
        fitted = metrics.calibrate_fit(positive, negative)
    bound = np.log(min(bonafide, spoof))
    assert fitted.separable and fitted.bound == pytest.approx(bound)
    anything = np.array([-1e9, -gap, gap, 1e9]) * gap
    assert np.abs(metrics.calibrate_apply(fitted, anything)).max() <= bound
    assert fitted.beyond([1e9 * gap]) and not fitted.beyond([-fitted.offset / fitted.scale]).any()
    # Each class counts as one more wrong trial: at the mean of a class the line says about log(n + 1), and no slope is endless.
    assert 0 < fitted.scale * gap < 100


def test_scores_that_overlap_are_calibrated_as_before(golden_scores):
    bonafide, spoof = golden_scores("gaussian")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = metrics.calibrate_fit(bonafide, spoof)
    assert not fitted.separable and fitted.bound == pytest.approx(np.log(1000))
    scores, labels = np.concatenate((bonafide, spoof))[:, None], np.repeat([1, 0], [1000, 9000])
    plain = LogisticRegression(C=1e6).fit(scores, labels, np.where(labels == 1, 5.0, 5 / 9))
    assert fitted.scale == pytest.approx(plain.coef_[0, 0], rel=0.03)
    assert fitted.offset == pytest.approx(plain.intercept_[0], abs=0.03)


def test_calibration_of_inverted_scores():
    with pytest.warns(UserWarning, match="sign"):
        assert metrics.calibrate_fit([-1.0, 0.5, -2.0], [1.0, 2.0, -0.5]).scale < 0


def test_calibration_needs_something_to_fit():
    with pytest.raises(metrics.MetricError, match="equal"):
        metrics.calibrate_fit([1.0, 1.0], [1.0])
    with pytest.raises(metrics.MetricError, match="p_spoof = 0"):
        metrics.calibrate_fit([1.0], [0.0], p_spoof=0)


@pytest.mark.parametrize("prior", [0, 1, 1.5])
def test_the_prior_of_a_calibration_leaves_both_classes_some_weight(prior):
    with pytest.raises(metrics.MetricError, match=f"^p_spoof = {prior}: "):
        metrics.calibrate_fit([1.0, 2.0], [0.0, 1.5], p_spoof=prior)


def test_a_calibration_only_warns_of_an_inverted_sign(golden_scores):
    bonafide, spoof = golden_scores("overlap")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0 < metrics.calibrate_fit(5 * bonafide, 5 * spoof).scale < 1
    with pytest.warns(UserWarning, match="higher scores .*spoof"):
        metrics.calibrate_fit(-bonafide, -spoof)


def test_the_warning_of_a_calibration_points_at_the_caller():
    with pytest.warns(UserWarning, match="sign") as caught:
        metrics.calibrate_fit([-1.0, 0.5, -2.0], [1.0, 2.0, -0.5])
    assert caught[0].filename == __file__


def test_what_a_calibration_refuses_is_called_by_its_name():
    with pytest.raises(metrics.MetricError, match="equal"):
        metrics.calibrate_fit([1.0], [1.0])
    with pytest.raises(metrics.MetricError, match="^1 of 2 trial scores"):
        metrics.calibrate_apply(metrics.Calibration(1.0, 0.0), [np.nan, 1.0])
