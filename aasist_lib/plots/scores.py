"""Distributions of scores, and a threshold that cuts them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .style import CLASSES, GREY, make_figure, need, styled


@styled
def score_histograms(scores: pd.DataFrame, threshold: float | None, title: str, bins: int = 40) -> Figure:
    """Histogram of the scores of each class, each of area 1, with the threshold and the two error rates there.

    Args:
        scores: columns `score` and `label` ('bonafide' | 'spoof').
        threshold: scores at or below it are rejected; None draws no line.
    """
    need(scores, "score", "label")
    figure, axes = make_figure(7.2, 3.6)
    low, high = scores["score"].min(), scores["score"].max()
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    for label, (name, colour, line, hatch) in CLASSES.items():
        values = scores["score"][scores["label"] == label].to_numpy()
        density, _ = np.histogram(values, edges, density=True)
        text = f"{name} ({values.size} clips)"
        axes.stairs(density, edges, fill=True, facecolor=(*colour, 0.18), edgecolor=(*colour, 0.5), hatch=hatch, lw=0)
        axes.stairs(density, edges, color=colour, linestyle=line, linewidth=1.8, label=text)
    if threshold is not None:
        rejected = scores["score"] <= threshold
        is_bonafide = scores["label"] == "bonafide"
        text = (
            f"threshold {threshold:.2f}\nbona fide rejected {rejected[is_bonafide].mean():.1%}\n"
            f"spoof accepted {1 - rejected[~is_bonafide].mean():.1%}"
        )
        axes.axvline(threshold, color=GREY, linestyle=":", linewidth=1.8, label=text)
    axes.set(xlabel="Score (log-odds; higher = more bona fide)", ylabel="Density (per unit of score)", title=title)
    axes.set_xlim(edges[0], edges[-1])
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    return figure
