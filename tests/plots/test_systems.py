"""Systems beside each other, read back from the axes."""

import numpy as np
import pytest

from aasist_lib import metrics, plots
from tests.plots.looking import render, texts


@pytest.fixture
def pair(scores):
    return metrics.split_classes(scores["label"], scores["score"])


def test_costs_over_priors_are_those_of_the_metrics(pair):
    worse = pair[0] - 1, pair[1]
    figure = plots.dcf_over_priors({"ours": pair, "worse": worse}, "Costs")
    (axes,) = figure.axes
    least, actual, other, _, useless = axes.lines
    priors = least.get_xdata()
    at = int(np.flatnonzero(priors == 0.05)[0])
    assert least.get_ydata()[at] == metrics.min_dcf(*pair)
    assert actual.get_ydata()[at] == metrics.act_dcf(*pair)
    assert least.get_ydata()[-3] == metrics.min_dcf(*pair, p_spoof=priors[-3])
    assert other.get_ydata()[at] == metrics.min_dcf(*worse)
    assert least.get_markevery() == [at] and useless.get_ydata() == [1, 1]
    assert np.all(least.get_ydata() <= actual.get_ydata()) and np.all(least.get_ydata() <= 1)
    assert texts(figure.legends[0])[0] == f"ours: minDCF {metrics.min_dcf(*pair):.3f} at 5 %"
    assert least.get_linestyle() != other.get_linestyle()
    render(figure)
    assert {"1", "5", "50"} <= {tick.get_text() for tick in axes.get_xticklabels()}


def test_costs_over_priors_show_bad_calibration_up_to_a_limit(pair):
    (axes,) = plots.dcf_over_priors({"shifted": (pair[0] + 50, pair[1] + 50)}).axes
    assert axes.lines[1].get_ydata().max() > 2 and axes.get_ylim() == (0, 2)


def test_comparison_shows_the_interval_of_each_way_to_draw(scores):
    other = scores["score"] + np.random.default_rng(1).normal(0, 1, 600)
    speakers = np.arange(600) % 8
    found = {
        "trials": metrics.paired_bootstrap(scores["label"], scores["score"], other, replicates=50),
        "speakers": metrics.paired_bootstrap(scores["label"], scores["score"], other, groups=speakers, replicates=50),
    }
    figure = plots.comparison(found, ("ours", "noisy"), "Two systems")
    eer, cost = figure.axes
    assert [label.get_text() for label in eer.get_yticklabels()] == ["speakers drawn (8)", "trials drawn (600)"]
    lines = [line for line in eer.lines if line.get_marker() == "|"]
    for line, paired in zip(lines, (found["speakers"], found["trials"]), strict=True):
        interval = paired.eer_difference
        assert list(line.get_xdata()) == pytest.approx([100 * interval.low, 100 * interval.high])
    points = [line.get_xdata()[0] for line in cost.lines if line.get_marker() == "o"]
    assert points == pytest.approx([found["trials"].min_dcf_difference.value] * 2)
    assert cost.texts[1].get_text().endswith(f"p = {found['trials'].min_dcf_p_value:.3f}")
    assert eer.get_xlim()[0] == -eer.get_xlim()[1]
    assert figure.get_supxlabel().startswith("← ours is better") and figure.get_suptitle() == "Two systems"
    render(figure)


def test_comparison_of_a_system_with_itself(pair):
    labels = np.repeat([1, 0], list(map(len, pair)))
    same = metrics.paired_bootstrap(labels, np.concatenate(pair), np.concatenate(pair), replicates=20)
    eer = plots.comparison({"trials": same}, ("a", "a")).axes[0]
    assert "p = 1.000" in eer.texts[0].get_text()
