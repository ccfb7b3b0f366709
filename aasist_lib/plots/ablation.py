"""Figure of the ablation results."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import GREY, PALETTE, make_figure, need, styled

SPLITS = {"dev": ("o", PALETTE[0], "-"), "eval": ("s", PALETTE[3], "--")}


@styled
def ablation_figure(rows: pd.DataFrame, trainings: pd.DataFrame, title: str = "Ablation") -> Figure:
    """Draw the EER of each ablation row: a small mark per seed and, above them, a large mark for the mean with its interval.

    The paper's values are for ASVspoof 5, so they are drawn in a separate panel with its own scale, on the right.

    Args:
        rows: `ablation.Summary.rows`, drawn from top to bottom; `dev_eer, dev_low, dev_high` and the same for eval, as
            fractions; `paper_eer` is NaN if the paper has no such row.
        trainings: one row per training run, as from `run_ablation`: `row, seed, dev_eer, eval_eer`.
    """
    need(rows, "row", "title", "baseline", "paper_eer", "dev_eer", "dev_low", "dev_high", "eval_eer", "eval_low", "eval_high")
    need(trainings, "row", "seed", "dev_eer", "eval_eer")
    figure, (axes, paper) = make_figure(9.8, 1.7 + 0.62 * len(rows), 1, 2, sharey=True, width_ratios=[3.2, 1])
    places = np.arange(len(rows))[::-1]
    for offset, (split, (marker, colour, line)) in zip((0.24, -0.14), SPLITS.items(), strict=True):
        _draw_split(axes, rows, places + offset, split, {"color": colour, "linestyle": line}, marker)
        for place, row in zip(places, rows["row"], strict=True):
            seeds = 100 * trainings.loc[trainings["row"] == row, f"{split}_eer"].to_numpy()
            axes.plot(seeds, np.full(seeds.size, place + offset - 0.15), marker, color=colour, markersize=3.2, alpha=0.8)
    quoted = rows["paper_eer"].notna().to_numpy()
    paper.plot(100 * rows["paper_eer"][quoted], places[quoted], "D", color=GREY, markerfacecolor="white", markersize=7)
    for value, place in zip(100 * rows["paper_eer"][quoted], places[quoted], strict=True):
        paper.annotate(f"{value:.4g}", (value, place), xytext=(0, 8), textcoords="offset points", ha="center", color=GREY)
    steps = int((~rows["baseline"].astype(bool)).sum())
    if 0 < steps < len(rows):
        for panel in (axes, paper):
            panel.axhline(len(rows) - steps - 0.5, color=GREY, linewidth=0.8)
    axes.set_yticks(places, [f"{row.title}\n({row.row})" for row in rows.itertuples()])
    axes.set(xlabel="EER (%), mean over seeds with interval", title=title, ylim=(-0.6, len(rows) - 0.4))
    axes.set_xlim(left=0)
    paper.tick_params(axis="y", length=0)
    paper.set(xlabel="EER (%), ASVspoof 5", title="The paper, quoted")
    paper.set_xlim(0, 1.25 * 100 * rows["paper_eer"].max() if quoted.any() else 1)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def _draw_split(axes: Axes, rows: pd.DataFrame, places: np.ndarray, split: str, style: dict, marker: str) -> None:
    middle, low, high = (100 * rows[f"{split}_{name}"].to_numpy() for name in ("eer", "low", "high"))
    for place, left, right in zip(places, low, high, strict=True):
        axes.plot([left, right], [place, place], **style, linewidth=1.8)
    label = f"{split}: mean and interval; small: each seed"
    axes.plot(middle, places, marker, color=style["color"], markersize=7.5, label=label)
