"""Where a detector attends, over a clip and between nodes."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .spectrograms import decibels, draw_spectrogram
from .style import GREY, PALETTE, Array, PlotError, make_figure, styled

ATTENTION_CURVES = (("graph nodes", PALETTE[0], "-"), ("stack node", PALETTE[3], "--"))


@styled
def attention_over_clip(
    wave: Array,
    rate: int,
    seconds: Array,
    node: Array,
    stack: Array,
    band: Array | None = None,
    title: str = "Attention",
) -> Figure:
    """Where in a clip the detector attends: over the waveform, above the spectrogram, and as strips.

    Attention is drawn relative to even attention: 1 means that a node gets its share, 3 three times that.

    Args:
        wave: (samples,) in [-1, 1].
        rate: in Hz.
        seconds: the edges of the temporal nodes, (n + 1,).
        node, stack: attention over temporal nodes by the graph's nodes and by its stack node, (n,).
        band: attention over feature bands, (bands,), for a panel of its own; these are not frequencies.
    """
    node, stack = np.asarray(node), np.asarray(stack)
    if not node.size == stack.size == len(seconds) - 1:
        counts = f"{len(seconds)} node edges, {node.size} node and {stack.size} stack values"
        raise PlotError(f"{counts}: these must be n + 1, n and n")
    relative = np.stack([curve * curve.size / curve.sum() for curve in (node, stack)])
    heights = [2.6, 2.6, 0.7] + ([1.2] if band is not None else [])
    with matplotlib.rc_context({"axes.grid": False}):
        figure = Figure(figsize=(8, 1.1 * sum(heights)), dpi=100, layout="constrained")
        grid = figure.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=[1, 0.018])
        top = figure.add_subplot(grid[0, 0])
        middle, strips = (figure.add_subplot(grid[row, 0], sharex=top) for row in (1, 2))
        over = top.twinx()
        bars = [figure.add_subplot(grid[row, 1]) for row in (1, 2)]
    top.plot(np.arange(len(wave)) / rate, wave, color="0.72", linewidth=0.5)
    top.set(ylabel="Amplitude", title=title, ylim=np.array([-1.05, 1.05]) * max(np.abs(wave).max(), 1e-3))
    for curve, (name, colour, line) in zip(relative, ATTENTION_CURVES, strict=True):
        over.stairs(curve, seconds, color=colour, linewidth=1.8, linestyle=line, label=name, baseline=None)
    over.set(ylabel="Attention (× even)", ylim=(0, 1.35 * relative.max()))
    over.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
    image = draw_spectrogram(middle, *decibels(wave, rate))
    figure.colorbar(image, cax=bars[0], label="Level (dB re full scale)")
    image = strips.pcolormesh(seconds, [0, 1, 2], relative[::-1], cmap="cividis", vmin=0, rasterized=True)
    strips.set_yticks([0.5, 1.5], ["stack", "nodes"])
    strips.set(xlabel="Time (s)", xlim=(0, len(wave) / rate))
    figure.colorbar(image, cax=bars[1], label="× even")
    for axes in (top, middle):
        axes.tick_params(labelbottom=False)
    if band is not None:
        below = figure.add_subplot(grid[3, 0])
        share = np.asarray(band) * len(band) / np.sum(band)
        below.stairs(share, np.arange(len(band) + 1) - 0.5, fill=True, color=PALETTE[2])
        below.set(xlabel="Feature band (number)", ylabel="× even", xlim=(-0.5, len(band) - 0.5))
        below.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
    return figure


@styled
def attention_matrix(
    matrix: Array, xlabel: str, ylabel: str, title: str, label: str = "Attention (fraction of a row)"
) -> Figure:
    """A map of attention weights, (rows, columns), from its smallest to its largest value."""
    figure, axes = make_figure(5.4, 4.6)
    image = axes.imshow(matrix, cmap="cividis", aspect="equal" if np.equal(*np.shape(matrix)) else "auto")
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.grid(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(image, ax=axes, label=label)
    return figure
