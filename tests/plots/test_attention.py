"""Attention maps, read back from their axes."""

import numpy as np
import pandas as pd
import pytest

from aasist_lib import plots
from aasist_lib.plots import PlotError
from tests.plots.looking import texts


def test_attention_shares_the_time_axis_and_is_relative(clip):
    figure = plots.attention_over_clip(**clip, title="A clip")
    wave, spectrum, strips, *bars, over = sorted(figure.axes, key=lambda axes: axes.get_ylabel() == "Attention (× even)")
    assert {axes.get_xlim() for axes in (wave, spectrum, strips, over)} == {(0.0, 1.0)}
    assert strips.get_xlabel() == "Time (s)"
    assert [bar.get_ylabel() for bar in bars] == ["Level (dB)", "× even"]
    nodes, stack = over.patches
    assert nodes.get_data().values == pytest.approx(clip["curves"]["nodes"] * 10)
    assert nodes.get_data().edges == pytest.approx(clip["seconds"])
    assert stack.get_data().values.max() == 10 and stack.get_linestyle() != nodes.get_linestyle()
    assert texts(over.get_legend()) == ["nodes", "stack"]
    assert strips.collections[0].get_array().shape == (3, 10)
    assert [label.get_text() for label in strips.get_yticklabels()] == ["graph", "stack", "nodes"]  # from the bottom
    level = spectrum.images[0].get_array()
    kilohertz = np.linspace(0, 8, level.shape[0])
    assert kilohertz[level[:, -5].argmax()] == pytest.approx(3, abs=0.05)
    assert level.max() == pytest.approx(20 * np.log10(0.5), abs=0.5)  # the tone's amplitude is 0.5
    assert level[:, 5].max() < -100  # silence
    assert spectrum.images[0].get_cmap().name == "viridis"


def test_attention_needs_edges_not_centres(clip):
    with pytest.raises(PlotError, match="'nodes' .*10 .*9 "):
        plots.attention_over_clip(**{**clip, "seconds": clip["seconds"][:-1]})


def test_a_signed_map_has_a_scale_around_nothing(clip):
    values = np.linspace(-1, 3, 10)
    figure = plots.map_over_clip(clip["wave"], clip["rate"], clip["seconds"], values, "log-odds", signed=True)
    strip = next(axes for axes in figure.axes if axes.collections and axes.get_xlabel() == "Time (s)")
    assert strip.collections[0].get_clim() == (-3, 3) and strip.collections[0].get_cmap().name == "PuOr_r"
    np.testing.assert_allclose(strip.collections[0].get_array().ravel(), values)
    plain = plots.map_over_clip(clip["wave"], clip["rate"], clip["seconds"], values, "dB")
    assert next(axes for axes in plain.axes if axes.get_xlabel() == "Time (s)").collections[0].get_cmap().name == "cividis"
    with pytest.raises(PlotError, match="11 .*9 "):
        plots.map_over_clip(clip["wave"], clip["rate"], clip["seconds"], values[:-1], "dB")


def test_graph_maps_mark_the_nodes_kept():
    maps = {"temporal": np.eye(6), "spectral": np.full((4, 4), 0.25)}
    figure = plots.graph_maps(maps, {"temporal": [1, 4], "spectral": [0]})
    temporal, spectral = figure.axes[:2]
    assert list(temporal.lines[0].get_xdata()) == [1, 4] and list(spectral.lines[0].get_xdata()) == [0]
    np.testing.assert_array_equal(temporal.images[0].get_array(), np.eye(6))
    assert texts(temporal.get_legend()) == ["kept by pooling"]


def test_stream_maps_write_the_share_of_every_block():
    matrix = np.zeros((6, 5))  # 3 temporal, 2 spectral, the stack node
    matrix[:3, :3], matrix[3:5, 3:], matrix[5, 0] = 1 / 3, 1 / 2, 1
    figure = plots.stream_maps([matrix, matrix], 3)
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == ["T→T  100%", "T→S  0%", "S→T  0%", "S→S  100%", "stack→T  100%", "stack→S  0%"]
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["stream 1", "stream 2"]


def test_contributions_are_hatched_below_zero():
    (axes,) = plots.contributions({"first": 1.5, "second": -0.5}, "log-odds", "Parts").axes
    second, first = axes.patches  # from the bottom
    assert (first.get_width(), second.get_width()) == (1.5, -0.5)
    assert second.get_hatch() and not first.get_hatch()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["second", "first"]


def test_attention_by_attack_has_a_row_each_with_the_first_on_top():
    table = pd.DataFrame([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], index=["bona fide", "lpc", "mlsa"])
    axes = plots.attention_by_attack({"nodes": table}, "Feature band").axes[0]
    np.testing.assert_array_equal(axes.collections[0].get_array(), table.to_numpy()[::-1])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mlsa", "lpc", "bona fide"]
    assert axes.get_xlabel() == "Feature band"
    by_frequency = plots.attention_by_attack({"nodes": table}, "", np.array([0.0, 1000, 8000])).axes[0]
    assert by_frequency.get_xlabel() == "Frequency (kHz)" and by_frequency.get_xlim() == (0, 8)


def test_class_difference_marks_what_is_clear_of_zero():
    table = pd.DataFrame({"place": [0, 1], "bonafide": [1.0, 1.0], "spoof": [1.1, 2.0], "difference": [0.1, 1.0],
                          "low": [-0.1, 0.8], "high": [0.3, 1.2]})  # fmt: skip
    upper, lower = plots.class_difference(table, "Feature band").axes
    assert texts(upper.get_legend()) == ["bona fide", "spoof"]
    (marked,) = [line for line in lower.lines if line.get_label() == "interval without 0"]
    assert list(marked.get_xdata()) == [1]


def test_silence_attention_has_both_classes_of_every_map():
    rows = [(name, label, 5, value, value - 0.1, value + 0.2) for name in ("nodes", "stack")
            for label, value in (("bonafide", 0.5), ("spoof", 1.5))]  # fmt: skip
    table = pd.DataFrame(rows, columns=["map", "label", "clips", "attention", "low", "high"])
    axes = plots.silence_attention(table).axes[0]
    assert texts(axes.get_legend()) == ["bona fide", "spoof"]
    assert [line.get_xdata()[0] for line in axes.lines if line.get_marker() in "os"] == [0.5, 1.5]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["nodes", "stack"]


def test_two_systems_stand_one_above_the_other(clip):
    other = {name: curve[::-1] for name, curve in clip["curves"].items()}
    figure = plots.two_systems(clip["wave"], clip["rate"], clip["seconds"], {"one": clip["curves"], "two": other})
    strip = figure.axes[1]
    assert strip.get_ylabel() == "nodes" and [label.get_text() for label in strip.get_yticklabels()] == ["two", "one"]
    values = strip.collections[0].get_array()
    np.testing.assert_allclose(values[1], clip["curves"]["nodes"] * 10)
    np.testing.assert_allclose(values[0], clip["curves"]["nodes"][::-1] * 10)
