"""Figures of attention over many clips: by attack, by class and on silence; and of several systems on one clip."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import CLASSES, GREY, PALETTE, Array, make_figure, need, styled


@styled
def attention_by_attack(
    tables: Mapping[str, pd.DataFrame], xlabel: str, hertz: Array | None = None, title: str = "Mean attention by attack"
) -> Figure:
    """Draw, for each attention map, a heat map of attacks by position, relative to uniform attention.

    Args:
        tables: map name -> table with attacks as rows and positions as columns; 1 = uniform attention.
        xlabel: name of the positions, used if `hertz` is None.
        hertz: edges of the positions in Hz, if they are frequencies.
    """
    rows = len(next(iter(tables.values())))
    figure, panels = make_figure(4.8 * len(tables), 1.6 + 0.27 * rows, 1, len(tables), squeeze=False, sharey=True)
    for axes, (name, table) in zip(panels[0], tables.items(), strict=True):
        edges = np.arange(table.shape[1] + 1) - 0.5 if hertz is None else hertz / 1000
        image = axes.pcolormesh(edges, np.arange(rows + 1), table.to_numpy()[::-1], cmap="cividis", rasterized=True)
        axes.set_yticks(np.arange(rows) + 0.5, table.index[::-1])
        axes.set(xlabel=xlabel if hertz is None else "Frequency (kHz)", title=name)
        axes.grid(False)
        figure.colorbar(image, ax=axes, label="× even")
    figure.suptitle(title)
    return figure


@styled
def class_difference(table: pd.DataFrame, xlabel: str, title: str = "Spoof minus bona fide") -> Figure:
    """Draw the mean attention of both classes by position, and their difference with its 95 % interval.

    Args:
        table: the result of `explain.class_difference`.
        xlabel: name of the positions.
    """
    need(table, "place", "bonafide", "spoof", "difference", "low", "high")
    figure, (upper, lower) = make_figure(7.2, 4.6, 2, 1, sharex=True)
    for label, (name, colour, line, _) in CLASSES.items():
        upper.step(table["place"], table[label], where="mid", color=colour, linestyle=line, label=name)
    upper.set(ylabel="Attention (× even)", title=title)
    upper.legend()
    lower.fill_between(table["place"], table["low"], table["high"], step="mid", color="0.8", label="95 % interval")
    lower.step(table["place"], table["difference"], where="mid", color=PALETTE[2], label="difference")
    clear = table[(table["low"] > 0) | (table["high"] < 0)]
    lower.plot(clear["place"], clear["difference"], "o", markersize=4, color=PALETTE[2], label="interval without 0")
    lower.axhline(0, color=GREY, linewidth=0.8)
    lower.set(xlabel=xlabel, ylabel="Difference (× even)")
    lower.margins(y=0.3)
    lower.legend(ncols=3, loc="lower right")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@styled
def silence_attention(table: pd.DataFrame, title: str = "Attention on silence") -> Figure:
    """Draw the attention on silence by map and class, with 95 % intervals; 1 = the same as on speech.

    Args:
        table: the result of `explain.silence_attention`.
    """
    need(table, "map", "label", "attention", "low", "high")
    names = list(dict.fromkeys(table["map"]))
    figure, axes = make_figure(7.0, 1.4 + 0.45 * len(names))
    for shift, (label, marker) in zip((-0.13, 0.13), (("bonafide", "o"), ("spoof", "s")), strict=True):
        part = table[table["label"] == label].set_index("map").reindex(names)
        name, colour, _, _ = CLASSES[label]
        spread = np.abs(part[["low", "high"]].to_numpy().T - part["attention"].to_numpy())
        places = np.arange(len(names))[::-1] + shift
        axes.errorbar(part["attention"], places, xerr=spread, fmt=marker, color=colour, capsize=3, label=name)
    axes.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(np.arange(len(names))[::-1], names)
    axes.set(xlabel="Attention on silent nodes (× their share)", title=title)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@styled
def two_systems(
    wave: Array, rate: int, seconds: Array, curves: Mapping[str, Mapping[str, Array]], title: str = "Two systems"
) -> Figure:
    """Draw one clip's waveform and, below it, all attention maps of several systems as strips.

    Args:
        wave: (samples,) in [-1, 1].
        rate: sampling rate in Hz.
        seconds: edges of the temporal nodes in seconds, (n + 1,).
        curves: system -> map -> attention, (n,).
    """
    maps = list(next(iter(curves.values())))
    ratios = {"height_ratios": [2.2] + [0.3 * len(curves)] * len(maps)}
    height = 1.6 + 0.36 * len(curves) * len(maps)
    figure, panels = make_figure(8, height + 1.2, 1 + len(maps), 1, sharex=True, gridspec_kw=ratios)
    panels[0].plot(np.arange(len(wave)) / rate, wave, color="0.6", linewidth=0.5)
    panels[0].set(ylabel="Amplitude", title=title, xlim=(0, len(wave) / rate))
    for axes, name in zip(panels[1:], maps, strict=True):
        rows = np.stack([np.asarray(system[name]) * len(system[name]) for system in curves.values()])[::-1]
        image = axes.pcolormesh(seconds, np.arange(len(rows) + 1), rows, cmap="cividis", vmin=0, rasterized=True)
        axes.set_yticks(np.arange(len(rows)) + 0.5, list(curves)[::-1])
        axes.set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
        axes.grid(False)
        figure.colorbar(image, ax=axes, pad=0.01, aspect=6)
    panels[-1].set_xlabel("Time (s); colour: attention, × even")
    return figure
