"""The score curve over time, read back from its axes."""

import numpy as np
import pandas as pd
import pytest

from aasist_lib import plots
from tests.plots.looking import render, texts


@pytest.fixture
def timeline():
    start = np.array([0, 1.5, 3, 4.5, 5.2])
    return pd.DataFrame({"start": start, "end": start + 3, "score": [2.0, 1.5, -1.0, -2.0, 0.5]})


@pytest.fixture
def truth():
    return pd.DataFrame({"start": [0, 4.0], "end": [4.0, 8.2], "label": ["bonafide", "spoof"]})


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_windows_stand_at_their_middles_and_are_marked_by_the_decision(timeline):
    top, bottom = plots.score_timeline(timeline, 0.5, np.full(410, 0.2), "a.wav").axes
    drawn = lines(bottom)
    accepted, rejected = drawn["taken for bona fide (2)"], drawn["taken for spoof (3)"]
    assert accepted.get_xdata().tolist() == [1.5, 3] and accepted.get_ydata().tolist() == [2, 1.5]
    assert rejected.get_xdata().tolist() == pytest.approx([4.5, 6, 6.7]), "a score at the threshold is taken for spoof"
    assert accepted.get_marker() != rejected.get_marker() and rejected.get_markerfacecolor() == "white"
    assert set(drawn["threshold 0.50"].get_ydata()) == {0.5}
    assert bottom.get_xlim() == top.get_xlim() == (0, 8.2) and bottom.get_xlabel() == "Time (s)"
    assert top.get_title(loc="left") == "a.wav"


def test_the_envelope_keeps_every_peak(timeline):
    peaks = np.full(100_000, 0.1)
    peaks[77_777] = 0.9
    top, _ = plots.score_timeline(timeline, 0.5, peaks, "a.wav").axes
    outline = top.collections[0].get_paths()[0].vertices
    assert outline[:, 1].max() == 0.9 and outline[:, 1].min() == -0.9 and len(outline) < 4000
    place = outline[outline[:, 1].argmax(), 0]
    assert place == pytest.approx(8.2 * 0.77777, abs=0.01)


def test_what_is_known_to_be_spoofed_is_hatched_in_both_panels(timeline, truth):
    figure = plots.score_timeline(timeline, 0.5, np.full(410, 0.2), "a.wav", truth)
    for axes in figure.axes:
        (patch,) = axes.patches
        assert patch.get_hatch() and patch.get_extents().width > 0
        assert (patch.get_x(), patch.get_x() + patch.get_width()) == pytest.approx((4, 8.2))
    assert "in truth spoofed" in texts(figure.legends[0])


def test_long_recordings_are_in_minutes_and_have_small_marks():
    start = 1.5 * np.arange(500)
    hour = pd.DataFrame({"start": start, "end": start + 3, "score": np.sin(start)})
    _, bottom = plots.score_timeline(hour, 0.0, np.full(9000, 0.2), "talk").axes
    assert bottom.get_xlabel() == "Time (min)" and bottom.get_xlim()[1] == pytest.approx((499 * 1.5 + 3) / 60)
    assert max(line.get_markersize() for line in bottom.get_lines() if line.get_marker() in "os") == 2


def test_one_window_alone_and_equal_bytes(timeline, truth):
    assert render(plots.score_timeline(timeline[:1], 0.5, np.full(5, 0.2), "a.wav"))
    first, second = (render(plots.score_timeline(timeline, 0.5, np.full(410, 0.2), "a", truth), "svg") for _ in range(2))
    assert first == second


def test_an_empty_timeline_is_refused(timeline):
    with pytest.raises(plots.PlotError, match="empty"):
        plots.score_timeline(timeline[:0], 0.5, np.zeros(3), "a.wav")
    with pytest.raises(plots.PlotError, match="column.* score"):
        plots.score_timeline(timeline.drop(columns="score"), 0.5, np.zeros(3), "a.wav")


def test_windows_without_speech_are_crosses_and_neither_of_the_decisions(timeline):
    decisions = ["bonafide", "undecided: no speech", "spoof", "undecided: no speech", "bonafide"]
    _, bottom = plots.score_timeline(timeline.assign(decision=decisions), 0.0, np.full(410, 0.2), "a.wav").axes
    drawn = lines(bottom)
    assert drawn["undecided: no speech (2)"].get_xdata().tolist() == [3, 6]
    assert drawn["undecided: no speech (2)"].get_marker() == "x"
    assert "taken for bona fide (2)" in drawn and "taken for spoof (1)" in drawn
