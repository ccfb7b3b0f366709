"""What maps are worth, read back from the axes."""

import warnings

import numpy as np
import pandas as pd
import pytest

from aasist_lib import plots
from aasist_lib.plots import PlotError
from tests.plots.looking import RATE, render, texts

KINDS = ("spoof in bona fide", "bona fide in spoof", "control", "both")


@pytest.fixture
def table():
    rows = []
    for number, name in enumerate(("integrated_gradients", "random")):
        for kind, auc in zip(KINDS, (0.8, 0.7, 0.5, 0.75), strict=True):
            auc -= 0.2 * number
            facts = {"map": name, "kind": kind, "chance": 0.7 if kind == "bona fide in spoof" else 0.3}
            facts |= {"auc": auc, "auc_low": auc - 0.1, "auc_high": auc + 0.05}
            rows.append(facts | {"hits": 0.6, "hits_low": 0.4, "hits_high": 0.9})
    return pd.DataFrame(rows)


@pytest.fixture
def curves():
    shares = np.linspace(0, 1, 11)
    rows = [
        (clip, name, curve, share, (1 - share if curve == "deletion" else share) * (1 + (name == "segments")) + 0.1 * clip)
        for clip in range(2)
        for name in ("segments", "stack", "random")
        for curve in ("deletion", "insertion")
        for share in shares
    ]
    return pd.DataFrame(rows, columns=["utt_id", "map", "curve", "share", "support"])


def test_localisation_shows_every_kind_with_its_interval_and_chance(table):
    figure = plots.localisation(table, "Maps")
    auc, hits = figure.axes
    assert [label.get_text() for label in auc.get_yticklabels()] == ["integrated gradients", "random"]
    named = {bars.get_label(): bars for bars in auc.containers}
    line, _, (reach,) = named["spoof in bona fide"].lines
    assert list(line.get_xdata()) == pytest.approx([0.8, 0.6])
    assert [list(segment[:, 0]) for segment in reach.get_segments()] == [pytest.approx([0.7, 0.85]), pytest.approx([0.5, 0.65])]
    assert len({bars.lines[0].get_marker() for bars in auc.containers}) == len(KINDS)  # colour never alone
    assert list(hits.containers[0].lines[0].get_xdata()) == pytest.approx([60, 60])
    chances = sorted(line.get_xdata()[0] for line in hits.lines if line.get_linestyle() == ":")
    assert chances == pytest.approx([30, 30, 30, 70])
    assert [line.get_xdata()[0] for line in auc.lines if line.get_linestyle() == ":"] == [0.5]
    assert set(texts(figure.legends[0])) == {"both directions", "control: nothing spoofed", *KINDS[:2]}
    assert auc.get_ylim()[0] > auc.get_ylim()[1]  # the first map is above


def test_localisation_refuses_a_table_that_mixes_splits(table):
    with pytest.raises(PlotError, match="one split"):
        plots.localisation(pd.concat([table, table]))


def test_curves_are_means_over_clips_and_random_is_always_there(curves):
    figure = plots.deletion_insertion(curves, ["segments"])
    down, up = figure.axes
    assert [axes.get_title(loc="left") for axes in (down, up)] == ["Deletion", "Insertion"]
    assert texts(figure.legends[0]) == ["segments", "random"]
    segments, random = down.lines[:2]
    assert list(segments.get_xdata()) == pytest.approx(np.arange(0, 101, 10))
    assert list(segments.get_ydata()) == pytest.approx(2.05 - 2 * np.linspace(0, 1, 11))
    assert list(up.lines[1].get_ydata()) == pytest.approx(0.05 + np.linspace(0, 1, 11))
    assert segments.get_linestyle() != random.get_linestyle() and segments.get_marker() != random.get_marker()
    assert len(texts(plots.deletion_insertion(curves).legends[0])) == 3


def test_a_partial_clip_has_its_stretches_hatched_over_every_map(clip):
    maps = {"integrated_gradients": np.linspace(-1, 1, 50), "energy": np.arange(50.0)}
    figure = plots.partial_clip(clip["wave"], RATE, [(0.25, 0.5), (0.8, 0.9)], maps)
    wave, signed, energy = figure.axes
    for axes in figure.axes:
        spans = [patch for patch in axes.patches if patch.get_hatch()]
        places = [(span.get_x(), span.get_x() + span.get_width()) for span in spans]
        assert places == [pytest.approx((0.25, 0.5)), pytest.approx((0.8, 0.9))]
        assert axes.get_xlim() == (0, 1)
    (stairs,) = (patch for patch in energy.patches if not patch.get_hatch())
    assert stairs.get_data().values == pytest.approx(np.arange(50)) and stairs.get_data().edges[-1] == pytest.approx(1)
    assert len(signed.lines) == 1 and not energy.lines  # zero is marked where values have both signs
    assert signed.get_ylabel() == "integrated\ngradients"
    assert texts(wave.get_legend()) == ["spoof"]
    assert plots.partial_clip(clip["wave"], RATE, [], maps).axes[0].get_legend() is None
    with pytest.raises(PlotError, match="map"):
        plots.partial_clip(clip["wave"], RATE, [], {})


def test_figures_are_the_same_every_time_without_warnings(table, curves, clip):
    draws = (
        lambda: plots.localisation(table),
        lambda: plots.deletion_insertion(curves),
        lambda: plots.partial_clip(clip["wave"], RATE, [(0.2, 0.4)], {"segments": np.linspace(-1, 1, 50)}),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for draw in draws:
            for kind in ("png", "svg", "pdf"):
                assert render(draw(), kind) == render(draw(), kind)
