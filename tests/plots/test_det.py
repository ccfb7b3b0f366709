"""Figures of error rates, read back from their axes."""

import numpy as np
import pytest

from aasist_lib import metrics, plots
from tests.plots.looking import render, texts


def test_det_draws_the_curve_and_marks_the_eer(scores):
    bonafide, spoof = metrics.split_classes(scores["label"], scores["score"])
    eer, _ = metrics.eer(bonafide, spoof)
    band = metrics.det_band(bonafide, spoof, replicates=20)
    figure = plots.det({"ours": (bonafide, spoof), "worse": (bonafide - 1, spoof)}, {"ours": band})
    (axes,) = figure.axes
    assert axes.get_xlim() == axes.get_ylim()
    ours = axes.lines[1]
    far, frr = ours.get_data()
    curve = metrics.det_curve(bonafide, spoof)
    drawn = set(zip(curve.far, curve.frr, strict=True))
    low, high = axes.get_xlim()
    inside = [(x, y) for x, y in zip(far, frr, strict=True) if low < x < high and low < y < high]
    assert len(inside) > 30
    assert set(inside) <= drawn
    (mark,) = [line for line in axes.lines if line.get_label().startswith("ours")]
    assert mark.get_data() == ([eer], [eer])
    assert texts(figure.legends[0]) == [
        f"ours: EER {eer:.2%}",
        f"worse: EER {metrics.eer(bonafide - 1, spoof)[0]:.2%}",
    ]
    assert ours.get_linestyle() != axes.lines[3].get_linestyle()
    assert len(axes.collections) == 1  # the band
    render(figure)
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert {"1", "10", "50"} <= set(ticks)
    # Probit: 50 % to 84.1 % is as far as 50 % to 15.9 %.
    place = [axes.transData.transform((rate, 0.1))[0] for rate in (0.1586552539, 0.5, 0.8413447461)]
    assert place[1] - place[0] == pytest.approx(place[2] - place[1], rel=1e-6)


@pytest.mark.parametrize("shift", [100.0, -1.0])
def test_det_of_perfect_and_of_useless_scores(shift):
    rng = np.random.default_rng(0)
    figure = plots.det({"edge": (rng.normal(shift, 1, 50), rng.normal(0, 1, 50))})
    low, high = figure.axes[0].get_xlim()
    (mark,) = [line for line in figure.axes[0].lines if line.get_label().startswith("edge")]
    assert low <= mark.get_xdata()[0] <= high
    assert high == (0.6 if shift > 0 else 0.99)
    render(figure)
