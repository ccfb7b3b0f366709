"""What the figures show, read back from their axes."""

import io
import subprocess
import sys
import warnings

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from aasist_lib import metrics, plots
from aasist_lib.plots import PlotError

RATE = 16_000


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    label = np.repeat(["bonafide", "spoof"], [200, 400])
    attack = np.where(label == "bonafide", "-", np.array(["lpc", "piper"])[np.arange(600) % 2])
    values = rng.normal(np.where(label == "bonafide", 2.0, np.where(attack == "lpc", -2.0, 0.5)), 1)
    return pd.DataFrame({"utt_id": [f"u{n}" for n in range(600)], "score": values, "label": label, "attack": attack})


@pytest.fixture
def history():
    epoch = np.arange(1, 9)
    eer = np.array([0.3, 0.22, 0.16, 0.12, 0.09, 0.07, 0.075, 0.08])
    return pd.DataFrame(
        {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "dev_loss": 1 / epoch + 0.1,
            "dev_eer": eer,
            "learning_rate": 1e-3 * np.cos(epoch / 6),
            "focal_weight": np.clip((epoch - 4) / 3, 0, 1),
        }
    )


@pytest.fixture
def clip():
    """A tone burst in the second half of a second, attention on it, and the nodes' edges."""
    time = np.arange(RATE) / RATE
    wave = 0.5 * np.sin(2 * np.pi * 3000 * time) * (time > 0.5)
    node = np.where(np.arange(10) < 5, 0.02, 0.18)
    stack = np.eye(10)[7]
    return {"wave": wave, "rate": RATE, "seconds": np.linspace(0, 1, 11), "node": node, "stack": stack}


def render(figure, kind="png"):
    buffer = io.BytesIO()
    stamp = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    with matplotlib.rc_context({"svg.hashsalt": "test"}):
        figure.savefig(buffer, format=kind, metadata=stamp)
    return buffer.getvalue()


def texts(artist):
    return [text.get_text() for text in artist.get_texts()]


def all_figures(scores, history, clip):
    bonafide, spoof = metrics.split_classes(scores["label"], scores["score"])
    trials = scores.assign(split="train", speaker="a")
    return {
        "histograms": lambda: plots.score_histograms(scores, 0.5, "Scores"),
        "det": lambda: plots.det({"a": (bonafide, spoof)}, {"a": metrics.det_band(bonafide, spoof, replicates=20)}),
        "attacks": lambda: plots.eer_by_attack(metrics.breakdown(scores, ["attack"], replicates=20)),
        "history": lambda: plots.training_history(history, 5, 6),
        "clip": lambda: plots.attention_over_clip(**clip, band=np.ones(7)),
        "matrix": lambda: plots.attention_matrix(np.eye(4), "read", "reader", "Map"),
        "corpus": lambda: plots.corpus_overview(trials),
        "pair": lambda: plots.spectrogram_pair(clip["wave"], clip["wave"][:8000], ["a", "b"], RATE),
        "leaks": lambda: plots.leak_audit(pd.DataFrame({"feature": ["level"], "dev_eer": [0.45]})),
    }


NAMES = ["histograms", "det", "attacks", "history", "clip", "matrix", "corpus", "pair", "leaks"]


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_renders_alike_and_leaves_nothing_behind(name, scores, history, clip):
    draw = all_figures(scores, history, clip)[name]
    before = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure, again = draw(), draw()
        for kind in ("png", "svg", "pdf"):  # in the order in which a run folder saves them
            assert render(figure, kind) == render(again, kind), kind
    assert isinstance(figure, Figure)
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []
    for axes in figure.axes:
        assert axes.get_xlabel() or axes.get_ylabel() or axes.get_title(loc="left")


def test_histograms_have_area_1_and_tell_classes_apart_without_colour(scores):
    (axes,) = plots.score_histograms(scores, 0.5, "Scores of dev").axes
    outlines = [patch for patch in axes.patches if not patch.get_fill()]
    for patch in outlines:
        density, edges, _ = patch.get_data()
        assert np.sum(density * np.diff(edges)) == pytest.approx(1)
    assert [patch.get_linestyle() for patch in outlines] == ["-", "--"]
    assert axes.get_title(loc="left") == "Scores of dev"
    assert axes.get_xlim() == (scores["score"].min(), scores["score"].max())
    bonafide, spoof = metrics.split_classes(scores["label"], scores["score"])
    rejected, accepted = np.mean(bonafide <= 0.5), np.mean(spoof > 0.5)
    assert texts(axes.get_legend()) == [
        "bona fide (200 clips)",
        "spoof (400 clips)",
        f"threshold 0.50\nbona fide rejected {rejected:.1%}\nspoof accepted {accepted:.1%}",
    ]
    assert axes.lines[0].get_xdata() == [0.5, 0.5]


def test_histogram_of_one_value_without_threshold():
    flat = pd.DataFrame({"score": [1.0, 1.0], "label": ["bonafide", "spoof"]})
    (axes,) = plots.score_histograms(flat, None, "Flat").axes
    assert not axes.lines
    assert axes.get_xlim() == (1.0, 2.0)


