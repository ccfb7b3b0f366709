"""Figures of breakdowns: the EER of each attack, and of each pair of attack and codec."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import GREY, PALETTE, Array, PlotError, make_figure, need, styled


@styled
def eer_by_attack(table: pd.DataFrame, title: str = "EER by attack") -> Figure:
    """Draw the EER of each row of a `metrics.breakdown` table with its interval; the hardest attack is on top.

    Circles are attacks known from training, squares are unseen attacks, diamonds are pooled rows.
    """
    need(table, "row", "spoof", "eer", "eer_low", "eer_high")
    by = list(table.columns[: list(table.columns).index("row")])
    cells = table[(table["row"] == "cell") & table["eer"].notna()].sort_values("eer", kind="stable")
    shown = pd.concat([table[table["row"] == "pooled"].iloc[::-1], cells])
    names = [" · ".join(dict.fromkeys(row)) for row in shown[by].astype(str).to_numpy()]
    seen = shown["seen"] if "seen" in shown else pd.Series("-", index=shown.index)
    kinds = np.where(shown["row"] == "pooled", "pooled", seen.replace("-", "attack"))
    styles = {"known": ("o", 0), "attack": ("o", 0), "untold": ("o", 0), "unseen": ("s", 3), "pooled": ("D", 7)}
    figure, axes = make_figure(7.2, 1.3 + 0.33 * len(shown))
    middle, low, high = (100 * shown[column].to_numpy() for column in ("eer", "eer_low", "eer_high"))
    for kind, (marker, colour) in styles.items():
        here = np.flatnonzero(kinds == kind)
        if here.size:
            style = {"fmt": marker, "color": PALETTE[colour], "markersize": 6.5, "capsize": 3, "linewidth": 1.6}
            spread = np.abs(np.array([low, high]) - middle)[:, here]
            axes.errorbar(middle[here], here, xerr=spread, label=kind, **style)
    digits = 1 if middle.max() >= 10 else 2
    for position, count in enumerate(shown["spoof"]):
        text = f"{middle[position]:.{digits}f} %   ({count} clips)"
        axes.text(1.02, position, text, transform=axes.get_yaxis_transform(), va="center", color=GREY)
    pooled = int((shown["row"] == "pooled").sum())
    axes.axhline(pooled - 0.5, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(shown)), names)
    axes.set(xlabel="EER (%), with bootstrap interval", title=title, ylim=(-0.6, len(shown) - 0.4))
    axes.set_xlim(left=-0.02 * max(1.0, high.max()))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 0.0), borderaxespad=0.2)
    return figure


@styled
def breakdown_heatmap(table: pd.DataFrame, rows: str, columns: str, title: str = "EER of each cell") -> Figure:
    """Draw the EER (%) of each cell of a `metrics.breakdown` by two columns, with the number of spoofed clips below it.

    The hardest row is on top and the hardest column on the left. A cell without clips is hatched and empty. A cell without
    bona fide clips has no EER; it is hatched and shows only its count.

    Args:
        table: the result of `metrics.breakdown(scores, [rows, columns])`; its pooled rows and worst cell are not drawn.
        rows, columns: names of two of its columns, such as 'attack' and 'codec'.

    Raises:
        PlotError: a column is missing, the table is empty, or it was broken down by other columns too.
    """
    need(table, rows, columns, "row", "spoof", "eer")
    cells = table[table["row"] == "cell"]
    if cells.duplicated([rows, columns]).any():
        raise PlotError(f"a pair of {rows} and {columns} has more than one cell: pass a breakdown by these two columns only")
    rates = 100 * cells.pivot(index=rows, columns=columns, values="eer")
    rates = rates.loc[_hardest_first(rates.mean(axis=1)), _hardest_first(rates.mean(axis=0))]
    counts = cells.pivot(index=rows, columns=columns, values="spoof").reindex_like(rates)
    figure, axes = make_figure(2.6 + 0.72 * rates.shape[1], 1.5 + 0.42 * rates.shape[0])
    axes.grid(False)
    top = max(1.0, np.nan_to_num(rates.to_numpy()).max())
    image = axes.imshow(rates.to_numpy(), cmap="cividis", aspect="auto", vmin=0, vmax=top)
    _write_cells(axes, rates.to_numpy(), counts.to_numpy(), top)
    axes.set_xticks(range(rates.shape[1]), rates.columns, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(rates.shape[0]), _row_names(cells, rows, rates.index))
    below = "small numbers: spoofed clips of the cell"
    axes.set(xlabel=f"{columns.capitalize()} ({below})", ylabel=rows.capitalize(), title=title)
    figure.colorbar(image, ax=axes, label="EER (%)")
    return figure


def _hardest_first(means: pd.Series) -> pd.Index:
    return means.sort_values(ascending=False, kind="stable", na_position="last").index


def _row_names(cells: pd.DataFrame, rows: str, order: pd.Index) -> list[str]:
    """Return the rows' names; attacks that the table lists as unseen are marked."""
    unseen = set(cells.loc[cells["seen"] == "unseen", rows]) if "seen" in cells and rows == "attack" else set()
    return [f"{name} (unseen)" if name in unseen else str(name) for name in order]


def _write_cells(axes: Axes, rates: Array, counts: Array, highest: float) -> None:
    for (row, column), rate in np.ndenumerate(rates):
        known = not np.isnan(rate)
        if not known:
            corner = column - 0.5, row - 0.5
            axes.add_patch(Rectangle(corner, 1, 1, facecolor="0.95", edgecolor="0.7", hatch="///", linewidth=0))
        if np.isnan(counts[row, column]):
            continue
        colour = GREY if not known else "white" if rate < highest / 2 else "black"
        text = f"{rate:.1f}" if known else "–"
        axes.text(column, row - 0.14, text, ha="center", va="center", color=colour, fontsize="small")
        axes.text(column, row + 0.26, f"{counts[row, column]:.0f}", ha="center", va="center", color=colour, fontsize=6.5)
