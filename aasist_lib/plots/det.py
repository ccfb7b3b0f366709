"""DET curves on probit axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.special import ndtr, ndtri

from aasist_lib.metrics import DetBand, DetCurve, det_curve, eer_point

from .style import PALETTE, Array, make_figure, styled

DET_TICKS = np.array([0.1, 0.5, 1, 2, 5, 10, 20, 30, 40, 50, 60]) / 100
DET_TICKS_OF_ALL_RATES = np.array([0.1, 0.5, 2, 5, 10, 20, 35, 50, 65, 80, 90, 95, 98]) / 100
LINES, MARKERS = ("-", "--", "-.", ":"), "osD^vP"


@styled
def det(
    systems: Mapping[str, tuple[Array, Array]], bands: Mapping[str, DetBand] | None = None, title: str = "DET curves"
) -> Figure:
    """Draw detection error trade-off curves on probit axes, and mark each system's EER.

    Args:
        systems: name -> (bona fide scores, spoof scores).
        bands: name -> interval band of the curve, from `metrics.det_band`.
    """
    curves = {name: det_curve(*scores) for name, scores in systems.items()}
    rates = {name: eer_point(curve)[0] for name, curve in curves.items()}
    figure, axes = make_figure(5.6, 5.9)
    low, high = probit_axes(axes, curves.values())
    axes.set_title(title)
    for index, (name, curve) in enumerate(curves.items()):
        style = {"color": PALETTE[index % len(PALETTE)], "linestyle": LINES[index % len(LINES)]}
        draw_curve(axes, curve, (low, high), **style)
        if bands and name in bands:
            band = bands[name]
            edges = np.clip((band.far, band.low, band.high), *_beyond(low, high))
            axes.fill_between(*edges, color=style["color"], alpha=0.18, linewidth=0, zorder=1)
        point = np.clip(rates[name], low, high)
        mark = {"marker": MARKERS[index % len(MARKERS)], "markeredgecolor": "white", "zorder": 5}
        axes.plot([point], [point], **style, **mark, label=f"{name}: EER {rates[name]:.2%}")
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def probit_axes(axes: Axes, curves: Iterable[DetCurve]) -> tuple[float, float]:
    """Set both axes to probit scales in percent, with a range that fits the curves; return the range as fractions."""
    curves = list(curves)
    smaller_class = [min(np.count_nonzero(np.diff(rate)) for rate in (curve.frr, curve.far)) for curve in curves]
    low = min(0.01, max(0.0005, 0.5 / max(smaller_class)))
    worst = max(eer_point(curve)[0] for curve in curves)
    high, ticks = (0.6, DET_TICKS) if worst < 0.45 else (0.99, DET_TICKS_OF_ALL_RATES)
    axes.set_xscale("function", functions=(ndtri, ndtr))
    axes.set_yscale("function", functions=(ndtri, ndtr))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(ticks[ticks >= low].tolist()))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g}"))
    axes.set(xlim=(low, high), ylim=(low, high), autoscale_on=False, aspect="equal")
    axes.set(xlabel="False acceptance rate: spoof accepted (%)", ylabel="False rejection rate: bona fide rejected (%)")
    axes.plot([low, high], [low, high], color="0.6", linewidth=0.8, linestyle=":")
    return low, high


def draw_curve(axes: Axes, curve: DetCurve, limits: tuple[float, float], **style: Any) -> None:
    """Draw a curve on probit axes with this range, extending slightly beyond the edges."""
    beyond = _beyond(*limits)
    far, frr = np.clip(_thinned(np.column_stack((curve.far, curve.frr)), beyond), *beyond).T
    axes.plot(far, frr, linewidth=1.8, **style)


def _beyond(low: float, high: float) -> tuple[float, float]:
    return low / 10, 1 - (1 - high) / 10


def _thinned(points: Array, inside: tuple[float, float]) -> Array:
    """Remove points, (n, 2), that equal the previous point when rounded to 0.01 probit."""
    place = np.round(ndtri(np.clip(points, *inside)), 2)
    changes = np.any(np.diff(place, axis=0) != 0, axis=1)
    return points[np.concatenate(([True], changes | np.append(changes[1:], True)))]
