"""Figures of score distributions: with a threshold, and before and after calibration."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import expit

from aasist_lib.metrics import cllr, det_curve, eer_point, min_cllr, split_classes

from .det import draw_curve, probit_axes
from .style import CLASSES, GREY, PALETTE, Array, make_figure, need, styled

FEWEST_CLIPS = 10  # a fraction of fewer clips is too uncertain to draw


@styled
def score_histograms(scores: pd.DataFrame, threshold: float | None, title: str, bins: int = 40) -> Figure:
    """Draw a score histogram of each class, normalised to area 1, with a threshold and the error rates at this threshold.

    Args:
        scores: columns `score` and `label` ('bonafide' | 'spoof').
        threshold: scores at or below it are rejected; None draws no line.
    """
    need(scores, "score", "label")
    figure, axes = make_figure(7.2, 3.6)
    _draw_histograms(axes, scores, _edges(scores["score"], bins))
    if threshold is not None:
        frr, far = _rates(scores, threshold)
        text = f"threshold {threshold:.2f}\nbona fide rejected {frr:.1%}\nspoof accepted {far:.1%}"
        axes.axvline(threshold, color=GREY, linestyle=":", linewidth=1.8, label=text)
    axes.set_title(title)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    return figure


@styled
def threshold_view(scores: pd.DataFrame, threshold: float, title: str) -> Figure:
    """Draw the effect of a threshold: both histograms with the errors filled, and the operating point on the DET curve.

    Args:
        scores: columns `score` and `label` ('bonafide' | 'spoof').
        threshold: scores at or below it are rejected.

    Raises:
        PlotError: a column is missing, or the table is empty.
        MetricError: a class has no scores.
    """
    need(scores, "score", "label")
    curve = det_curve(*split_classes(scores["label"], scores["score"]))
    figure, (left, right) = make_figure(10.4, 4.6, 1, 2, width_ratios=[1.5, 1])
    edges = _edges(scores["score"], bins=80)
    _draw_histograms(left, scores, edges)
    left.set_title(title)
    frr, far = _rates(scores, threshold)
    names = f"bona fide rejected: FRR {frr:.1%}", f"spoof accepted: FAR {far:.1%}"
    cut = np.minimum(edges, threshold), np.maximum(edges, threshold)  # bins beyond the threshold get width 0
    for (label, (_, colour, _, hatch)), part, name in zip(CLASSES.items(), cut, names, strict=True):
        density, _ = np.histogram(scores["score"][scores["label"] == label], edges, density=True)
        left.stairs(density, part, fill=True, facecolor=(*colour, 0.75), edgecolor="white", hatch=hatch, lw=0, label=name)
    left.axvline(threshold, color="black", linestyle=":", linewidth=1.8, label=f"threshold {threshold:.2f}")
    low, high = probit_axes(right, [curve])
    draw_curve(right, curve, (low, high), color=GREY)
    _mark_point(right, far, frr, low, high)
    right.plot(*[np.clip(eer_point(curve)[0], low, high)] * 2, "D", color=PALETTE[2], label=f"EER {eer_point(curve)[0]:.2%}")
    right.legend(loc="upper right")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    return figure


@styled
def calibration(before: tuple[Array, Array], after: tuple[Array, Array], title: str = "Calibration") -> Figure:
    """Draw score histograms before and after calibration, and a reliability diagram of scores read as log-likelihood ratios.

    The title of each histogram gives Cllr and its minimum over calibrations. The reliability diagram on the right compares the
    probability of bona fide that the scores imply, for equal priors, with the fraction of clips that are bona fide. Bins with
    fewer than ten clips are omitted.

    Args:
        before, after: (bona fide, spoof) scores of the same clips; log-likelihood ratios use the natural logarithm.
    """
    figure, panels = make_figure(12.0, 4.2, 1, 3, width_ratios=[1, 1, 0.85])
    scores = np.concatenate([*before, *after])
    edges = _edges(pd.Series(scores), bins=80)
    for axes, name, pair in zip(panels, ("before", "after"), (before, after), strict=False):
        table = pd.DataFrame({"score": np.concatenate(pair), "label": np.repeat(list(CLASSES), list(map(len, pair)))})
        _draw_histograms(axes, table, edges)
        axes.axvline(0, color=GREY, linestyle=":", linewidth=1.4)
        axes.set_title(f"{name}: Cllr {cllr(*pair):.3f}, at best {min_cllr(*pair):.3f} bits")
        axes.set_xlabel("Score read as log-likelihood ratio")
    panels[1].set_ylabel("")
    styles = {"before": ("o--", PALETTE[7]), "after": ("s-", PALETTE[2])}
    for (name, (style, colour)), pair in zip(styles.items(), (before, after), strict=True):
        panels[2].plot(*_reliability(*pair), style, color=colour, label=name, linewidth=1.8)
    panels[2].plot([0, 100], [0, 100], color="0.6", linewidth=0.8, linestyle=":", label="as promised")
    panels[2].set(xlabel="Bona fide, as the score says (%)", ylabel="Bona fide, in truth (%)")
    handles = [each for axes in panels[1:] for each in axes.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower left", ncols=5)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _draw_histograms(axes: Axes, scores: pd.DataFrame, edges: Array) -> None:
    for label, (name, colour, line, hatch) in CLASSES.items():
        values = scores["score"][scores["label"] == label].to_numpy()
        density, _ = np.histogram(values, edges, density=True)
        text = f"{name} ({values.size} clips)"
        axes.stairs(density, edges, fill=True, facecolor=(*colour, 0.18), edgecolor=(*colour, 0.5), hatch=hatch, lw=0)
        axes.stairs(density, edges, color=colour, linestyle=line, linewidth=1.8, label=text)
    axes.set(xlabel="Score (log-odds; higher = more bona fide)", ylabel="Density (per unit of score)")
    axes.set_xlim(edges[0], edges[-1])


def _edges(scores: pd.Series, bins: int) -> Array:
    low, high = scores.min(), scores.max()
    return np.linspace(low, high if high > low else low + 1, bins + 1)


def _rates(scores: pd.DataFrame, threshold: float) -> tuple[float, float]:
    """Return FRR and FAR (fractions) at a threshold; scores at or below it are rejected."""
    rejected, is_bonafide = scores["score"] <= threshold, scores["label"] == "bonafide"
    return float(rejected[is_bonafide].mean()), float(1 - rejected[~is_bonafide].mean())


def _mark_point(axes: Axes, far: float, frr: float, low: float, high: float) -> None:
    """Draw a star at the operating point, with a line to each axis; rates outside the range are drawn at its edge."""
    x, y = np.clip((far, frr), low, high)
    axes.plot([x, x, low], [low, y, y], color="black", linestyle=":", linewidth=1.2)
    axes.plot([x], [y], "*", color="black", markersize=14, clip_on=False, zorder=6, label="this threshold")


def _reliability(bonafide: Array, spoof: Array) -> tuple[Array, Array]:
    """Return the mean predicted probability and the true fraction (%) of bona fide in ten bins of equal width.

    Both classes have the same total weight.
    """
    stated = expit(np.concatenate((bonafide, spoof)))
    is_bonafide = np.repeat([True, False], [len(bonafide), len(spoof)])
    weight = np.where(is_bonafide, 1 / len(bonafide), 1 / len(spoof))
    place = np.minimum((10 * stated).astype(int), 9)
    enough = np.bincount(place, minlength=10) >= FEWEST_CLIPS
    total, said, true = (np.bincount(place, weight * factor, 10)[enough] for factor in (1.0, stated, is_bonafide.astype(float)))
    return 100 * said / total, 100 * true / total
