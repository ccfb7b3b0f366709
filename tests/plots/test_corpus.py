"""Figures of a corpus, read back from their axes."""

import numpy as np
import pandas as pd

from aasist_lib import plots


def test_corpus_overview_counts(scores):
    split = np.where(np.arange(600) % 3 == 0, "dev", "train")
    trials = scores.assign(split=split, speaker=np.where(split == "dev", "a", "b"))
    trials.loc[trials["label"] == "spoof", "speaker"] += trials["attack"]  # synthesisers' voices are no speakers
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


def test_leak_audit_marks_what_is_under_the_line():
    table = pd.DataFrame({"feature": ["level", "bandwidth", "all"], "dev_eer": [0.48, 0.31, 0.44]})
    (axes,) = plots.leak_audit(table).axes
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["leak"].get_xdata().tolist() == [0.31]
    assert sorted(lines["harmless"].get_xdata()) == [0.44, 0.48]
    assert lines["leak"].get_marker() != lines["harmless"].get_marker()
    assert lines["limit 40%"].get_xdata() == [0.4, 0.4]
    assert axes.get_yticklabels()[int(lines["leak"].get_ydata()[0])].get_text() == "bandwidth"


def test_what_a_corpus_does_not_tell_is_not_counted(scores):
    trials = scores.assign(split="train", speaker="-", attack="-")
    (axes,) = plots.corpus_overview(trials).axes
    assert axes.get_title(loc="left") == "train: 600 clips"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["untold", "bona fide"]
