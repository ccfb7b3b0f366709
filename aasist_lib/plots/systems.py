"""Figures that compare systems: detection costs over priors, and the difference of two systems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from aasist_lib.metrics import ASVSPOOF_COSTS, Interval, PairedBootstrap, dcf_actual, dcf_minimum, rank

from .det import LINES, MARKERS
from .style import GREY, PALETTE, Array, make_figure, styled

PRIOR_TICKS = np.array([0.1, 1, 5, 20, 50, 80, 95]) / 100
HIGHEST_COST = 2.0


@styled
def dcf_over_priors(systems: Mapping[str, tuple[Array, Array]], title: str = "Detection cost over priors") -> Figure:
    """Draw each system's normalised detection cost over the spoof prior, with the costs of ASVspoof 5.

    The thick curve is minDCF, at the best threshold for each prior. The thin curve is actDCF, at the Bayes threshold, which
    assumes that scores are log-likelihood ratios. A cost of 1 is that of ignoring the system. Marks show ASVspoof 5's spoof
    prior, 5 %.

    Args:
        systems: name -> (bona fide scores, spoof scores).
    """
    figure, axes = make_figure(7.6, 4.6)
    costs = {"c_miss": ASVSPOOF_COSTS.c_miss, "c_fa": ASVSPOOF_COSTS.c_fa_cm}
    priors = np.sort(np.append(1 / (1 + np.exp(-np.linspace(-7, 3, 81))), ASVSPOOF_COSTS.p_spoof))
    mark = [int(np.argmin(np.abs(priors - ASVSPOOF_COSTS.p_spoof)))]
    top = 1.0
    for index, (name, scores) in enumerate(systems.items()):
        ranked = rank(*scores)
        least = np.array([dcf_minimum(ranked.curve, prior, **costs) for prior in priors])
        actual = np.array([dcf_actual(ranked, prior, **costs) for prior in priors])
        style = {"color": PALETTE[index % len(PALETTE)], "linestyle": LINES[index % len(LINES)]}
        style |= {"marker": MARKERS[index % len(MARKERS)], "markevery": mark}
        text = f"{name}: minDCF {least[mark[0]]:.3f} at 5 %"
        axes.plot(priors, least, **style, linewidth=2.2, label=text)
        text = f"{name}: actDCF {actual[mark[0]]:.3f} at 5 %"
        axes.plot(priors, actual, **style, linewidth=0.9, markerfacecolor="white", label=text)
        top = max(top, actual.max())
    axes.axhline(1, color=GREY, linestyle=":", linewidth=1.2)
    axes.set_xscale("logit")
    axes.xaxis.set_major_locator(FixedLocator(PRIOR_TICKS.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda prior, _: f"{100 * prior:g}"))
    axes.set(xlabel="Prior of spoof (%)", ylabel="Normalised cost (1: of no use)", title=title)
    axes.set(xlim=(priors[0], priors[-1]), ylim=(0, min(HIGHEST_COST, 1.05 * top)))
    figure.legend(loc="outside lower left", ncols=2)
    return figure


@styled
def comparison(paired: Mapping[str, PairedBootstrap], names: tuple[str, str], title: str = "Comparison") -> Figure:
    """Draw the differences of two systems on the same trials, in EER and in minDCF, with intervals.

    Left of the line the first system is better. If an interval crosses the line, the data do not show which system is better.

    Args:
        paired: unit drawn, such as 'trials' or 'speakers' -> the result of `metrics.paired_bootstrap` for systems a and b.
        names: names of a and b.
    """
    figure, panels = make_figure(9.6, 1.4 + 0.6 * len(paired), 1, 2, sharey=True)
    rows = list(paired.values())[::-1]
    eers = [(row.eer_difference, row.eer_p_value) for row in rows]
    costs = [(row.min_dcf_difference, row.min_dcf_p_value) for row in rows]
    _draw_differences(panels[0], eers, 100, "EER (percentage points)")
    _draw_differences(panels[1], costs, 1, "minDCF")
    labels = [f"{unit} drawn ({row.units})" for unit, row in paired.items()][::-1]
    panels[0].set_yticks(range(len(rows)), labels)
    panels[0].set_ylim(-0.5, len(rows) - 0.3)
    figure.suptitle(title, x=0.01, ha="left")
    figure.supxlabel(f"← {names[0]} is better          {names[1]} is better →", fontsize="small", color=GREY)
    return figure


def _draw_differences(axes: Axes, differences: list[tuple[Interval, float]], factor: float, name: str) -> None:
    reach = 1.15 * factor * max(max(abs(found.low), abs(found.high), 1e-4) for found, _ in differences)
    for position, (found, p_value) in enumerate(differences):
        middle, low, high = (factor * value for value in (found.value, found.low, found.high))
        axes.plot([low, high], [position, position], "|-", color=PALETTE[0], linewidth=2, markersize=10)
        axes.plot([middle], [position], "o", color=PALETTE[0], markersize=8)
        text = f"{middle:+.3g} ({low:+.3g} to {high:+.3g}), p = {p_value:.3f}".replace("-", "−")
        place: dict[str, Any] = {"xytext": (0, 9), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        axes.annotate(
            text, (0, position), **place, fontsize="small", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        )
    axes.axvline(0, color=GREY, linestyle="--", linewidth=1.4, zorder=1)
    axes.set(xlabel=f"Difference in {name}", xlim=(-reach, reach))
