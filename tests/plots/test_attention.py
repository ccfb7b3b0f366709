"""Attention maps, read back from their axes."""

import numpy as np
import pytest

from aasist_lib import plots
from aasist_lib.plots import PlotError
from tests.plots.looking import texts


def test_attention_shares_the_time_axis_and_is_relative(clip):
    figure = plots.attention_over_clip(**clip, title="A clip")
    wave, spectrum, strips, over, *bars = figure.axes
    assert {axes.get_xlim() for axes in (wave, spectrum, strips, over)} == {(0.0, 1.0)}
    assert strips.get_xlabel() == "Time (s)"
    assert [bar.get_ylabel() for bar in bars] == ["Level (dB re full scale)", "× even"]
    graph, stack = over.patches
    assert graph.get_data().values == pytest.approx(clip["node"] * 10)
    assert graph.get_data().edges == pytest.approx(clip["seconds"])
    assert stack.get_data().values.max() == 10
    assert texts(over.get_legend()) == ["graph nodes", "stack node"]
    assert strips.collections[0].get_array().shape == (2, 10)
    level = spectrum.images[0].get_array()
    kilohertz = np.linspace(0, 8, level.shape[0])
    assert kilohertz[level[:, -5].argmax()] == pytest.approx(3, abs=0.05)
    assert level.max() == pytest.approx(20 * np.log10(0.5), abs=0.5)  # the tone's amplitude is 0.5
    assert level[:, 5].max() < -100  # silence
    assert spectrum.images[0].get_cmap().name == "viridis"


def test_attention_with_bands_has_one_more_panel(clip):
    band = np.array([0.1, 0.2, 0.7])
    figure = plots.attention_over_clip(**clip, band=band)
    below = figure.axes[-1]
    assert below.get_xlabel() == "Feature band (number)"
    assert below.patches[0].get_data().values == pytest.approx(3 * band)


def test_attention_needs_edges_not_centres(clip):
    with pytest.raises(PlotError, match="10 node edges, 10 node and 10 stack values"):
        plots.attention_over_clip(**{**clip, "seconds": clip["seconds"][:-1]})


def test_attention_matrix():
    matrix = np.arange(6.0).reshape(2, 3) / 15
    axes, bar = plots.attention_matrix(matrix, "read", "reader", "Map").axes
    np.testing.assert_array_equal(axes.images[0].get_array(), matrix)
    assert axes.images[0].get_cmap().name == "cividis"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("read", "reader")
    assert bar.get_ylabel() == "Attention (fraction of a row)"
