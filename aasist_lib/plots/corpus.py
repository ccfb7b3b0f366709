"""Figures of a corpus: the number of clips, and the leak audit."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .style import CLASSES, GREY, PALETTE, make_figure, need, styled


@styled
def corpus_overview(trials: pd.DataFrame, title: str = "Clips of each split and attack") -> Figure:
    """Draw the number of clips by attack for a trial table, one panel per split; spoof bars are hatched.

    The number of speakers above a panel counts only speakers of bona fide clips, because synthetic voices are not speakers.
    """
    need(trials, "split", "label", "attack", "speaker")
    names = trials["attack"].replace("-", "untold").where(trials["label"] == "spoof", "bona fide")
    counts = pd.crosstab(names, trials["split"])
    attacks = sorted(set(counts.index) - {"bona fide"}, reverse=True)
    rows = [*attacks, *(["bona fide"] if "bona fide" in counts.index else [])]
    splits = [split for split in ("train", "dev", "eval") if split in counts.columns]
    figure, panels = make_figure(8.4, 1.4 + 0.27 * len(rows), 1, len(splits), sharey=True, sharex=True)
    for axes, split in zip(np.atleast_1d(panels), splits, strict=True):
        for position, row in enumerate(rows):
            _, colour, _, hatch = CLASSES["spoof" if row in attacks else "bonafide"]
            bar = axes.barh(position, counts.loc[row, split], color=(*colour, 0.45), edgecolor=colour, hatch=hatch)
            axes.bar_label(bar, padding=2, fontsize="small")
        part = trials[trials["split"] == split]
        speakers = part.loc[(part["label"] == "bonafide") & (part["speaker"] != "-"), "speaker"].nunique()
        text = f"{split}: {len(part)} clips" + (f", {speakers} speaker{'s' * (speakers != 1)}" if speakers else "")
        axes.set_title(text, fontweight="normal")
        axes.set(xlabel="Clips", xlim=(0, 1.18 * counts.to_numpy().max()))
        axes.grid(False, axis="y")
    np.atleast_1d(panels)[0].set_yticks(range(len(rows)), rows)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@styled
def leak_audit(table: pd.DataFrame, floor: float = 0.40, title: str = "What trivial features give away") -> Figure:
    """Draw the dev EER of classifiers on trivial features, with `floor` as the lower limit; below it, a feature is a leak.

    Args:
        table: columns `feature` and `dev_eer` (fraction).
        floor: lowest EER (fraction) without a leak.
    """
    need(table, "feature", "dev_eer")
    figure, axes = make_figure(7.2, 1.5 + 0.32 * len(table))
    names, values = table["feature"].astype(str).to_numpy()[::-1], table["dev_eer"].to_numpy()[::-1]
    leaks = values < floor
    axes.hlines(range(len(values)), values, 0.5, color="0.75", linewidth=2)
    for chosen, marker, colour, label in ((~leaks, "o", PALETTE[0], "harmless"), (leaks, "X", PALETTE[3], "leak")):
        if chosen.any():
            axes.plot(values[chosen], np.flatnonzero(chosen), marker, color=colour, markersize=8, label=label)
    axes.axvline(floor, color=PALETTE[3], linestyle="--", linewidth=1.6, label=f"limit {floor:.0%}")
    axes.axvline(0.5, color=GREY, linestyle=":", linewidth=1.6, label="guessing 50%")
    axes.set_yticks(range(len(names)), names)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    axes.set(xlabel="Dev EER (%)", title=title, xlim=(min(0.3, values.min() - 0.03), max(0.6, values.max() + 0.03)))
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    return figure
