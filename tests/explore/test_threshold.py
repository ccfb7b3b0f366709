"""The threshold explorer: live as a widget, headless as figures."""

import numpy as np
import pandas as pd
import pytest

from aasist_lib import metrics
from aasist_lib.explore import ThresholdExplorer
from aasist_lib.explore.threshold import STEPS


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    label = np.repeat(["bonafide", "spoof"], [100, 300])
    return pd.DataFrame({"label": label, "score": rng.normal(np.where(label == "bonafide", 2, -1), 1)})


@pytest.fixture
def explorer(scores):
    return ThresholdExplorer(scores, "Toy scores")


def test_choices_go_from_all_accepted_over_the_eer_to_all_rejected(explorer, scores):
    _, threshold = metrics.eer(*metrics.split_classes(scores["label"], scores["score"]))
    assert len(explorer.thresholds) == 2 * STEPS + 1
    assert explorer.thresholds[[0, STEPS, -1]] == pytest.approx([scores["score"].min(), threshold, scores["score"].max()])
    assert np.all(np.diff(explorer.thresholds) > 0)
    assert "100.0% of spoofed clips accepted" in ThresholdExplorer(scores.assign(score=-scores["score"])).alt(0)
    assert "100.0% of bona fide clips are rejected and 0.0% of spoofed clips accepted" in explorer.alt(2 * STEPS)


def test_the_slider_redraws_the_figure(explorer):
    slider, picture = explorer.widget().children
    assert slider.label == f"{explorer.thresholds[STEPS]:.2f}" and slider.description == "Threshold"
    before = picture.value
    assert explorer.alt(STEPS) in before and before.startswith('<img src="data:image/png;base64,iVBOR')
    slider.value = 3
    assert explorer.alt(3) in picture.value and picture.value != before
    slider.value = STEPS
    assert picture.value == before


def test_live_it_is_a_widget(explorer, shown, monkeypatch):
    monkeypatch.delenv("AASIST_HEADLESS", raising=False)
    explorer._ipython_display_()
    widget, script = shown
    assert len(widget.children) == 2 and "'keydown'" in script.data


def test_headless_the_first_middle_and_last_choice_are_figures(explorer, shown, monkeypatch):
    monkeypatch.setenv("AASIST_HEADLESS", "1")
    explorer._ipython_display_()
    assert len(shown) == 3
    for image, choice in zip(shown, (0, STEPS, 2 * STEPS), strict=True):
        assert explorer.alt(choice) in image.data


def test_alt_text_is_escaped(scores):
    slider, picture = ThresholdExplorer(scores, 'The "best" <system>').widget().children
    assert 'alt="The &quot;best&quot; &lt;system&gt;: at the threshold' in picture.value


def test_scores_of_one_class_are_refused(scores):
    with pytest.raises(metrics.MetricError, match="spoof"):
        ThresholdExplorer(scores[scores["label"] == "bonafide"])
