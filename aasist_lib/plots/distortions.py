"""Figures of the effect of distortions on a clip, on a detector's scores, and on its EER over codecs and bitrates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .spectrograms import SPECTROGRAM_RANGE_DB, decibels, draw_spectrogram
from .style import CLASSES, GREY, PALETTE, Array, PlotError, make_figure, need, styled

DIFFERENCE_DB = 30


@styled
def distortion_steps(clip: Array, distorted: Sequence[Array], titles: Sequence[str], rate: int, title: str) -> Figure:
    """Draw a clip and its distorted versions: waveforms, the clip's spectrogram, and the versions' differences from it.

    Args:
        clip: the original, `(samples,)`.
        distorted: distorted versions of the clip, each `(samples,)`.
        titles: one title per version.
        rate: sampling rate in Hz.
        title: title of the figure.
    """
    figure, panels = make_figure(10, 3.8, 2, 1 + len(distorted), sharex=True, sharey="row", height_ratios=[2, 3])
    seconds, top = np.arange(len(clip)) / rate, max(np.abs(wave).max() for wave in (clip, *distorted))
    times, frequencies, level = decibels(clip, rate)
    loudest = level.max()
    for axes, wave, name in zip(panels[0], (clip, *distorted), ("clip", *titles), strict=True):
        axes.plot(seconds, wave, color=PALETTE[0], linewidth=0.5)
        axes.set(title=name, ylim=(-1.05 * top, 1.05 * top), xlim=(0, len(clip) / rate))
    own = draw_spectrogram(panels[1, 0], times, frequencies, level, loudest)
    floor = loudest - SPECTROGRAM_RANGE_DB
    for axes, wave in zip(panels[1, 1:], distorted, strict=True):
        change = np.maximum(decibels(wave, rate)[2], floor) - np.maximum(level, floor)
        image = axes.imshow(
            change, origin="lower", aspect="auto", extent=own.get_extent(), cmap="PuOr_r",
            vmin=-DIFFERENCE_DB, vmax=DIFFERENCE_DB,
        )  # fmt: skip
    for axes in panels[1]:
        axes.set_xlabel("Time (s)")
        axes.grid(False)
    panels[0, 0].set_ylabel("Amplitude")
    figure.colorbar(own, ax=panels[1, :1], label="Level (dB)", pad=0.01, location="left")
    figure.colorbar(image, ax=panels[1, 1:], label="Change (dB)", pad=0.01)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@styled
def score_shift_map(shifts: pd.DataFrame, title: str = "What each distortion does to the score") -> Figure:
    """Draw the mean score change by distortion and intensity, one panel per class; lower scores indicate spoof.

    Args:
        shifts: columns `kind, intensity, label, shift`, as returned by `robustness.score_shifts`.
    """
    need(shifts, "kind", "intensity", "label", "shift")
    kinds, bound = list(dict.fromkeys(shifts["kind"])), max(shifts["shift"].abs().max(), 1e-9)
    digits = 1 if bound >= 1 else 2
    figure, panels = make_figure(8, 0.9 + 0.3 * len(kinds), 1, 2, sharey=True)
    for axes, label in zip(panels, CLASSES, strict=True):
        own = shifts[shifts["label"] == label].pivot(index="kind", columns="intensity", values="shift").loc[kinds]
        image = axes.imshow(own, cmap="PuOr", vmin=-bound, vmax=bound, aspect="auto")
        for (row, column), value in np.ndenumerate(own.to_numpy()):
            dark = abs(value) > 0.6 * bound
            place = {"ha": "center", "va": "center", "fontsize": 8, "color": "white" if dark else "black"}
            axes.text(column, row, f"{value:+.{digits}f}", **place)
        axes.set(title=CLASSES[label][0], xlabel="Intensity")
        axes.set_xticks(range(own.shape[1]), [f"{value:g}" for value in own.columns])
        axes.set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
        axes.grid(False)
    figure.colorbar(image, ax=panels, label="Mean change of the score (log-odds)", pad=0.01)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@styled
def codec_rates(matrices: Mapping[str, pd.DataFrame], title: str = "EER by codec and bitrate") -> Figure:
    """Draw the EER with its interval by codec and bitrate for several systems; codecs not used in training are marked.

    With two systems, the title reports in how many rows each is better with non-overlapping intervals.

    Args:
        matrices: system -> table from `robustness.codec_matrix` with columns `codec, kbps, trained, eer, low, high`; all tables
            have the same codecs and bitrates in the same order.

    Raises:
        PlotError: the systems' tables have different codecs or bitrates.
    """
    first = next(iter(matrices.values()))
    need(first, "codec", "kbps", "trained", "eer", "low", "high")
    figure, axes = make_figure(8.5, 0.9 + 0.32 * len(first))
    places = np.arange(len(first))
    for number, (name, table) in enumerate(matrices.items()):
        if not table[["codec", "kbps"]].reset_index(drop=True).equals(first[["codec", "kbps"]].reset_index(drop=True)):
            raise PlotError(f"'{name}' was measured on other codecs or bitrates than '{next(iter(matrices))}'")
        offset = 0.16 * (2 * number - len(matrices) + 1)
        low, high = table["eer"] - table["low"], table["high"] - table["eer"]
        axes.errorbar(
            100 * table["eer"], places + offset, xerr=100 * np.stack([low, high]), fmt="os^D"[number % 4],
            color=PALETTE[number], label=name, capsize=2, markersize=5, linewidth=1.2,
        )  # fmt: skip
    if len(matrices) == 2:
        one, other = matrices.values()
        better, worse = (one["high"].to_numpy() < other["low"]).sum(), (other["high"].to_numpy() < one["low"]).sum()
        names = list(matrices)
        title += f"\n{names[0]} is better beyond the intervals in {better} of {len(first)} rows, {names[1]} in {worse}"
    axes.set_yticks(places, [_condition(row) for row in first.itertuples()])
    axes.set(xlabel="EER (%)", title=title, xlim=(0, None), ylim=(len(first) - 0.5, -0.5))
    for place, trained in enumerate(first["trained"]):
        if not trained:
            axes.axhspan(place - 0.5, place + 0.5, color=GREY, alpha=0.08, linewidth=0)
    figure.legend(loc="outside lower left", ncols=len(matrices))
    return figure


def _condition(row: Any) -> str:
    if row.codec == "none":
        return "uncompressed"
    return f"{row.codec} {row.kbps:g} kbit/s" + ("" if row.trained else " (not in the list)")
