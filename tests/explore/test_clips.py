"""The clip explorer: which clips it shows, in which order, and what it says of them."""

import numpy as np
import pandas as pd
import pytest

from aasist_lib.explain.attribution import MAPS
from aasist_lib.explore import ClipExplorer
from aasist_lib.explore.clips import ORDERS
from aasist_lib.models import build_model


@pytest.fixture
def explorer(tiny_profile, tiny_corpus):
    """Dev and eval of the toy corpus with made-up scores: dev2 is spoof above the threshold, dev1 bona fide below it."""
    trials = pd.read_parquet(tiny_corpus / "trials.parquet")
    trials = trials[trials["split"] != "train"].reset_index(drop=True)
    trials["score"] = np.where(trials["label"] == "bonafide", 2.0, -2.0) + 0.01 * np.arange(len(trials))
    trials.loc[trials["utt_id"] == "dev2", "score"] = 1.5
    trials.loc[trials["utt_id"] == "dev1", "score"] = 0.2
    return ClipExplorer(build_model(tiny_profile.model).eval(), trials, 0.5)


def test_clips_come_by_error_and_by_score(explorer):
    by_error = explorer.select("dev")
    assert list(by_error["utt_id"][:2]) == ["dev2", "dev1"] and by_error["error"].is_monotonic_decreasing
    assert by_error["error"][0] == pytest.approx(1.0) and by_error["error"][1] == pytest.approx(0.3)
    assert (by_error["error"][2:] < 0).all() and len(by_error) == 12
    spoof_first, bonafide_first = (explorer.select("dev", order=order)["score"] for order in ORDERS[1:])
    assert spoof_first.is_monotonic_increasing and bonafide_first.is_monotonic_decreasing


def test_a_class_or_an_attack_can_be_shown_alone(explorer):
    assert explorer.shown("eval") == ["all", "bona fide", "spoof", "tone"]
    assert set(explorer.select("eval", "bona fide")["label"]) == {"bonafide"}
    assert set(explorer.select("eval", "tone")["attack"]) == {"tone"}
    assert set(explorer.select("eval")["split"]) == {"eval"}


def test_the_verdict_says_who_was_wrong(explorer):
    table = explorer.select("dev").set_index("utt_id")
    assert explorer.verdict(table.loc["dev2"]) == "spoof (tone); score +1.50, threshold +0.50: called bona fide, wrongly"
    assert explorer.verdict(table.loc["dev3"]).endswith("called bona fide, rightly")


def test_every_control_changes_the_page(explorer):
    widget = explorer.widget()
    (split, show, order), (name, number, count) = (row.children for row in widget.children[:2])
    page, seen = widget.children[2], []
    assert "dev2" in page.value and number.max == 12 and count.value == "of 12" and "<audio controls" in page.value
    changes = [(number, 2), (order, ORDERS[1]), (show, "bona fide"), (split, "eval"), (name, "energy"), (name, "saliency")]
    for control, value in changes:
        seen.append(page.value)
        control.value = value
        assert page.value != seen[-1], control.description
    assert (split.value, show.value, number.max, count.value) == ("eval", "bona fide", 6, "of 6")
    show.value = "all"
    assert number.max == 12 and number.value == 1 and "eval" in page.value


def test_every_map_can_be_drawn(explorer):
    clip = explorer.select("dev").iloc[0]
    pages = [explorer.page(clip, name) for name in MAPS]
    assert len(set(pages)) == len(MAPS)
    for name, text in zip(MAPS, pages, strict=True):
        assert 'alt="dev2, spoof (tone); score +1.50' in text and name in text


def test_headless_the_worst_the_middle_and_the_surest_are_drawn(explorer, shown, monkeypatch):
    monkeypatch.setenv("AASIST_HEADLESS", "1")
    explorer._ipython_display_()
    table = explorer.select("dev")
    assert len(shown) == 3
    for picture, place in zip(shown, (0, 6, 11), strict=True):
        assert table["utt_id"][place] in picture.data


def test_live_it_is_a_widget(explorer, shown, monkeypatch):
    monkeypatch.delenv("AASIST_HEADLESS", raising=False)
    explorer._ipython_display_()
    assert len(shown) == 2 and len(shown[0].children) == 3


def test_what_cannot_be_shown_is_refused(explorer):
    with pytest.raises(ValueError, match="rows .*path"):
        ClipExplorer(explorer.model, explorer.scores.drop(columns="path"), 0.5)
    with pytest.raises(ValueError, match=" 0 rows"):
        ClipExplorer(explorer.model, explorer.scores[:0], 0.5)
    with pytest.raises(ValueError, match="'x'.*nodes"):
        ClipExplorer(explorer.model, explorer.scores, 0.5, first="x")
