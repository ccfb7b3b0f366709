"""Score histograms, read back from their axes."""

import numpy as np
import pandas as pd
import pytest

from aasist_lib import metrics, plots
from tests.plots.looking import texts


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
