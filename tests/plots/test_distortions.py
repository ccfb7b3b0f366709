"""What distortions do, read back from the axes."""

import numpy as np
import pandas as pd
import pytest

from aasist_lib import plots
from tests.plots.looking import render, texts


@pytest.fixture
def shifts():
    rows = [
        {"kind": kind, "intensity": intensity, "label": label, "shift": shift * intensity}
        for kind, shift in (("codec", -2.0), ("packet_loss", 0.5))
        for intensity in (0.0, 1.0, 1.8)
        for label in ("bonafide", "spoof")
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def matrix():
    rows = [("none", np.nan, True, 0.05, 0.03, 0.07), ("mp3", 16.0, True, 0.1, 0.07, 0.14)]
    rows += [("g726", 16.0, False, 0.2, 0.16, 0.25)]
    return pd.DataFrame(rows, columns=["codec", "kbps", "trained", "eer", "low", "high"])


def test_distortion_steps_show_waveforms_above_and_changes_below():
    time = np.arange(16_000) / 16_000
    clip = 0.5 * np.sin(2 * np.pi * 1000 * time)
    figure = plots.distortion_steps(clip, [clip, 0.1 * clip], ["same", "weaker"], 16_000, "gain")
    panels = figure.axes[:6]
    assert [axes.get_title(loc="left") for axes in panels[:3]] == ["clip", "same", "weaker"]
    assert panels[2].lines[0].get_ydata() == pytest.approx(0.1 * clip)
    same, weaker = (axes.images[0].get_array() for axes in panels[4:])
    assert np.abs(same).max() == 0
    assert weaker.min() == pytest.approx(-20, abs=0.1) and weaker.max() <= 0
    render(figure)


def test_score_shift_map_has_a_panel_a_class_and_a_number_in_each_cell(shifts):
    figure = plots.score_shift_map(shifts)
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["bona fide", "spoof"]
    for axes in figure.axes[:2]:
        assert [text.get_text() for text in axes.texts] == ["-0.0", "-2.0", "-3.6", "+0.0", "+0.5", "+0.9"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["codec", "packet loss"]
    render(figure)


def test_codec_rates_draw_rate_and_interval_and_mark_what_training_lacks(matrix):
    figure = plots.codec_rates({"with": matrix, "without": matrix.assign(eer=0.2, low=0.1, high=0.4)})
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["uncompressed", "mp3 16 kbit/s", "g726 16 kbit/s (not in the list)"]
    assert texts(figure.legends[0]) == ["with", "without"]
    assert axes.get_title(loc="left").endswith("\nwith is better beyond the intervals in 1 of 3 rows, without in 0")
    points, _, (bars,) = axes.containers[0]
    assert np.asarray(points.get_xdata(), float) == pytest.approx(100 * matrix["eer"].to_numpy())
    ends = np.array([segment[:, 0] for segment in bars.get_segments()])
    assert ends == pytest.approx(100 * matrix[["low", "high"]].to_numpy())
    assert len(axes.patches) == 1
    render(figure)


def test_systems_measured_on_other_codecs_are_refused(matrix):
    with pytest.raises(plots.PlotError, match="'b' .*'a'"):
        plots.codec_rates({"a": matrix, "b": matrix.assign(kbps=[np.nan, 32.0, 16.0])})
