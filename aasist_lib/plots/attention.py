"""Figures of a detector's attention in one clip, over time and between nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .spectrograms import decibels, draw_spectrogram
from .style import GREY, PALETTE, Array, PlotError, make_figure, styled

LINES = ((PALETTE[0], "-"), (PALETTE[3], "--"), (PALETTE[2], ":"))


@styled
def attention_over_clip(
    wave: Array,
    rate: int,
    seconds: Array,
    curves: Mapping[str, Array],
    drawn: Sequence[str] = ("nodes", "stack"),
    title: str = "Attention",
) -> Figure:
    """Draw attention over time: some maps as lines over the waveform, then the spectrogram, then all maps as strips.

    Attention is relative to uniform attention: 1 is the value of a node under uniform attention, 3 is three times that.

    Args:
        wave: (samples,) in [-1, 1].
        rate: sampling rate in Hz.
        seconds: edges of the temporal nodes in seconds, (n + 1,).
        curves: map name -> attention over temporal nodes, (n,).
        drawn: names of at most three maps to draw as lines over the waveform.
    """
    relative = {name: _relative(name, curve, len(seconds) - 1) for name, curve in curves.items()}
    figure, top, (middle, strips), bars = _clip_panels(wave, rate, title, (2.4, 2.4, 0.34 * len(curves)))
    over = top.twinx()
    for (colour, line), name in zip(LINES, drawn, strict=False):
        over.stairs(relative[name], seconds, color=colour, linewidth=1.8, linestyle=line, label=name, baseline=None)
    over.set(ylabel="Attention (× even)", ylim=(0, 1.35 * max(relative[name].max() for name in drawn)))
    over.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(drawn), borderaxespad=0.2)
    over.grid(False)
    figure.colorbar(draw_spectrogram(middle, *decibels(wave, rate)), cax=bars[0], label="Level (dB)")
    values = np.stack([*relative.values()][::-1])
    image = strips.pcolormesh(seconds, np.arange(len(values) + 1), values, cmap="cividis", vmin=0, rasterized=True)
    strips.set_yticks(np.arange(len(values)) + 0.5, [*relative][::-1])
    strips.set(xlabel="Time (s)", xlim=(0, len(wave) / rate))
    figure.colorbar(image, cax=bars[1], label="× even")
    return figure


@styled
def map_over_clip(
    wave: Array, rate: int, seconds: Array, values: Array, label: str, signed: bool = False, title: str = "A map"
) -> Figure:
    """Draw one map with the waveform and the spectrogram.

    Args:
        wave: (samples,) in [-1, 1].
        rate: sampling rate in Hz.
        seconds: edges of the map's values in seconds, (n + 1,).
        values: the map, (n,).
        label: name of the values, with units.
        signed: whether values have a sign (above 0 indicates spoof, below 0 bona fide); uses a diverging colour scale.
    """
    if len(values) != len(seconds) - 1:
        raise PlotError(f"{len(seconds)} edges and {len(values)} values: pass one edge more than values")
    figure, top, (middle, strip), bars = _clip_panels(wave, rate, title, (2.2, 2.4, 0.5))
    over = top.twinx()
    over.stairs(values, seconds, color=PALETTE[3], linewidth=1.6, baseline=None)
    over.set_ylabel(label, color=PALETTE[3])
    over.grid(False)
    if signed:
        over.axhline(0, color=PALETTE[3], linewidth=0.8, linestyle=":")
    figure.colorbar(draw_spectrogram(middle, *decibels(wave, rate)), cax=bars[0], label="Level (dB)")
    reach = max(np.abs(values).max(), 1e-12)
    limits = {"cmap": "PuOr_r", "vmin": -reach, "vmax": reach} if signed else {"cmap": "cividis"}
    image = strip.pcolormesh(seconds, [0, 1], np.asarray(values)[None], rasterized=True, **limits)
    strip.set_yticks([])
    strip.set(xlabel="Time (s)", xlim=(0, len(wave) / rate))
    figure.colorbar(image, cax=bars[1])
    return figure


@styled
def graph_maps(maps: Mapping[str, Array], kept: Mapping[str, Array], title: str = "Graph attention") -> Figure:
    """Draw the attention among nodes of each kind, side by side. Nodes kept by pooling are marked below each map.

    Args:
        maps: kind of node -> attention (query nodes, key nodes); rows are the nodes that attend.
        kept: kind of node -> indices of the nodes kept by pooling.
    """
    figure, panels = make_figure(4.9 * len(maps), 4.3, 1, len(maps), squeeze=False)
    for axes, (kind, matrix) in zip(panels[0], maps.items(), strict=True):
        image = _heat(axes, matrix)
        marks = {"color": PALETTE[3], "clip_on": False, "zorder": 3, "label": "kept by pooling"}
        axes.plot(kept[kind], np.full(len(kept[kind]), len(matrix) - 0.5), "^", markersize=4, **marks)
        axes.set(xlabel=f"{kind} node looked at", ylabel=f"{kind} node looking", title=kind)
        figure.colorbar(image, ax=axes, label="Attention (fraction of a row)")
    panels[0, 0].legend(loc="lower left", bbox_to_anchor=(0, 1.06), borderaxespad=0.2)
    figure.suptitle(title)
    return figure


@styled
def stream_maps(maps: Sequence[Array], temporal: int, title: str = "Heterogeneous attention") -> Figure:
    """Draw the heterogeneous attention of each stream, with lines between its blocks and each block's share of attention.

    Args:
        maps: attention of each stream, `(T + S + 1, T + S)`. Rows are the T temporal nodes, the S spectral nodes and the stack
            node, which attend; columns are the temporal and spectral nodes, which are attended to.
        temporal: T, the number of temporal nodes.
    """
    figure, panels = make_figure(5.2 * len(maps), 4.9, 1, len(maps), squeeze=False)
    for number, (axes, matrix) in enumerate(zip(panels[0], maps, strict=True), start=1):
        image = _heat(axes, np.vstack([matrix[:-1], np.repeat(matrix[-1:], _stack_height(matrix), axis=0)]))
        rows, columns = len(matrix) - 1, matrix.shape[1]
        edges = (0, temporal, rows, rows + _stack_height(matrix))
        for top, bottom, looking in zip(edges[:-1], edges[1:], ("T", "S", "stack"), strict=True):
            axes.axhline(top - 0.5, color="white", linewidth=1.2)
            for left, right, seen in ((0, temporal, "T"), (temporal, columns, "S")):
                share = matrix[top : min(bottom, len(matrix)), left:right].sum(axis=1).mean()
                style = {"ha": "center", "va": "center", "color": "white", "fontsize": "small"}
                box = {"boxstyle": "round,pad=0.2", "facecolor": "black", "alpha": 0.55, "linewidth": 0}
                place = (left + right - 1) / 2, (top + bottom - 1) / 2
                axes.text(*place, f"{looking}→{seen}  {share:.0%}", bbox=box, **style)
        axes.axvline(temporal - 0.5, color="white", linewidth=1.2)
        axes.set(xlabel="node looked at: temporal | spectral", ylabel="node looking: temporal | spectral | stack")
        axes.set_title(f"stream {number}")
        figure.colorbar(image, ax=axes, label="Attention (fraction of a row)")
    figure.suptitle(title)
    return figure


@styled
def contributions(parts: Mapping[str, float], xlabel: str, title: str) -> Figure:
    """Draw named values as horizontal bars with their numbers, from top to bottom; negative bars are hatched."""
    figure, axes = make_figure(6.4, 0.9 + 0.34 * len(parts))
    names, values = list(parts)[::-1], np.array(list(parts.values()))[::-1]
    for place, value in enumerate(values):
        axes.barh(place, value, color=PALETTE[0 if value >= 0 else 3], hatch="" if value >= 0 else "///", edgecolor="white")
        axes.text(value, place, f" {value:.2f} ", ha="left" if value >= 0 else "right", va="center")
    axes.set_yticks(range(len(names)), names)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.margins(x=0.15)
    axes.set(xlabel=xlabel, title=title)
    return figure


def _clip_panels(wave: Array, rate: int, title: str, heights: Sequence[float]) -> tuple[Figure, Axes, list[Axes], list[Axes]]:
    """Make a figure with the waveform on top and two panels below on the same time axis.

    Returns the figure, the waveform's axes, the two panels, and the axes for their colour bars.
    """
    with matplotlib.rc_context({"axes.grid": False}):
        figure = Figure(figsize=(8, 0.9 + 1.05 * sum(heights)), dpi=100, layout="constrained")
        grid = figure.add_gridspec(3, 2, height_ratios=heights, width_ratios=[1, 0.018])
        top = figure.add_subplot(grid[0, 0])
        beneath = [figure.add_subplot(grid[row, 0], sharex=top) for row in (1, 2)]
        bars = [figure.add_subplot(grid[row, 1]) for row in (1, 2)]
    top.plot(np.arange(len(wave)) / rate, wave, color="0.72", linewidth=0.5)
    top.set(ylabel="Amplitude", title=title, ylim=np.array([-1.05, 1.05]) * max(np.abs(wave).max(), 1e-3))
    for axes in (top, beneath[0]):
        axes.tick_params(labelbottom=False)
    return figure, top, beneath, bars


def _relative(name: str, curve: Array, nodes: int) -> Array:
    curve = np.asarray(curve)
    if curve.size != nodes:
        raise PlotError(f"curve '{name}' has {curve.size} values for {nodes} nodes: pass one value per node")
    return curve * curve.size / curve.sum()


def _heat(axes: Axes, matrix: Array) -> matplotlib.image.AxesImage:
    image = axes.imshow(matrix, cmap="cividis", aspect="equal" if np.equal(*np.shape(matrix)) else "auto")
    axes.grid(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return image


def _stack_height(matrix: Array) -> int:
    """Return how many rows the stack node's single row is drawn with, so that it is visible."""
    return max(1, len(matrix) // 12)
