"""Every figure: functions take tables and arrays, and return a matplotlib Figure that pyplot does not know of.

Bona fide is blue and solid, spoof is orange and dashed or hatched: colour alone never carries the meaning. Rates come
as fractions and are drawn in percent. Equal input gives an equal figure, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray
from scipy.signal import spectrogram
from scipy.special import ndtr, ndtri

from aasist_lib.metrics import DetBand, det_curve, eer_point

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
}
DET_TICKS = np.array([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 40, 50, 60]) / 100
DET_TICKS_OF_ALL_RATES = np.array([0.1, 0.5, 2, 5, 10, 20, 35, 50, 65, 80, 90, 95, 98]) / 100
SPECTROGRAM_RANGE_DB = 80
ATTENTION_CURVES = (("graph nodes", PALETTE[0], "-"), ("stack node", PALETTE[3], "--"))


class PlotError(ValueError):
    """A table or array that the figure cannot be drawn from; the message says what is missing."""


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inside


@_styled
def score_histograms(scores: pd.DataFrame, threshold: float | None, title: str, bins: int = 40) -> Figure:
    """Histogram of the scores of each class, each of area 1, with the threshold and the two error rates there.

    Args:
        scores: columns `score` and `label` ('bonafide' | 'spoof').
        threshold: scores at or below it are rejected; None draws no line.
    """
    _need(scores, "score", "label")
    figure, axes = _figure(7.2, 3.6)
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


@_styled
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
    figure, axes = _figure(5.6, 5.9)
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


@_styled
def eer_by_attack(table: pd.DataFrame, title: str = "EER by attack") -> Figure:
    """EER of each row of a `metrics.breakdown` table as a dot with its interval; the hardest attack is on top.

    A disc is an attack known from training, a square an unseen one, a diamond a pooled row.
    """
    _need(table, "row", "spoof", "eer", "eer_low", "eer_high")
    by = list(table.columns[: list(table.columns).index("row")])
    cells = table[(table["row"] == "cell") & table["eer"].notna()].sort_values("eer", kind="stable")
    shown = pd.concat([table[table["row"] == "pooled"].iloc[::-1], cells])
    names = [" · ".join(dict.fromkeys(row)) for row in shown[by].astype(str).to_numpy()]
    seen = shown["seen"] if "seen" in shown else pd.Series("-", index=shown.index)
    kinds = np.where(shown["row"] == "pooled", "pooled", seen.replace("-", "attack"))
    styles = {"known": ("o", 0), "attack": ("o", 0), "unseen": ("s", 3), "pooled": ("D", 7)}
    figure, axes = _figure(7.2, 1.3 + 0.33 * len(shown))
    middle, low, high = (100 * shown[column].to_numpy() for column in ("eer", "eer_low", "eer_high"))
    for kind, (marker, colour) in styles.items():
        here = np.flatnonzero(kinds == kind)
        if here.size:
            style = {"fmt": marker, "color": PALETTE[colour], "markersize": 6.5, "capsize": 3, "linewidth": 1.6}
            spread = np.abs(np.array([low, high]) - middle)[:, here]
            axes.errorbar(middle[here], here, xerr=spread, label=kind, **style)
    for position, count in enumerate(shown["spoof"]):
        text = f"{middle[position]:.1f} %   ({count} clips)"
        axes.text(1.02, position, text, transform=axes.get_yaxis_transform(), va="center", color=GREY)
    pooled = int((shown["row"] == "pooled").sum())
    axes.axhline(pooled - 0.5, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(shown)), names)
    axes.set(xlabel="EER (%), with bootstrap interval", title=title, ylim=(-0.6, len(shown) - 0.4))
    axes.set_xlim(left=-0.02 * max(1.0, high.max()))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 0.0), borderaxespad=0.2)
    return figure


@_styled
def training_history(
    history: pd.DataFrame, switch_epoch: int | None, best_epoch: int | None, title: str = "Training"
) -> Figure:
    """Loss, dev EER, learning rate and loss weight over epochs, in four panels; the switch of the loss is marked.

    Args:
        history: columns `epoch, train_loss, dev_loss, dev_eer` (fraction), `learning_rate, focal_weight` (0 to 1).
        switch_epoch: the first epoch with focal loss, or None.
        best_epoch: the epoch whose checkpoint was kept, or None.
    """
    _need(history, "epoch", "train_loss", "dev_loss", "dev_eer", "learning_rate", "focal_weight")
    figure, panels = _figure(7.2, 7.6, 4, sharex=True, height_ratios=[3, 3, 2, 2])
    epoch, eer = history["epoch"].to_numpy(), 100 * history["dev_eer"].to_numpy()
    mark = {"linewidth": 1.8, "markersize": 4}
    panels[0].plot(epoch, history["train_loss"], "o-", color=PALETTE[0], label="train", **mark)
    panels[0].plot(epoch, history["dev_loss"], "s--", color=PALETTE[3], label="dev", **mark)
    panels[0].legend(loc="upper right")
    panels[1].plot(epoch, eer, "o-", color=PALETTE[2], **mark)
    panels[2].plot(epoch, history["learning_rate"], "o-", color=PALETTE[4], **mark)
    panels[2].ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
    panels[3].plot(epoch, history["focal_weight"], "o-", color=PALETTE[7], **mark)
    panels[3].fill_between(epoch, history["focal_weight"], color=PALETTE[7], alpha=0.2, linewidth=0)
    for axes, label in zip(panels, ("Loss", "Dev EER (%)", "Learning rate", "Weight of\nfocal loss"), strict=True):
        axes.set_ylabel(label)
    if best_epoch is not None:
        if best_epoch not in epoch:
            raise PlotError(f"best_epoch = {best_epoch} is not in the history of epochs {epoch[0]} to {epoch[-1]}")
        value = float(eer[epoch == best_epoch][0])
        text = f"best: {value:.2f} % at epoch {best_epoch}"
        panels[1].plot(best_epoch, value, "*", color="black", markersize=13, linestyle="none", zorder=5, label=text)
        panels[1].legend(loc="upper right")
    if switch_epoch is not None:
        for axes in panels:
            axes.axvline(switch_epoch, color=GREY, linestyle="-.", linewidth=1.4)
        side = -1 if switch_epoch > epoch.mean() else 1
        place = {"xytext": (4 * side, -4), "textcoords": "offset points", "ha": "right" if side < 0 else "left"}
        anchor = {"xy": (switch_epoch, 1), "xycoords": ("data", "axes fraction"), "va": "top", "color": GREY}
        panels[0].annotate(f"loss switch (epoch {switch_epoch})", **anchor, **place)
    panels[1].set_ylim(bottom=0)
    panels[3].set(xlabel="Epoch", ylim=(-0.05, 1.05))
    panels[3].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels(panels)
    panels[0].set_title(title)
    return figure


@_styled
def attention_over_clip(
    wave: Array,
    rate: int,
    seconds: Array,
    node: Array,
    stack: Array,
    band: Array | None = None,
    title: str = "Attention",
) -> Figure:
    """Where in a clip the detector attends: over the waveform, above the spectrogram, and as strips.

    Attention is drawn relative to even attention: 1 means that a node gets its share, 3 three times that.

    Args:
        wave: (samples,) in [-1, 1].
        rate: in Hz.
        seconds: the edges of the temporal nodes, (n + 1,).
        node, stack: attention over temporal nodes by the graph's nodes and by its stack node, (n,).
        band: attention over feature bands, (bands,), for a panel of its own; these are not frequencies.
    """
    node, stack = np.asarray(node), np.asarray(stack)
    if not node.size == stack.size == len(seconds) - 1:
        counts = f"{len(seconds)} node edges, {node.size} node and {stack.size} stack values"
        raise PlotError(f"{counts}: these must be n + 1, n and n")
    relative = np.stack([curve * curve.size / curve.sum() for curve in (node, stack)])
    heights = [2.6, 2.6, 0.7] + ([1.2] if band is not None else [])
    with matplotlib.rc_context({"axes.grid": False}):
        figure = Figure(figsize=(8, 1.1 * sum(heights)), dpi=100, layout="constrained")
        grid = figure.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=[1, 0.018])
        top = figure.add_subplot(grid[0, 0])
        middle, strips = (figure.add_subplot(grid[row, 0], sharex=top) for row in (1, 2))
        over = top.twinx()
        bars = [figure.add_subplot(grid[row, 1]) for row in (1, 2)]
    top.plot(np.arange(len(wave)) / rate, wave, color="0.72", linewidth=0.5)
    top.set(ylabel="Amplitude", title=title, ylim=np.array([-1.05, 1.05]) * max(np.abs(wave).max(), 1e-3))
    for curve, (name, colour, line) in zip(relative, ATTENTION_CURVES, strict=True):
        over.stairs(curve, seconds, color=colour, linewidth=1.8, linestyle=line, label=name, baseline=None)
    over.set(ylabel="Attention (× even)", ylim=(0, 1.35 * relative.max()))
    over.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
    image = _draw_spectrogram(middle, *_decibels(wave, rate))
    figure.colorbar(image, cax=bars[0], label="Level (dB re full scale)")
    image = strips.pcolormesh(seconds, [0, 1, 2], relative[::-1], cmap="cividis", vmin=0, rasterized=True)
    strips.set_yticks([0.5, 1.5], ["stack", "nodes"])
    strips.set(xlabel="Time (s)", xlim=(0, len(wave) / rate))
    figure.colorbar(image, cax=bars[1], label="× even")
    for axes in (top, middle):
        axes.tick_params(labelbottom=False)
    if band is not None:
        below = figure.add_subplot(grid[3, 0])
        share = np.asarray(band) * len(band) / np.sum(band)
        below.stairs(share, np.arange(len(band) + 1) - 0.5, fill=True, color=PALETTE[2])
        below.set(xlabel="Feature band (number)", ylabel="× even", xlim=(-0.5, len(band) - 0.5))
        below.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
    return figure


@_styled
def attention_matrix(
    matrix: Array, xlabel: str, ylabel: str, title: str, label: str = "Attention (fraction of a row)"
) -> Figure:
    """A map of attention weights, (rows, columns), from its smallest to its largest value."""
    figure, axes = _figure(5.4, 4.6)
    image = axes.imshow(matrix, cmap="cividis", aspect="equal" if np.equal(*np.shape(matrix)) else "auto")
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.grid(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(image, ax=axes, label=label)
    return figure


@_styled
def corpus_overview(trials: pd.DataFrame, title: str = "Clips of each split and attack") -> Figure:
    """Number of clips by attack, one panel a split, of a trial table. Bona fide bars are plain, spoof bars hatched."""
    _need(trials, "split", "label", "attack", "speaker")
    names = trials["attack"].where(trials["label"] == "spoof", "bona fide")
    counts = pd.crosstab(names, trials["split"])
    attacks = sorted(set(counts.index) - {"bona fide"}, reverse=True)
    rows = [*attacks, *(["bona fide"] if "bona fide" in counts.index else [])]
    splits = [split for split in ("train", "dev", "eval") if split in counts.columns]
    figure, panels = _figure(8.4, 1.4 + 0.27 * len(rows), 1, len(splits), sharey=True, sharex=True)
    for axes, split in zip(np.atleast_1d(panels), splits, strict=True):
        for position, row in enumerate(rows):
            _, colour, _, hatch = CLASSES["spoof" if row in attacks else "bonafide"]
            bar = axes.barh(position, counts.loc[row, split], color=(*colour, 0.45), edgecolor=colour, hatch=hatch)
            axes.bar_label(bar, padding=2, fontsize="small")
        part = trials[trials["split"] == split]
        speakers = part["speaker"].nunique()
        text = f"{split}: {len(part)} clips, {speakers} speaker{'s' * (speakers != 1)}"
        axes.set_title(text, fontweight="normal")
        axes.set(xlabel="Clips", xlim=(0, 1.18 * counts.to_numpy().max()))
        axes.grid(False, axis="y")
    np.atleast_1d(panels)[0].set_yticks(range(len(rows)), rows)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@_styled
def spectrogram_pair(wave_a: Array, wave_b: Array, titles: Sequence[str], rate: int) -> Figure:
    """Spectrograms of two waveforms, (samples,), side by side on one time axis and one scale of level."""
    figure, panels = _figure(9, 3.4, 1, 2, sharey=True, sharex=True)
    drawn = [_decibels(wave, rate) for wave in (wave_a, wave_b)]
    top = max(level.max() for _, _, level in drawn)
    for axes, (times, frequencies, level), title in zip(panels, drawn, titles, strict=True):
        image = _draw_spectrogram(axes, times, frequencies, level, top)
        axes.set(xlabel="Time (s)", title=title, xlim=(0, max(len(wave_a), len(wave_b)) / rate))
        axes.grid(False)
    panels[1].set_ylabel("")
    figure.colorbar(image, ax=panels, label="Level (dB re full scale)", pad=0.01)
    return figure


@_styled
def leak_audit(table: pd.DataFrame, floor: float = 0.40, title: str = "What trivial features give away") -> Figure:
    """Dev EER of classifiers on trivial features, and the line none may fall below: columns `feature, dev_eer`."""
    _need(table, "feature", "dev_eer")
    figure, axes = _figure(7.2, 1.5 + 0.32 * len(table))
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


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, Any]:
    """A Figure of `width` × `height` inches and its axes, without the upper and right spines."""
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    axes = figure.subplots(rows, columns, **grid)
    sns.despine(figure)
    return figure, axes


def _need(table: pd.DataFrame, *columns: str) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise PlotError(f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")
    if table.empty:
        raise PlotError("the table is empty: there is nothing to draw")


def _thinned(points: Array, inside: tuple[float, float]) -> Array:
    """The points, (n, 2), less those that fall on the same hundredth of a probit as the point before."""
    place = np.round(ndtri(np.clip(points, *inside)), 2)
    changes = np.any(np.diff(place, axis=0) != 0, axis=1)
    return points[np.concatenate(([True], changes | np.append(changes[1:], True)))]


def _decibels(wave: Array, rate: int) -> tuple[Array, Array, Array]:
    """Times (s), frequencies (kHz), and levels (frequencies, times) in dB re a full-scale sine; 25 ms windows."""
    length = min(len(wave), round(0.025 * rate))
    overlap = max(0, length - round(0.010 * rate))
    settings = {"window": "hann", "nperseg": length, "noverlap": overlap, "nfft": max(512, length)}
    frequencies, times, magnitude = spectrogram(wave, rate, **settings, scaling="spectrum", mode="magnitude")
    return times, frequencies / 1000, 20 * np.log10(np.maximum(2 * magnitude, 1e-8))


def _draw_spectrogram(axes: Axes, times: Array, frequencies: Array, level: Array, top: float | None = None) -> Any:
    top = level.max() if top is None else top
    step = (times[1] - times[0]) / 2 if len(times) > 1 else times[0]
    extent = (times[0] - step, times[-1] + step, frequencies[0], frequencies[-1])
    axes.set_ylabel("Frequency (kHz)")
    limits = {"vmin": top - SPECTROGRAM_RANGE_DB, "vmax": top}
    return axes.imshow(level, origin="lower", aspect="auto", extent=extent, cmap="viridis", **limits)
