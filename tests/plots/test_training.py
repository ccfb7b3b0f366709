"""The training history, read back from its axes."""

import pytest
from matplotlib.text import Text

from aasist_lib import plots
from tests.plots.looking import render, texts


def test_training_history_has_five_panels_and_marks_the_switch(history):
    figure = plots.training_history(history, switch_epoch=5, best_epoch=6)
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "Loss", "Dev EER (%)", "Learning rate", "Weight of\nfocal loss", "Distortions",
    ]  # fmt: skip
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    for axes in figure.axes:
        assert [5, 5] in [list(line.get_xdata()) for line in axes.lines]
    assert [text.get_text() for text in figure.axes[0].texts] == ["loss switch (epoch 5)"]
    assert figure.axes[1].lines[0].get_ydata() == pytest.approx(100 * history["dev_eer"])
    assert figure.axes[3].lines[0].get_ydata() == pytest.approx(history["focal_weight"])
    assert figure.axes[4].lines[0].get_ydata() == pytest.approx(history["augmentation_probability"])
    assert figure.axes[4].lines[1].get_ydata() == pytest.approx(history["augmentation_intensity"])
    assert texts(figure.axes[4].get_legend()) == ["probability", "intensity"]
    assert texts(figure.axes[1].get_legend()) == ["best: 7.00 % at epoch 6"]
    assert [line.get_linestyle() for line in figure.axes[0].lines[:2]] == ["-", "--"]


def test_training_history_of_one_epoch_without_switch(history):
    figure = plots.training_history(history[:1], switch_epoch=None, best_epoch=None)
    assert not figure.axes[0].texts
    assert [len(axes.lines) for axes in figure.axes] == [2, 1, 1, 1, 2]
    render(figure)


def test_a_small_learning_rate_is_written_without_markup(history):
    rate = history["learning_rate"]
    figure = plots.training_history(history.assign(learning_rate=1e-3 * rate / rate.max()), None, None)
    render(figure)
    shown = [text.get_text() for text in figure.findobj(Text)]
    assert figure.axes[2].yaxis.get_offset_text().get_text() == "1e−3"
    assert not any("mathdefault" in text or "$" in text for text in shown)
