"""What holds for every figure."""

import subprocess
import sys
import warnings

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from aasist_lib import metrics, plots
from aasist_lib.plots import PlotError
from tests.plots.looking import RATE, render


def all_figures(scores, history, clip):
    bonafide, spoof = metrics.split_classes(scores["label"], scores["score"])
    cells = metrics.breakdown(scores.assign(codec="-"), ["attack", "codec"], replicates=5)
    trials = scores.assign(split="train", speaker="a")
    paired = metrics.paired_bootstrap(scores["label"], scores["score"], -scores["score"], replicates=20)
    return {
        "histograms": lambda: plots.score_histograms(scores, 0.5, "Scores"),
        "det": lambda: plots.det({"a": (bonafide, spoof)}, {"a": metrics.det_band(bonafide, spoof, replicates=20)}),
        "attacks": lambda: plots.eer_by_attack(metrics.breakdown(scores, ["attack"], replicates=20)),
        "heatmap": lambda: plots.breakdown_heatmap(cells, "attack", "codec"),
        "history": lambda: plots.training_history(history, 5, 6),
        "clip": lambda: plots.attention_over_clip(**clip),
        "threshold": lambda: plots.threshold_view(scores, 0.5, "Threshold"),
        "calibration": lambda: plots.calibration((bonafide, spoof), (2 * bonafide, 2 * spoof)),
        "costs": lambda: plots.dcf_over_priors({"a": (bonafide, spoof)}),
        "comparison": lambda: plots.comparison({"trials": paired}, ("a", "b")),
        "corpus": lambda: plots.corpus_overview(trials),
        "pair": lambda: plots.spectrogram_pair(clip["wave"], clip["wave"][:8000], ["a", "b"], RATE),
        "leaks": lambda: plots.leak_audit(pd.DataFrame({"feature": ["level"], "dev_eer": [0.45]})),
    }


NAMES = [
    "histograms", "threshold", "calibration", "det", "costs", "comparison", "attacks", "heatmap", "history", "clip",
    "corpus", "pair", "leaks",
]  # fmt: skip


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


def test_missing_columns_and_empty_tables_are_errors(scores, history):
    with pytest.raises(PlotError, match="column.* label.* utt_id, score"):
        plots.score_histograms(scores[["utt_id", "score"]], 0.0, "Scores")
    with pytest.raises(PlotError, match="focal_weight"):
        plots.training_history(history.drop(columns="focal_weight"), None, None)
    with pytest.raises(PlotError, match="best_epoch = 9 .*8"):
        plots.training_history(history, None, 9)
    with pytest.raises(PlotError, match="empty"):
        plots.leak_audit(pd.DataFrame({"feature": [], "dev_eer": []}))


def test_no_torch_is_imported():
    code = "import sys, aasist_lib.plots; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


DOLLARS = "cost $^$ of $x_"


@pytest.mark.parametrize("kind", ["attacks", "heatmap", "histograms", "det", "costs", "clip", "corpus", "pair"])
def test_dollars_in_names_are_no_formulas(kind, scores, clip):
    scores = scores.replace({"attack": {"lpc": DOLLARS}})
    pair = metrics.split_classes(scores["label"], scores["score"])
    figure = {
        "attacks": lambda: plots.eer_by_attack(metrics.breakdown(scores, ["attack"], replicates=5)),
        "heatmap": lambda: plots.breakdown_heatmap(
            metrics.breakdown(scores.assign(codec=DOLLARS), ["attack", "codec"], replicates=5), "attack", "codec"
        ),
        "histograms": lambda: plots.score_histograms(scores, 0.5, DOLLARS),
        "det": lambda: plots.det({DOLLARS: pair}, title=DOLLARS),
        "costs": lambda: plots.dcf_over_priors({DOLLARS: pair}),
        "clip": lambda: plots.attention_over_clip(**clip, title=DOLLARS),
        "corpus": lambda: plots.corpus_overview(scores.assign(split="train", speaker=DOLLARS)),
        "pair": lambda: plots.spectrogram_pair(clip["wave"], clip["wave"][:8000], [DOLLARS, "b"], RATE),
    }[kind]()
    for form in ("png", "svg"):
        render(figure, form)
    named = [text for text in figure.findobj(Text) if DOLLARS in text.get_text()]
    assert named and not any(text.get_parse_math() for text in named)
