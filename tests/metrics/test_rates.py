import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aasist_lib import metrics
from aasist_lib.metrics import MetricError
from aasist_lib.metrics.rates import eer_point, rank

finite = st.floats(-1e4, 1e4, allow_nan=False, width=32)
one_class = hnp.arrays(np.float64, st.integers(1, 40), elements=finite)
few_values = hnp.arrays(np.float64, st.integers(1, 40), elements=st.integers(-3, 3).map(float))


def plain_eer(bonafide, spoof):
    return eer_point(rank(bonafide, spoof).curve)[0]


def loop_curve(bonafide, spoof):
    """The definition, one trial at a time."""
    trials = sorted([(s, 0, "b") for s in bonafide] + [(s, 1, "s") for s in spoof])
    missed, passed, points = 0, len(spoof), [(0.0, 1.0)]
    for _, _, kind in trials:
        missed, passed = missed + (kind == "b"), passed - (kind == "s")
        points.append((missed / len(bonafide), passed / len(spoof)))
    return np.array(points), [trial[0] for trial in trials]


@given(few_values | one_class, few_values | one_class)
def test_curve_equals_the_definition(bonafide, spoof):
    curve = metrics.det_curve(bonafide, spoof)
    points, thresholds = loop_curve(bonafide, spoof)
    np.testing.assert_array_equal(np.column_stack((curve.frr, curve.far)), points)
    np.testing.assert_array_equal(curve.thresholds[1:], thresholds)
    assert curve.thresholds[0] < curve.thresholds[1]


@given(few_values | one_class, few_values | one_class)
def test_eer_only_sees_the_order(bonafide, spoof):
    ranks = np.unique(np.concatenate((bonafide, spoof)), return_inverse=True)[1]
    curved = np.exp(ranks / 7.0)
    assert plain_eer(bonafide, spoof) == plain_eer(curved[: bonafide.size], curved[bonafide.size :])


@given(st.lists(finite, min_size=2, max_size=60, unique=True), st.data())
def test_swapping_labels_and_signs_changes_nothing(values, data):
    split = data.draw(st.integers(1, len(values) - 1))
    bonafide, spoof = np.array(values[:split]), np.array(values[split:])
    half_step = 0.5 / min(bonafide.size, spoof.size)  # two points can be equally near; the first one counts
    assert plain_eer(bonafide, spoof) == pytest.approx(plain_eer(-spoof, -bonafide), abs=half_step + 1e-12)
    assert plain_eer(bonafide, spoof) == pytest.approx(1 - plain_eer(spoof, bonafide), abs=2 * half_step + 1e-12)


def test_threshold_separates_at_the_eer():
    rng = np.random.default_rng(0)
    bonafide, spoof = rng.normal(1, 1, 4000), rng.normal(-1, 1, 9000)
    value, threshold = metrics.eer(bonafide, spoof)
    assert np.mean(bonafide <= threshold) == pytest.approx(value, abs=2e-4)
    assert np.mean(spoof > threshold) == pytest.approx(value, abs=2e-4)
    assert value == pytest.approx(0.1587, abs=0.01)  # P(N(0, 1) < -1)


def test_ties_at_the_threshold_warn_with_the_interval():
    with pytest.warns(UserWarning, match=r"2 bona fide and 2 spoof .* 0\.0000% .*50\.0000%"):
        value, threshold = metrics.eer([1.0, 1.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0])
    assert (value, threshold) == (0.5, 1.0)  # the organisers': bona fide first


def test_ties_just_after_the_threshold_warn_too():
    # At 0 the rates are 0 and 2/4; bona fide first, the tied 1 takes frr to 1 at once and 0 stays the nearest point.
    with pytest.warns(UserWarning, match=r"1 bona fide and 2 spoof .* 1, .* 0\.0000% .*25\.0000%"):
        value, threshold = metrics.eer([1.0], [-1.0, 0.0, 1.0, 1.0])
    assert (value, threshold) == (0.25, 0.0)


@given(few_values, few_values)
def test_the_warning_comes_exactly_when_the_order_of_ties_matters(bonafide, spoof):
    nudged = plain_eer(bonafide + 1e-6, spoof)  # spoof first
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value, _ = metrics.eer(bonafide, spoof)
    assert bool(caught) == (value != nudged)
    if caught:
        low, high = sorted((value, nudged))
        assert f" {low:.4%} and {high:.4%}" in str(caught[0].message)


def test_ties_elsewhere_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.eer([1.0, 2.0, 5.0, 5.0], [0.0, 0.0, 0.5, 5.0])[0] == 0.25


