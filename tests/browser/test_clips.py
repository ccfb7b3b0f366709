"""Notebook 04 live: the clip explorer, operated by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import Lab, Notebook, control, picture_of, press, seconds_of

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def notebook(lab: Lab) -> Iterator[Notebook]:
    """Notebook 04 on few clips, because its averages are not tested here."""
    with lab.opened("04_attention", CLIPS=2, PARTIAL=2) as notebook:
        yield notebook


@pytest.fixture
def explorer(notebook: Notebook) -> Locator:
    """The output with the explorer."""
    return notebook.output(".widget-dropdown")


def test_it_runs_and_shows_a_clip_with_its_map(notebook: Notebook, explorer: Locator, pictures: Path) -> None:
    assert all(cell["count"] for cell in notebook.codes())
    expect(explorer.get_by_role("combobox")).to_have_count(4)
    expect(explorer.locator("p")).to_contain_text("threshold")
    assert picture_of(explorer).startswith("data:image/png") and seconds_of(explorer.locator("audio")) > 1
    notebook.screenshot(explorer, pictures / "04_clips.png")
    assert notebook.problems == []


def test_arrow_keys_move_on_to_another_clip(notebook: Notebook, explorer: Locator) -> None:
    picture, sound = picture_of(explorer), explorer.locator("audio").get_attribute("src")
    slider = control(explorer, "Clip")
    press(slider.get_by_role("slider"), "ArrowRight", 2)
    expect(slider.locator(".widget-readout")).to_have_text("3")
    expect(explorer.locator("audio")).not_to_have_attribute("src", sound)
    assert picture_of(explorer) != picture and seconds_of(explorer.locator("audio")) > 1
    assert notebook.problems == []


@pytest.mark.parametrize("name", ["Map", "Order", "Show", "Split"])
def test_arrow_keys_choose_from_a_menu(notebook: Notebook, explorer: Locator, name: str) -> None:
    picture, menu = picture_of(explorer), control(explorer, name).get_by_role("combobox")
    before = menu.input_value()
    shown_is_spoof = explorer.locator("p").inner_text().startswith("spoof")
    press(menu, "ArrowDown", 2 if name == "Show" and not shown_is_spoof else 1)  # the other class: all, bona fide, spoof
    expect(menu).not_to_have_value(before)
    expect(explorer.locator("img")).not_to_have_attribute("src", picture)
    expect(menu).to_be_focused()
    assert notebook.problems == []
