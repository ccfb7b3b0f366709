"""Notebook 05 live: the threshold explorer under the keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import Lab, Notebook, control, picture_of

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def notebook(lab: Lab) -> Iterator[Notebook]:
    """Notebook 05, run."""
    with lab.opened("05_eer_analysis") as notebook:
        yield notebook


@pytest.fixture
def explorer(notebook: Notebook) -> Locator:
    """The output that holds the explorer."""
    return notebook.output(".widget-slider")


def test_arrow_keys_move_the_threshold(notebook: Notebook, explorer: Locator, pictures: Path) -> None:
    slider, picture = control(explorer, "Threshold"), picture_of(explorer)
    at_eer = float(slider.locator(".widget-readout").inner_text())
    slider.get_by_role("slider").focus()
    for key, sign in (("ArrowRight", 1), ("Home", -1)):
        notebook.page.keyboard.press(key)
        expect(explorer.locator("img")).not_to_have_attribute("src", picture)
        picture = picture_of(explorer)
        assert sign * (float(slider.locator(".widget-readout").inner_text()) - at_eer) > 0
    expect(explorer.locator("img")).to_have_attribute("alt", re.compile("100.0% of spoofed clips accepted|0.0% of bona fide"))
    explorer.screenshot(path=pictures / "05_threshold.png")
    assert notebook.problems == []