def test_det_draws_the_curve_and_marks_the_eer(scores):
    bonafide, spoof = metrics.split_classes(scores["label"], scores["score"])
    eer, _ = metrics.eer(bonafide, spoof)
    band = metrics.det_band(bonafide, spoof, replicates=20)
    figure = plots.det({"ours": (bonafide, spoof), "worse": (bonafide - 1, spoof)}, {"ours": band})
    (axes,) = figure.axes
    assert axes.get_xlim() == axes.get_ylim()
    ours = axes.lines[1]
    far, frr = ours.get_data()
    curve = metrics.det_curve(bonafide, spoof)
    drawn = set(zip(curve.far, curve.frr, strict=True))
    low, high = axes.get_xlim()
    inside = [(x, y) for x, y in zip(far, frr, strict=True) if low < x < high and low < y < high]
    assert len(inside) > 30
    assert set(inside) <= drawn
    (mark,) = [line for line in axes.lines if line.get_label().startswith("ours")]
    assert mark.get_data() == ([eer], [eer])
    assert texts(figure.legends[0]) == [
        f"ours: EER {eer:.2%}",
        f"worse: EER {metrics.eer(bonafide - 1, spoof)[0]:.2%}",
    ]
    assert ours.get_linestyle() != axes.lines[3].get_linestyle()
    assert len(axes.collections) == 1  # the band
    render(figure)
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert {"1", "10", "50"} <= set(ticks)
    # Probit: 50 % to 84.1 % is as far as 50 % to 15.9 %.
    place = [axes.transData.transform((rate, 0.1))[0] for rate in (0.1586552539, 0.5, 0.8413447461)]
    assert place[1] - place[0] == pytest.approx(place[2] - place[1], rel=1e-6)


@pytest.mark.parametrize("shift", [100.0, -1.0])
def test_det_of_perfect_and_of_useless_scores(shift):
    rng = np.random.default_rng(0)
    figure = plots.det({"edge": (rng.normal(shift, 1, 50), rng.normal(0, 1, 50))})
    low, high = figure.axes[0].get_xlim()
    (mark,) = [line for line in figure.axes[0].lines if line.get_label().startswith("edge")]
    assert low <= mark.get_xdata()[0] <= high
    assert high == (0.6 if shift > 0 else 0.99)
    render(figure)


def test_attacks_are_sorted_and_marked(scores):
    table = metrics.breakdown(scores, ["attack"], known={"lpc"}, replicates=50)
    figure = plots.eer_by_attack(table, "By attack")
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["pooled unseen", "pooled known", "pooled", "lpc", "piper"]  # from below: the hardest on top
    assert texts(axes.get_legend()) == ["known", "unseen", "pooled"]
    known, unseen, pooled = axes.containers
    assert [each.lines[0].get_marker() for each in (known, unseen, pooled)] == ["o", "s", "D"]
    piper = table[table["attack"] == "piper"].iloc[0]
    assert unseen.lines[0].get_xdata().tolist() == [100 * piper["eer"]]
    (segment,) = unseen.lines[2][0].get_segments()
    assert segment[:, 0] == pytest.approx([100 * piper["eer_low"], 100 * piper["eer_high"]])
    assert f"{100 * piper['eer']:.1f} %   (200 clips)" in [text.get_text() for text in axes.texts]
    assert axes.get_xlabel().startswith("EER (%)")


def test_two_columns_name_their_cells(scores):
    table = metrics.breakdown(scores.assign(codec="mp3"), ["attack", "codec"], replicates=5)
    names = [label.get_text() for label in plots.eer_by_attack(table).axes[0].get_yticklabels()]
    assert names == ["pooled", "lpc · mp3", "piper · mp3"]


def test_training_history_has_four_panels_and_marks_the_switch(history):
    figure = plots.training_history(history, switch_epoch=5, best_epoch=6)
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "Loss", "Dev EER (%)", "Learning rate", "Weight of\nfocal loss",
    ]  # fmt: skip
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    for axes in figure.axes:
        assert [5, 5] in [list(line.get_xdata()) for line in axes.lines]
    assert [text.get_text() for text in figure.axes[0].texts] == ["loss switch (epoch 5)"]
    assert figure.axes[1].lines[0].get_ydata() == pytest.approx(100 * history["dev_eer"])
    assert figure.axes[3].lines[0].get_ydata() == pytest.approx(history["focal_weight"])
    assert texts(figure.axes[1].get_legend()) == ["best: 7.00 % at epoch 6"]
    assert [line.get_linestyle() for line in figure.axes[0].lines[:2]] == ["-", "--"]


def test_training_history_of_one_epoch_without_switch(history):
    figure = plots.training_history(history[:1], switch_epoch=None, best_epoch=None)
    assert not figure.axes[0].texts
    assert [len(axes.lines) for axes in figure.axes] == [2, 1, 1, 1]
    render(figure)


