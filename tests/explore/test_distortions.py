"""The augmentation playground and the tour of a distortion."""

import numpy as np
import pytest

from aasist_lib.config.augmentation import catalogue
from aasist_lib.explore import AugmentationPlayground, distortion_tour
from aasist_lib.explore.distortions import CHAIN
from aasist_lib.models import build_model


@pytest.fixture
def playground(tiny_profile):
    """Three clips, four distortions, and an untrained detector: enough to see a score move."""
    rng = np.random.default_rng(0)
    clips = {name: (0.1 * rng.standard_normal(8000)).astype(np.float32) for name in ("one", "two", "three")}
    items = [item for item in catalogue() if item.kind in ("gain", "noise", "low_pass", "codec")]
    return AugmentationPlayground(build_model(tiny_profile.model).eval(), clips, items)


def test_the_playground_applies_the_chain_in_its_order(playground):
    nothing, score = playground.make("one", [])
    assert np.array_equal(nothing, playground.clips["one"]) and score == playground.clean["one"]
    there = playground.make("one", [("noise", 1.0), ("low_pass", 1.0)])
    back = playground.make("one", [("low_pass", 1.0), ("noise", 1.0)])
    assert not np.array_equal(there[0], back[0]) and there[1] != back[1]
    assert np.array_equal(there[0], playground.make("one", [("noise", 1.0), ("low_pass", 1.0)])[0])
    assert not np.array_equal(there[0], playground.make("one", [("noise", 1.0), ("low_pass", 1.0)], draw=1)[0])


def test_every_control_of_the_playground_redraws_its_page(playground):
    top, *steps, page = playground.widget().children
    clip, draw = top.children
    assert len(steps) == CHAIN and "<audio controls" in page.value and "score" in page.value
    seen = [page.value]
    kind, strength = steps[1].children
    for control, value in ((clip, "three"), (draw, 3), (kind, "noise"), (strength, 0.3)):
        control.value = value
        assert page.value not in seen
        seen.append(page.value)
    assert "noise 0.3" in page.value and "three" in page.value


def test_the_playground_headless_draws_three_choices(playground, shown, monkeypatch):
    monkeypatch.setenv("AASIST_HEADLESS", "1")
    playground._ipython_display_()
    assert len(shown) == 3
    for page, clip in zip(shown, ("one", "two", "three"), strict=True):
        assert f"{clip}: waveform before and after" in page.data and "<audio controls" in page.data
    monkeypatch.delenv("AASIST_HEADLESS")
    shown.clear()
    playground._ipython_display_()
    assert len(shown[0].children) == 1 + CHAIN + 1


def test_the_tour_has_a_figure_and_a_player_for_every_intensity(playground):
    (item,) = [item for item in catalogue() if item.kind == "codec"]
    page = distortion_tour(playground.clips["one"], item, (0.0, 1.0, 1.8), "u1").data
    assert page.count("<audio controls") == 4 and page.count("<img ") == 1
    assert len(set(page.split("<audio controls")[1:])) == 4, "the clip and its three versions do not all differ"
