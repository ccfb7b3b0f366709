"""The EER by layer, read back from the axes."""

import pandas as pd
import pytest

from aasist_lib import plots
from tests.plots.looking import render, texts


def test_each_measure_is_a_curve_with_its_interval_and_the_chosen_layer_is_marked():
    eers = {"known attacks": (0.1, 0.08), "left-out": (0.3, 0.2)}
    rows = [
        (layer, name, eer, eer - 0.02, eer + 0.03)
        for name, pair in eers.items()
        for layer, eer in zip((0, 7), pair, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["layer", "measure", "eer", "low", "high"])
    figure = plots.layer_eer_figure(table, 7)
    (axes,) = figure.axes
    known, left_out, mark = axes.lines
    assert list(known.get_ydata()) == pytest.approx([10, 8]) and list(left_out.get_ydata()) == pytest.approx([30, 20])
    assert set(mark.get_xdata()) == {7} and axes.get_ylim()[0] == 0 and len(axes.collections) == 2
    assert texts(figure.legends[0]) == ["known attacks", "left-out", "chosen: layer 7"]
    assert known.get_linestyle() != left_out.get_linestyle()
    render(figure)
    with pytest.raises(plots.PlotError, match="high"):
        plots.layer_eer_figure(table.drop(columns="high"), 7)
