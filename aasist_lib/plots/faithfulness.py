"""Figures of the faithfulness of maps: localisation, deletion and insertion, and maps of a clip with known spoofed parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .det import LINES, MARKERS
from .style import CLASSES, GREY, PALETTE, Array, PlotError, make_figure, need, styled

KINDS = {  # kind: name, colour, marker
    "both": ("both directions", "black", "D"),
    "spoof in bona fide": ("spoof in bona fide", PALETTE[3], "o"),
    "bona fide in spoof": ("bona fide in spoof", PALETTE[0], "s"),
    "control": ("control: nothing spoofed", "0.55", "x"),
}


@styled
def localisation(table: pd.DataFrame, title: str = "Does the map find the spoofed speech?") -> Figure:
    """Draw ROC AUC and pointing-game hits of each map with intervals; dotted lines show chance level.

    Args:
        table: the result of `explain.faithfulness.localisation_table`: columns `map, kind, auc, hits, chance`, and `_low` and
            `_high` of `auc` and `hits`; one row per map and kind. Maps are drawn in the table's order, from top to bottom.
    """
    need(table, "map", "kind", "auc", "auc_low", "auc_high", "hits", "hits_low", "hits_high", "chance")
    if table.duplicated(["map", "kind"]).any():
        raise PlotError("the table has several rows per map and kind: choose one split and one group of attacks")
    maps = list(dict.fromkeys(table["map"]))
    kinds = [kind for kind in KINDS if kind in set(table["kind"])]
    figure, panels = make_figure(9.6, 1.6 + 0.42 * len(maps), 1, 2, sharey=True)
    for axes in panels:
        for row in range(1, len(maps), 2):
            axes.axhspan(row - 0.5, row + 0.5, color="0.96", zorder=0)
    for number, kind in enumerate(kinds):
        label, colour, marker = KINDS[kind]
        rows = table[table["kind"] == kind].set_index("map")
        heights = np.array([maps.index(name) for name in rows.index]) + (number - (len(kinds) - 1) / 2) * 0.19
        for axes, column in zip(panels, ("auc", "hits"), strict=True):
            middle, low, high = (
                100 ** (column == "hits") * rows[name].to_numpy() for name in (column, f"{column}_low", f"{column}_high")
            )
            spread = np.abs(np.stack([middle - low, high - middle]))
            axes.errorbar(middle, heights, xerr=spread, fmt=marker, color=colour, markersize=4.5, linewidth=1.3, label=label)
        chance = 100 * rows["chance"].mean()
        panels[1].axvline(chance, color=colour, linestyle=":", linewidth=1.2, zorder=1)
    panels[0].axvline(0.5, color=GREY, linestyle=":", linewidth=1.2, zorder=1)
    panels[0].set(xlabel="ROC AUC over a clip's 20 ms frames (dotted: chance)")
    panels[1].set(xlabel="Maximum on a spoofed frame (% of clips; dotted: chance)", xlim=(-3, 103))
    panels[0].set_yticks(range(len(maps)), [name.replace("_", " ") for name in maps])
    panels[0].set_ylim(len(maps) - 0.5, -0.5)
    for axes in panels:
        axes.grid(axis="y", visible=False)
    figure.suptitle(title, x=0.01, ha="left")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=len(kinds))
    return figure


@styled
def deletion_insertion(
    curves: pd.DataFrame, names: Sequence[str] | None = None, title: str = "Support of the decision"
) -> Figure:
    """Draw the mean support of the decisions as frames are deleted (left) or inserted (right) in the order of each map.

    The curve of a good map falls fast on the left and rises fast on the right. Below 0 the decision has changed. If present,
    the map 'random' is always drawn, in grey.

    Args:
        curves: the result of `explain.faithfulness.deletion_insertion`: `map, curve, share, support`.
        names: the maps to draw; None = all.
    """
    need(curves, "map", "curve", "share", "support")
    names = [name for name in dict.fromkeys(curves["map"]) if names is None or name in names or name == "random"]
    means = curves.groupby(["curve", "map", "share"])["support"].mean()
    figure, panels = make_figure(9.6, 4.2, 1, 2, sharey=True)
    for axes, (curve, done) in zip(panels, (("deletion", "left out"), ("insertion", "put back")), strict=True):
        for number, name in enumerate(names):
            line = means[curve, name]
            style = {"color": PALETTE[number % len(PALETTE)], "linestyle": LINES[number % len(LINES)]}
            style |= {"marker": MARKERS[number % len(MARKERS)], "markersize": 4.5, "linewidth": 1.6}
            if name == "random":
                style |= {"color": GREY, "linewidth": 2.4}
            axes.plot(100 * line.index.to_numpy(), line.to_numpy(), **style, label=name.replace("_", " "))
        axes.axhline(0, color=GREY, linestyle=":", linewidth=1.2)
        axes.set(xlabel=f"Frames {done} (%)", xlim=(0, 100), title=curve.capitalize())
    panels[0].set_ylabel("Support of the decision (log-odds)")
    figure.suptitle(title, x=0.01, ha="left")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=min(len(names), 6))
    return figure


@styled
def partial_clip(
    wave: Array, rate: int, spoofed: Sequence[tuple[float, float]], maps: Mapping[str, Array], frame_seconds: float = 0.02,
    title: str = "A partly spoofed clip",
) -> Figure:  # fmt: skip
    """Draw a clip with its spoofed segments hatched and, below it, maps over its frames on the same time axis.

    Args:
        wave: (samples,) in [-1, 1].
        rate: sampling rate in Hz.
        spoofed: start and end of each spoofed segment in seconds; empty for a bona fide clip.
        maps: name -> values per frame, (frames,). A line at 0 is drawn if a map has values of both signs.
        frame_seconds: length of a frame in seconds.
    """
    if not maps:
        raise PlotError("there is no map to draw: pass at least one, as name -> values per frame")
    heights = [1.6, *[1.0] * len(maps)]
    figure, panels = make_figure(8, 0.6 + 1.05 * sum(heights), len(heights), 1, sharex=True, height_ratios=heights)
    name, colour, _, hatch = CLASSES["spoof"]
    panels[0].plot(np.arange(len(wave)) / rate, wave, color="0.4", linewidth=0.5)
    panels[0].set(ylabel="Amplitude", title=title, ylim=np.array([-1.05, 1.05]) * max(np.abs(wave).max(), 1e-3))
    for axes, (label, values) in zip(panels[1:], maps.items(), strict=True):
        edges = np.arange(len(values) + 1) * frame_seconds
        axes.stairs(values, edges, baseline=None, color=PALETTE[0], linewidth=1.5)
        if np.min(values) < 0 < np.max(values):
            axes.axhline(0, color=GREY, linestyle=":", linewidth=1)
        axes.set_ylabel(label.replace("_", "\n"), rotation=0, ha="right", va="center")
    for axes in panels:
        for number, (start, end) in enumerate(spoofed):
            shown = name if not number and axes is panels[0] else None
            axes.axvspan(start, end, facecolor=(*colour, 0.15), edgecolor=colour, hatch=hatch, linewidth=0, label=shown)
    if spoofed:
        panels[0].legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    panels[-1].set(xlabel="Time (s)", xlim=(0, len(wave) / rate))
    figure.align_ylabels(panels)
    return figure
