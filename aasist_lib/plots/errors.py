"""Error rates: DET curves, costs over priors, and the difference of two systems."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.special import ndtr, ndtri

from aasist_lib.metrics import DetBand, det_curve, eer_point

from .style import PALETTE, Array, make_figure, styled

DET_TICKS = np.array([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 40, 50, 60]) / 100
DET_TICKS_OF_ALL_RATES = np.array([0.1, 0.5, 2, 5, 10, 20, 35, 50, 65, 80, 90, 95, 98]) / 100


@styled
def det(
    systems: Mapping[str, tuple[Array, Array]], bands: Mapping[str, DetBand] | None = None, title: str = "DET curves"
) -> Figure:
    """Detection error trade-off on probit axes, the EER of each system marked and printed.

    Args:
        systems: name -> (bona fide scores, spoof scores).
        bands: name -> interval band of that curve, from `metrics.det_band`.
    """
    curves = {name: det_curve(*scores) for name, scores in systems.items()}
    rates = {name: eer_point(curve)[0] for name, curve in curves.items()}
    low = min(0.01, max(0.0005, min(0.5 / min(map(len, scores)) for scores in systems.values())))
    high, ticks = (0.6, DET_TICKS) if max(rates.values()) < 0.45 else (0.99, DET_TICKS_OF_ALL_RATES)
    figure, axes = make_figure(5.6, 5.9)
    axes.set_xscale("function", functions=(ndtri, ndtr))
    axes.set_yscale("function", functions=(ndtri, ndtr))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(ticks[ticks >= low]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g}"))
    axes.set(xlim=(low, high), ylim=(low, high), autoscale_on=False, aspect="equal", title=title)
    axes.set(xlabel="False acceptance rate: spoof accepted (%)", ylabel="False rejection rate: bona fide rejected (%)")
    axes.plot([low, high], [low, high], color="0.6", linewidth=0.8, linestyle=":")
    inside = low / 10, 1 - (1 - high) / 10
    lines, markers = ("-", "--", "-.", ":"), "osD^vP"
    for index, (name, curve) in enumerate(curves.items()):
        colour = PALETTE[index % len(PALETTE)]
        far, frr = np.clip(_thinned(np.column_stack((curve.far, curve.frr)), inside), *inside).T
        axes.plot(far, frr, color=colour, linestyle=lines[index % len(lines)], linewidth=1.8)
        if bands and name in bands:
            band = bands[name]
            axes.fill_between(
                *np.clip((band.far, band.low, band.high), *inside), color=colour, alpha=0.18, linewidth=0, zorder=1
            )
        point = np.clip(rates[name], low, high)
        style = {"marker": markers[index % len(markers)], "linestyle": lines[index % len(lines)], "color": colour}
        axes.plot([point], [point], **style, markeredgecolor="white", label=f"{name}: EER {rates[name]:.2%}", zorder=5)
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def _thinned(points: Array, inside: tuple[float, float]) -> Array:
    """The points, (n, 2), less those that fall on the same hundredth of a probit as the point before."""
    place = np.round(ndtri(np.clip(points, *inside)), 2)
    changes = np.any(np.diff(place, axis=0) != 0, axis=1)
    return points[np.concatenate(([True], changes | np.append(changes[1:], True)))]
