"""Figure of cross-entropy and focal losses over the probability of the true class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from .style import PALETTE, PlotError, make_figure, styled


@styled
def loss_gradients(gammas: Sequence[float]) -> Figure:
    """Draw -(1 - p)^γ ln p, and the size of its derivative with respect to the log-odds of p.

    Args:
        gammas: exponents of the focal loss; 0 is cross-entropy.

    Raises:
        PlotError: no exponent, or a negative one.
    """
    if not len(gammas) or min(gammas) < 0:
        raise PlotError(f"gammas = {list(gammas)}: give at least one exponent, none below 0")
    p = np.linspace(0.005, 0.995, 199)
    figure, (left, right) = make_figure(8.4, 3.6, 1, 2)
    for number, gamma in enumerate(dict.fromkeys(gammas)):
        name = "γ = 0, cross-entropy" if gamma == 0 else f"γ = {gamma:g}"
        style = {"color": PALETTE[number % len(PALETTE)], "linestyle": ("-", "--", "-.", ":")[number % 4], "label": name}
        left.plot(p, -((1 - p) ** gamma) * np.log(p), **style)
        right.plot(p, (1 - p) ** gamma * (1 - p - gamma * p * np.log(p)), **style)
    left.set(title="Loss", ylabel="Loss (nats)", ylim=(0, 4))
    right.set(title="Gradient", ylabel="|d loss / d log-odds|", ylim=(0, None))
    for axes in (left, right):
        axes.set(xlabel="Probability of the true class, p", xlim=(0, 1))
    right.legend()
    return figure