def test_attention_shares_the_time_axis_and_is_relative(clip):
    figure = plots.attention_over_clip(**clip, title="A clip")
    wave, spectrum, strips, over, *bars = figure.axes
    assert {axes.get_xlim() for axes in (wave, spectrum, strips, over)} == {(0.0, 1.0)}
    assert strips.get_xlabel() == "Time (s)"
    assert [bar.get_ylabel() for bar in bars] == ["Level (dB re full scale)", "× even"]
    graph, stack = over.patches
    assert graph.get_data().values == pytest.approx(clip["node"] * 10)
    assert graph.get_data().edges == pytest.approx(clip["seconds"])
    assert stack.get_data().values.max() == 10
    assert texts(over.get_legend()) == ["graph nodes", "stack node"]
    assert strips.collections[0].get_array().shape == (2, 10)
    level = spectrum.images[0].get_array()
    kilohertz = np.linspace(0, 8, level.shape[0])
    assert kilohertz[level[:, -5].argmax()] == pytest.approx(3, abs=0.05)
    assert level.max() == pytest.approx(20 * np.log10(0.5), abs=0.5)  # the tone's amplitude is 0.5
    assert level[:, 5].max() < -100  # silence
    assert spectrum.images[0].get_cmap().name == "viridis"


def test_attention_with_bands_has_one_more_panel(clip):
    band = np.array([0.1, 0.2, 0.7])
    figure = plots.attention_over_clip(**clip, band=band)
    below = figure.axes[-1]
    assert below.get_xlabel() == "Feature band (number)"
    assert below.patches[0].get_data().values == pytest.approx(3 * band)


def test_attention_needs_edges_not_centres(clip):
    with pytest.raises(PlotError, match="10 node edges, 10 node and 10 stack values"):
        plots.attention_over_clip(**{**clip, "seconds": clip["seconds"][:-1]})


def test_attention_matrix():
    matrix = np.arange(6.0).reshape(2, 3) / 15
    axes, bar = plots.attention_matrix(matrix, "read", "reader", "Map").axes
    np.testing.assert_array_equal(axes.images[0].get_array(), matrix)
    assert axes.images[0].get_cmap().name == "cividis"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("read", "reader")
    assert bar.get_ylabel() == "Attention (fraction of a row)"


def test_corpus_overview_counts(scores):
    split = np.where(np.arange(600) % 3 == 0, "dev", "train")
    trials = scores.assign(split=split, speaker=np.where(split == "dev", "a", "b"))
    figure = plots.corpus_overview(trials)
    train, dev = figure.axes
    assert train.get_title(loc="left") == "train: 400 clips, 1 speaker"
    assert [label.get_text() for label in train.get_yticklabels()] == ["piper", "lpc", "bona fide"]
    counts = trials.groupby(["split", "label"]).size()
    widths = [patch.get_width() for patch in dev.patches]
    assert widths[2] == counts["dev", "bonafide"]
    assert sum(widths[:2]) == counts["dev", "spoof"]
    assert [patch.get_hatch() for patch in dev.patches] == ["///", "///", ""]
    assert [text.get_text() for text in dev.texts] == [str(int(width)) for width in widths]


def test_spectrogram_pair_shares_one_scale(clip):
    figure = plots.spectrogram_pair(clip["wave"], 0.1 * clip["wave"][:12_000], ["loud", "soft"], RATE)
    loud, soft, bar = figure.axes
    assert loud.images[0].get_clim() == soft.images[0].get_clim()
    assert loud.get_xlim() == soft.get_xlim() == (0, 1)
    assert loud.images[0].get_array().max() - soft.images[0].get_array().max() == pytest.approx(20, abs=0.1)
    assert [axes.get_title(loc="left") for axes in (loud, soft)] == ["loud", "soft"]
    assert bar.get_ylabel() == "Level (dB re full scale)"


def test_leak_audit_marks_what_is_under_the_line():
    table = pd.DataFrame({"feature": ["level", "bandwidth", "all"], "dev_eer": [0.48, 0.31, 0.44]})
    (axes,) = plots.leak_audit(table).axes
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["leak"].get_xdata().tolist() == [0.31]
    assert sorted(lines["harmless"].get_xdata()) == [0.44, 0.48]
    assert lines["leak"].get_marker() != lines["harmless"].get_marker()
    assert lines["limit 40%"].get_xdata() == [0.4, 0.4]
    assert axes.get_yticklabels()[int(lines["leak"].get_ydata()[0])].get_text() == "bandwidth"


def test_missing_columns_and_empty_tables_are_errors(scores, history):
    with pytest.raises(PlotError, match="no column label; it has utt_id, score"):
        plots.score_histograms(scores[["utt_id", "score"]], 0.0, "Scores")
    with pytest.raises(PlotError, match="no column focal_weight"):
        plots.training_history(history.drop(columns="focal_weight"), None, None)
    with pytest.raises(PlotError, match="best_epoch = 9 .* of epochs 1 to 8"):
        plots.training_history(history, None, 9)
    with pytest.raises(PlotError, match="empty"):
        plots.leak_audit(pd.DataFrame({"feature": [], "dev_eer": []}))


def test_no_torch_is_imported():
    code = "import sys, aasist_lib.plots; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
