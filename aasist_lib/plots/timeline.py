"""Figure of a detector's scores over the time of a recording."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import CLASSES, GREY, PALETTE, Array, make_figure, need, styled

MOST_MARKERS = 150
"""Up to this number of windows, markers are large; beyond it, they are small."""
MINUTES_FROM = 600
"""Recordings of at least this length, in seconds, have a time axis in minutes."""


@styled
def score_timeline(
    timeline: pd.DataFrame,
    threshold: float,
    peaks: Array,
    title: str,
    truth: pd.DataFrame | None = None,
) -> Figure:
    """Draw the waveform's envelope and, below it, each window's score with its decision at a threshold.

    Each score is drawn at the middle of its window: a filled circle above the threshold (classified as bona fide), an open
    square at or below it (classified as spoof), or a cross if it is undecided, one kind of cross for each reason. If `truth` is
    given, spoofed segments are hatched in both panels.

    Args:
        timeline: columns `start`, `end` (s), `score` and, optionally, `decision`; one row per window, in time order.
        threshold: scores at or below it are classified as spoof.
        peaks: largest absolute sample of each of the equally long frames that cover the recording, `(frames,)`.
        title: title of the figure.
        truth: columns `start`, `end` (s) and `label` ('bonafide' | 'spoof') of segments with known labels.

    Raises:
        PlotError: a column is missing, or the timeline is empty.
    """
    need(timeline, "start", "end", "score")
    figure, (top, bottom) = make_figure(9, 4.8, 2, 1, sharex=True, height_ratios=[1, 2.2])
    seconds = timeline["end"].max()
    unit, scale = ("min", 60) if seconds >= MINUTES_FROM else ("s", 1)
    _draw_envelope(top, np.asarray(peaks), seconds / scale)
    top.set(title=title, ylabel="Peak level")
    _draw_scores(bottom, timeline.assign(middle=(timeline["start"] + timeline["end"]) / 2 / scale), threshold)
    bottom.set(xlabel=f"Time ({unit})", ylabel="Score (higher = more bona fide)", xlim=(0, seconds / scale))
    if truth is not None:
        need(truth, "start", "end", "label")
        for axes in (top, bottom):
            _draw_truth(axes, truth[truth["label"] == "spoof"], scale)
    figure.legend(*bottom.get_legend_handles_labels(), loc="outside lower left", ncols=4)
    return figure


def _draw_envelope(axes: Axes, peaks: Array, end: float) -> None:
    """Draw the mirrored envelope with at most 1800 values, each the largest peak of its segment."""
    count = min(1800, len(peaks))
    largest = np.maximum.reduceat(peaks, np.arange(count) * len(peaks) // count)
    axes.fill_between(np.linspace(0, end, count), -largest, largest, color="0.6", linewidth=0)
    axes.set_ylim(*np.array([-1.05, 1.05]) * max(0.1, largest.max()))


def _draw_scores(axes: Axes, timeline: pd.DataFrame, threshold: float) -> None:
    accepted = timeline["score"] > threshold
    judged = ~timeline["decision"].str.startswith("undecided") if "decision" in timeline else accepted | True
    low, high = min(timeline["score"].min(), threshold), max(timeline["score"].max(), threshold)
    margin = 0.12 * max(high - low, 1.0)
    axes.set_ylim(low - margin, high + margin)
    axes.plot(timeline["middle"], timeline["score"], color=GREY, linewidth=1.2, zorder=2)
    marks = {"bonafide": ("o", accepted & judged), "spoof": ("s", ~accepted & judged)}
    for label, (marker, chosen) in marks.items():
        name, colour, _, _ = CLASSES[label]
        part = timeline[chosen]
        size = 6 if len(timeline) <= MOST_MARKERS else 2
        face = "white" if label == "spoof" else colour
        axes.plot(part["middle"], part["score"], marker, color=colour, markerfacecolor=face, markersize=size,
                  markeredgewidth=1.6 if size > 2 else 0.6, label=f"taken for {name} ({len(part)})", zorder=3)  # fmt: skip
    if not judged.all():
        for marker, (reason, part) in zip("x+1234", timeline[~judged].groupby("decision"), strict=False):
            axes.plot(
                part["middle"], part["score"], marker, color=GREY, markersize=7, label=f"{reason} ({len(part)})", zorder=3
            )
    axes.axhline(threshold, color="black", linestyle=":", linewidth=1.6, label=f"threshold {threshold:.2f}")


def _draw_truth(axes: Axes, spoofed: pd.DataFrame, scale: float) -> None:
    for number, part in enumerate(spoofed.itertuples()):
        axes.axvspan(part.start / scale, part.end / scale, facecolor=(*PALETTE[3], 0.12), edgecolor=(*PALETTE[3], 0.6),
                     hatch="///", linewidth=0, zorder=0, label="in truth spoofed" if not number else None)  # fmt: skip
