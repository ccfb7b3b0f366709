"""Score histograms, read back from their axes."""

import numpy as np
import pandas as pd
import pytest

from aasist_lib import metrics, plots
from tests.plots.looking import render, texts


def test_histograms_have_area_1_and_tell_classes_apart_without_colour(scores):
    (axes,) = plots.score_histograms(scores, 0.5, "Scores of dev").axes
    outlines = [patch for patch in axes.patches if not patch.get_fill()]
    for patch in outlines:
        density, edges, _ = patch.get_data()
        assert np.sum(density * np.diff(edges)) == pytest.approx(1)
    assert [patch.get_linestyle() for patch in outlines] == ["-", "--"]
    assert axes.get_title(loc="left") == "Scores of dev"
    assert axes.get_xlim() == (scores["score"].min(), scores["score"].max())
    bonafide, spoof = metrics.split_classes(scores["label"], scores["score"])
    rejected, accepted = np.mean(bonafide <= 0.5), np.mean(spoof > 0.5)
    assert texts(axes.get_legend()) == [
        "bona fide (200 clips)",
        "spoof (400 clips)",
        f"threshold 0.50\nbona fide rejected {rejected:.1%}\nspoof accepted {accepted:.1%}",
    ]
    assert axes.lines[0].get_xdata() == [0.5, 0.5]


def test_histogram_of_one_value_without_threshold():
    flat = pd.DataFrame({"score": [1.0, 1.0], "label": ["bonafide", "spoof"]})
    (axes,) = plots.score_histograms(flat, None, "Flat").axes
    assert not axes.lines
    assert axes.get_xlim() == (1.0, 2.0)


def test_threshold_view_fills_the_errors_and_marks_the_point(scores):
    left, right = plots.threshold_view(scores, 0.5, "Dev").axes
    bonafide, spoof = metrics.split_classes(scores["label"], scores["score"])
    frr, far = np.mean(bonafide <= 0.5), np.mean(spoof > 0.5)
    rejected, accepted = [patch for patch in left.patches if "rejected" in patch.get_label() or "accepted" in patch.get_label()]
    assert rejected.get_label() == f"bona fide rejected: FRR {frr:.1%}"
    assert accepted.get_label() == f"spoof accepted: FAR {far:.1%}"
    assert rejected.get_data().edges.max() == 0.5 and accepted.get_data().edges.min() == 0.5
    area = [np.sum(patch.get_data().values * np.diff(patch.get_data().edges)) for patch in (rejected, accepted)]
    assert area == pytest.approx([frr, far], abs=0.02)  # to the bin that the threshold cuts
    assert left.lines[0].get_xdata() == [0.5, 0.5]
    (star,) = [line for line in right.lines if line.get_label() == "this threshold"]
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (far, frr)
    assert f"EER {metrics.eer(bonafide, spoof)[0]:.2%}" in texts(right.get_legend())


@pytest.mark.parametrize(("threshold", "shown"), [(-100.0, ("FRR 0.0%", "FAR 100.0%")), (100.0, ("FRR 100.0%", "FAR 0.0%"))])
def test_threshold_view_beyond_all_scores(scores, threshold, shown):
    figure = plots.threshold_view(scores, threshold, "Dev")
    left, right = figure.axes
    for rate in shown:
        assert any(text.endswith(rate) for text in texts(figure.legends[0]))
    (star,) = [line for line in right.lines if line.get_label() == "this threshold"]
    assert {star.get_xdata()[0], star.get_ydata()[0]} == set(right.get_xlim())  # at a corner of the axes
    assert left.get_xlim() == (scores["score"].min(), scores["score"].max())
    render(figure)


def test_threshold_view_needs_both_classes(scores):
    with pytest.raises(metrics.MetricError, match="spoof"):
        plots.threshold_view(scores[scores["label"] == "bonafide"], 0.0, "One class")


def test_calibration_prints_cllr_and_is_reliable_where_scores_are_ratios():
    rng = np.random.default_rng(0)
    bonafide, spoof = rng.normal(2, 2, 20_000), rng.normal(-2, 2, 20_000)  # log-likelihood ratios of themselves
    raw = bonafide / 4, spoof / 4
    figure = plots.calibration(raw, (bonafide, spoof), "Calibration")
    before, after, truth = figure.axes
    value = metrics.cllr(*raw)
    assert before.get_title(loc="left") == f"before: Cllr {value:.3f}, at best {metrics.min_cllr(*raw):.3f} bits"
    assert after.get_title(loc="left").startswith(f"after: Cllr {metrics.cllr(bonafide, spoof):.3f}")
    assert before.get_xlim() == after.get_xlim()
    lines = {line.get_label(): line for line in truth.lines}
    assert len(lines["after"].get_xdata()) == 10
    np.testing.assert_allclose(lines["after"].get_ydata(), lines["after"].get_xdata(), atol=6)
    assert np.abs(lines["before"].get_ydata() - lines["before"].get_xdata()).max() > 15
    assert lines["before"].get_marker() != lines["after"].get_marker()


def test_calibration_leaves_out_bins_of_few_clips():
    pair = np.array([-3.0] * 10 + [3.0] * 9), np.array([-3.0] * 10)
    lines = {line.get_label(): line for line in plots.calibration(pair, pair).axes[2].lines}
    assert lines["before"].get_xdata() == pytest.approx([100 / (1 + np.exp(3))])
    assert lines["before"].get_ydata() == pytest.approx([100 * (10 / 19) / (10 / 19 + 1)])
