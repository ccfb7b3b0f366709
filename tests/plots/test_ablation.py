"""The ablation figure, read back from the axes."""

import numpy as np
import pandas as pd
import pytest

from aasist_lib import plots
from tests.plots.looking import render, texts

EERS = {"frozen": (0.09, 0.1, 0.11), "full": (0.06, 0.07, 0.08), "probe": (0.12,)}


@pytest.fixture
def trainings():
    lines = [(row, seed, eer, eer - 0.02) for row, eers in EERS.items() for seed, eer in enumerate(eers)]
    return pd.DataFrame(lines, columns=["row", "seed", "dev_eer", "eval_eer"])


@pytest.fixture
def rows(trainings):
    table = trainings.groupby("row", sort=False)[["dev_eer", "eval_eer"]].mean().reset_index()
    for split in ("dev", "eval"):
        table[f"{split}_low"], table[f"{split}_high"] = table[f"{split}_eer"] - 0.01, table[f"{split}_eer"] + 0.015
    return table.assign(
        title=["frozen encoder", "all", "probe"], baseline=[False, False, True], paper_eer=[0.0912, 0.081, np.nan]
    )


def test_means_intervals_and_every_seed_are_drawn(rows, trainings):
    axes, _ = plots.ablation_figure(rows, trainings).axes
    for split, marker in (("dev", "o"), ("eval", "s")):
        marks = [line for line in axes.lines if line.get_marker() == marker]
        (means,) = [line for line in marks if line.get_label().startswith(split)]
        assert means.get_xdata() == pytest.approx(100 * rows[f"{split}_eer"])
        seeds = [line.get_xdata() for line in marks if line is not means]
        assert [list(each) for each in seeds] == [
            pytest.approx(100 * trainings.loc[trainings["row"] == row, f"{split}_eer"]) for row in EERS
        ]
        style = "-" if split == "dev" else "--"
        spans = [line.get_xdata() for line in axes.lines if line.get_linestyle() == style and line.get_marker() == "None"]
        expected = [[100 * row[f"{split}_low"], 100 * row[f"{split}_high"]] for _, row in rows.iterrows()]
        assert [list(span) for span in spans if span[0] > 0] == [pytest.approx(each) for each in expected]


def test_the_first_row_is_on_top_and_baselines_stand_below_a_line(rows, trainings):
    axes, paper = plots.ablation_figure(rows, trainings).axes
    labels = {label.get_text(): label.get_position()[1] for label in axes.get_yticklabels()}
    assert labels == {"frozen encoder\n(frozen)": 2, "all\n(full)": 1, "probe\n(probe)": 0}
    for panel in (axes, paper):
        assert [0.5, 0.5] in [list(line.get_ydata()) for line in panel.lines]
    alone = plots.ablation_figure(rows[:2], trainings).axes[0]
    assert [0.5, 0.5] not in [list(line.get_ydata()) for line in alone.lines]


def test_the_paper_s_values_have_a_panel_of_their_own(rows, trainings):
    figure = plots.ablation_figure(rows, trainings, "Demo")
    axes, paper = figure.axes
    (marks,) = [line for line in paper.lines if line.get_marker() == "D"]
    assert list(marks.get_xdata()) == pytest.approx([9.12, 8.1]) and list(marks.get_ydata()) == [2, 1]
    assert [text.get_text() for text in paper.texts] == ["9.12", "8.1"]
    assert paper.get_title("left") == "The paper, quoted" and "ASVspoof 5" in paper.get_xlabel()
    assert 9.12 not in np.concatenate([np.atleast_1d(line.get_xdata()) for line in axes.lines])
    assert "ASVspoof" not in axes.get_xlabel() and axes.get_title("left") == "Demo"
    assert texts(figure.legends[0])[0].startswith("dev")
    assert render(figure) == render(plots.ablation_figure(rows, trainings, "Demo"))


def test_an_ablation_without_any_quoted_row_can_be_drawn(rows, trainings):
    paper = plots.ablation_figure(rows.assign(paper_eer=np.nan), trainings).axes[1]
    assert not paper.texts and paper.get_xlim() == (0, 1)


def test_a_table_without_what_is_drawn_is_refused(rows, trainings):
    with pytest.raises(plots.PlotError, match="eval_low"):
        plots.ablation_figure(rows.drop(columns="eval_low"), trainings)
    with pytest.raises(plots.PlotError, match="empty"):
        plots.ablation_figure(rows, trainings[:0])
