"""Spectrograms, read back from their axes."""

import pytest

from aasist_lib import plots
from tests.plots.looking import RATE


def test_spectrogram_pair_shares_one_scale(clip):
    figure = plots.spectrogram_pair(clip["wave"], 0.1 * clip["wave"][:12_000], ["loud", "soft"], RATE)
    loud, soft, bar = figure.axes
    assert loud.images[0].get_clim() == soft.images[0].get_clim()
    assert loud.get_xlim() == soft.get_xlim() == (0, 1)
    assert loud.images[0].get_array().max() - soft.images[0].get_array().max() == pytest.approx(20, abs=0.1)
    assert [axes.get_title(loc="left") for axes in (loud, soft)] == ["loud", "soft"]
    assert bar.get_ylabel() == "Level (dB re full scale)"