@pytest.mark.parametrize(
    ("bonafide", "spoof", "message"),
    [
        ([], [1.0], "bona fide scores"),
        ([1.0], [], "spoof scores"),
        ([1.0, np.nan], [0.0], "1 of 2 bona fide scores .*index 1"),
        ([1.0], [0.0, np.inf, -np.inf], "2 of 3 spoof scores"),
        ([[1.0, 2.0]], [0.0], r"bona fide scores .*\(1, 2\)"),
        (["high"], [0.0], "bona fide scores .*'high'"),
    ],
)
@pytest.mark.parametrize(
    "metric",
    [metrics.eer, metrics.det_curve, metrics.min_dcf, metrics.act_dcf, metrics.cllr, metrics.min_cllr]
    + [metrics.summarise, metrics.bootstrap, metrics.calibrate_fit],
)
def test_unusable_scores_are_errors(metric, bonafide, spoof, message):
    with pytest.raises(MetricError, match=message):
        metric(bonafide, spoof)


def test_asv_rates_at_a_given_threshold():
    rates = metrics.asv_error_rates([1.0, 3.0], [0.0, 2.0], [0.5, 2.0, 2.5, 4.0], threshold=2.0)
    assert rates[:4] == (0.5, 0.5, 0.25, 0.75)
    assert rates.threshold == 2.0
    with pytest.raises(MetricError, match=" nontarget scores"):
        metrics.asv_error_rates([1.0], [], [0.0])


@pytest.mark.parametrize("labels", [["bonafide", "spoof", "spoof"], pd.Series(["bonafide", "spoof", "spoof"]), [1, 0, 0]])
def test_split_classes(labels):
    bonafide, spoof = metrics.split_classes(labels, [3.0, 1.0, 2.0])
    assert bonafide.tolist() == [3.0]
    assert spoof.tolist() == [1.0, 2.0]


def test_split_classes_refuses_what_it_cannot_read():
    with pytest.raises(MetricError, match="^labels .*'fake'"):
        metrics.split_classes(["bonafide", "fake"], [1.0, 2.0])
    with pytest.raises(MetricError, match="3 labels .*2 scores"):
        metrics.split_classes([1, 0, 0], [1.0, 2.0])
    with pytest.raises(MetricError, match="spoof scores"):
        metrics.split_classes([1, 1], [1.0, 2.0])


@settings(max_examples=50)
@given(one_class, one_class)
def test_rates_are_monotone_and_bounded(bonafide, spoof):
    curve = metrics.det_curve(bonafide, spoof)
    assert np.all(np.diff(curve.frr) >= 0)
    assert np.all(np.diff(curve.far) <= 0)
    assert (curve.frr[0], curve.far[0], curve.frr[-1], curve.far[-1]) == (0, 1, 1, 0)


def test_no_torch_is_imported():
    import subprocess
    import sys

    code = "import sys, aasist_lib.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_first_operating_point_lies_a_thousandth_below_the_lowest_score():
    assert metrics.det_curve([2.0], [1.0]).thresholds.tolist() == [0.999, 1.0, 2.0]


@pytest.mark.parametrize("metric", [metrics.eer, metrics.summarise])
def test_the_warning_of_ties_counts_them(metric):
    with pytest.warns(UserWarning, match="EER threshold") as caught:
        metric([-1.0, 1.0, 1.0, 2.0, 3.0, 3.0], [-2.0, 0.0, 1.0, 1.0, 2.0])
    message = str(caught[0].message)
    assert message.startswith("2 bona fide and 2 spoof scores ") and " 1, " in message


@pytest.mark.parametrize("metric", [metrics.eer, metrics.summarise])
def test_the_warning_of_ties_points_at_the_caller(metric):
    with pytest.warns(UserWarning, match="EER threshold") as caught:
        metric([1.0, 1.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0])
    assert caught[0].filename == __file__


def test_a_score_at_the_threshold_is_accepted():
    rates = metrics.asv_error_rates([1.0, 2.0], [2.0, 0.0], [2.0, 2.0, 0.0], threshold=2.0)
    assert rates[:4] == (0.5, 0.5, 1 / 3, 2 / 3)


@pytest.mark.parametrize("place", range(3))
def test_asv_scores_that_are_missing_are_called_by_their_class(place):
    classes = [[1.0, 2.0], [0.0], [0.5]]
    classes[place] = []
    name = ("target", "nontarget", "spoof")[place]
    for metric in (metrics.asv_error_rates, metrics.min_a_dcf):
        with pytest.raises(MetricError, match=f" {name} scores"):
            metric(*classes)


def test_what_is_wrong_is_called_by_its_name():
    with pytest.raises(MetricError, match=r"^1 of 1 threshold scores"):
        metrics.asv_error_rates([1.0], [0.0], [0.5], threshold=np.nan)
    with pytest.raises(MetricError, match=r"^1 of 2 trial scores"):
        metrics.split_classes([1, 0], [np.nan, 0.0])
    with pytest.raises(MetricError, match=r"bona fide scores"):
        metrics.split_classes([0, 0], [1.0, 0.0])
    with pytest.raises(MetricError, match=r"^labels .*\(1, 2\)"):
        metrics.split_classes([["bonafide", "spoof"]], [1.0, 0.0])
    with pytest.raises(MetricError, match=r"^labels .*\(1, 2\)"):
        metrics.split_classes([["bonafide", "fake"]], [1.0, 0.0])
