"""Common style of all figures: colours, line styles and shared helpers.

Bona fide is blue and solid, spoof is orange and dashed or hatched, so figures can be read without colour.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aasist_lib.errors import AasistError

Array = NDArray[np.floating[Any]]
P = ParamSpec("P")

PALETTE = sns.color_palette("colorblind")
CLASSES = {  # label: name, colour, line style, hatch
    "bonafide": ("bona fide", PALETTE[0], "-", ""),
    "spoof": ("spoof", PALETTE[3], "--", "///"),
}
GREY = "0.35"
STYLE = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("notebook", font_scale=0.8),
    "font.family": "DejaVu Sans",
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "figure.titleweight": "bold",
    "figure.titlesize": "medium",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "hatch.linewidth": 0.6,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "text.parse_math": False,  # names of attacks, speakers and clips may contain $; no figure text is a formula
}


class PlotError(AasistError, ValueError):
    """The figure cannot be drawn from this table or array; the message says what is missing."""


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a drawing function to use `STYLE`, without changing matplotlib's global settings."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inside


def make_figure(width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, Any]:
    """Make a Figure of `width` × `height` inches with axes that have no upper and right spines; return both."""
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    axes = figure.subplots(rows, columns, **grid)
    sns.despine(figure)
    return figure, axes


def need(table: pd.DataFrame, *columns: str) -> None:
    """Raise PlotError if the table is empty or lacks one of these columns."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise PlotError(f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")
    if table.empty:
        raise PlotError("the table is empty: pass a table with at least one row")
