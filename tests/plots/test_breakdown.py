"""Breakdown figures, read back from their axes."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from aasist_lib import metrics, plots
from aasist_lib.plots import PlotError
from tests.plots.looking import render, texts


def test_attacks_are_sorted_and_marked(scores):
    table = metrics.breakdown(scores, ["attack"], known={"lpc"}, replicates=50)
    figure = plots.eer_by_attack(table, "By attack")
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["pooled unseen", "pooled known", "pooled", "lpc", "piper"]  # from below: the hardest on top
    assert texts(axes.get_legend()) == ["known", "unseen", "pooled"]
    known, unseen, pooled = axes.containers
    assert [each.lines[0].get_marker() for each in (known, unseen, pooled)] == ["o", "s", "D"]
    piper = table[table["attack"] == "piper"].iloc[0]
    assert unseen.lines[0].get_xdata().tolist() == [100 * piper["eer"]]
    (segment,) = unseen.lines[2][0].get_segments()
    assert segment[:, 0] == pytest.approx([100 * piper["eer_low"], 100 * piper["eer_high"]])
    assert f"{100 * piper['eer']:.1f} %   (200 clips)" in [text.get_text() for text in axes.texts]
    assert axes.get_xlabel().startswith("EER (%)")


def test_small_rates_are_printed_with_two_digits(scores):
    table = metrics.breakdown(scores, ["attack"], replicates=5).assign(eer=0.0123, eer_low=0.01, eer_high=0.02)
    assert "1.23 %   (200 clips)" in [text.get_text() for text in plots.eer_by_attack(table).axes[0].texts]


def test_two_columns_name_their_cells(scores):
    table = metrics.breakdown(scores.assign(codec="mp3"), ["attack", "codec"], replicates=5)
    names = [label.get_text() for label in plots.eer_by_attack(table).axes[0].get_yticklabels()]
    assert names == ["pooled", "lpc · mp3", "piper · mp3"]


@pytest.fixture
def cells(scores):
    """A breakdown by attack and codec; no piper clip went through mp3, and no bona fide clip through g722."""
    codec = np.array(["none", "mp3", "g722"])[np.arange(600) % 3]
    codec[(scores["attack"] == "piper") & (codec == "mp3")] = "none"
    codec[(scores["label"] == "bonafide") & (codec == "g722")] = "none"
    return metrics.breakdown(scores.assign(codec=codec), ["attack", "codec"], known={"lpc"}, replicates=5)


def test_heat_map_holds_the_cells_hardest_first(cells):
    figure = plots.breakdown_heatmap(cells, "attack", "codec", "Cells")
    axes, bar = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["piper (unseen)", "lpc"]
    codecs = [label.get_text() for label in axes.get_xticklabels()]
    assert sorted(codecs) == ["g722", "mp3", "none"] and codecs[-1] == "g722"  # g722 has no EER at all
    image = axes.images[0].get_array()
    lpc = cells[(cells["attack"] == "lpc") & (cells["row"] == "cell")].set_index("codec")
    for column, codec in enumerate(codecs[:2]):
        assert image[1, column] == 100 * lpc.loc[codec, "eer"]
    shown = [text.get_text() for text in axes.texts]
    piper = cells[(cells["attack"] == "piper") & (cells["codec"] == "none")].iloc[0]
    assert f"{100 * piper['eer']:.1f}" in shown and str(piper["spoof"]) in shown
    assert bar.get_ylabel() == "EER (%)" and bar.get_ylim()[0] == 0
    assert axes.get_title(loc="left") == "Cells"
    render(figure)


def test_heat_map_hatches_cells_without_an_eer(cells):
    (axes, _) = plots.breakdown_heatmap(cells, "attack", "codec").axes
    hatched = {(round(patch.get_x() + 0.5), round(patch.get_y() + 0.5)) for patch in axes.patches if patch.get_hatch()}
    codecs = [label.get_text() for label in axes.get_xticklabels()]
    assert all(isinstance(patch, Rectangle) for patch in axes.patches)
    assert hatched == {(codecs.index("g722"), 0), (codecs.index("g722"), 1), (codecs.index("mp3"), 0)}
    places = {(text.get_text(), round(text.get_position()[0]), round(text.get_position()[1])) for text in axes.texts}
    assert ("–", codecs.index("g722"), 0) in places  # spoofed clips, but no bona fide ones
    assert not any(place[1:] == (codecs.index("mp3"), 0) for place in places)  # no clips at all


def test_heat_map_of_a_perfect_detector_can_be_read(cells):
    axes, bar = plots.breakdown_heatmap(cells.assign(eer=0.0), "attack", "codec").axes
    assert bar.get_ylim() == (0, 1)
    assert {text.get_color() for text in axes.texts} == {"white"}


def test_heat_map_refuses_other_breakdowns(scores, cells):
    with pytest.raises(PlotError, match="column.* codec"):
        plots.breakdown_heatmap(metrics.breakdown(scores, ["attack"], replicates=5), "attack", "codec")
    speaker = np.where(scores["label"] == "bonafide", "-", np.array(["a", "b"])[np.arange(600) // 2 % 2])
    table = metrics.breakdown(scores.assign(codec="-", speaker=speaker), ["attack", "codec", "speaker"], replicates=5)
    with pytest.raises(PlotError, match="attack.* codec.*one cell"):
        plots.breakdown_heatmap(table, "attack", "codec")
