"""Notebook 05 live: the threshold explorer, operated by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import Lab, Notebook, control, picture_of, press

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def notebook(lab: Lab) -> Iterator[Notebook]:
    """Notebook 05, executed."""
    with lab.opened("05_eer_analysis") as notebook:
        yield notebook


@pytest.fixture
def explorer(notebook: Notebook) -> Locator:
    """The output with the explorer."""
    return notebook.output(".widget-slider")


def test_arrow_keys_move_the_threshold(notebook: Notebook, explorer: Locator, pictures: Path) -> None:
    slider, picture = control(explorer, "Threshold"), picture_of(explorer)
    readout = slider.locator(".widget-readout")
    at_eer = float(readout.inner_text())
    press(slider.get_by_role("slider"), "ArrowRight", 12)
    expect(readout).not_to_have_text(f"{at_eer:.2f}")
    moved = readout.inner_text()
    assert float(moved) > at_eer
    expect(explorer.locator("img")).to_have_attribute("alt", re.compile(f"at the threshold {re.escape(moved)},"))
    assert picture_of(explorer) != picture
    notebook.screenshot(explorer, pictures / "05_threshold.png")
    press(slider.get_by_role("slider"), "Home")
    expect(explorer.locator("img")).to_have_attribute(
        "alt", re.compile(r" 0\.0% of bona fide|100\.0% of spoofed clips accepted")
    )
    assert float(readout.inner_text()) < at_eer
    assert notebook.problems == []
