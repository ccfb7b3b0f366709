"""Figure of the EER by encoder layer."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import GREY, PALETTE, make_figure, need, styled

STYLES = ((PALETTE[0], "-", "o"), (PALETTE[3], "--", "s"))


@styled
def layer_eer_figure(table: pd.DataFrame, chosen: int, title: str = "") -> Figure:
    """Draw the EER of each layer with its interval, one curve per measure, and mark the chosen layer.

    Args:
        table: from `experiments.layers.layer_eers`: `layer, measure, eer, low, high`, rates as fractions.
        chosen: from `experiments.layers.best_layer`.
    """
    need(table, "layer", "measure", "eer", "low", "high")
    figure, axes = make_figure(8.2, 4.2)
    for (name, part), (colour, line, marker) in zip(table.groupby("measure", sort=False), STYLES, strict=False):
        axes.fill_between(part["layer"], 100 * part["low"], 100 * part["high"], color=colour, alpha=0.15, linewidth=0)
        axes.plot(part["layer"], 100 * part["eer"], line, color=colour, marker=marker, markersize=6, label=name)
    axes.axvline(chosen, color=GREY, linestyle=":", linewidth=1.4, label=f"chosen: layer {chosen}")
    axes.set(xlabel="Layer (0 = input of the first transformer layer)", ylabel="EER on dev (%)", title=title)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    return figure
