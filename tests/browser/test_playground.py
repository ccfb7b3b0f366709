"""Notebook 02 live: the augmentation playground, operated by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import Lab, Notebook, control, picture_of, press, seconds_of

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def notebook(lab: Lab) -> Iterator[Notebook]:
    """Notebook 02 on few clips, because its tables are not tested here."""
    with lab.opened("02_augmentation", CLIPS=8, MATRIX=8) as notebook:
        yield notebook


@pytest.fixture
def playground(notebook: Notebook) -> Locator:
    """The output with the playground."""
    return notebook.output(".widget-dropdown")


@pytest.fixture
def scores(playground: Locator) -> Locator:
    """The line with the scores before and after."""
    return playground.locator("p")


def test_it_runs_and_shows_every_part(notebook: Notebook, playground: Locator, scores: Locator, pictures: Path) -> None:
    assert all(cell["count"] for cell in notebook.codes())
    expect(playground.get_by_role("combobox")).to_have_count(4)
    expect(playground.get_by_role("slider")).to_have_count(4)
    expect(scores).to_contain_text("score")
    assert picture_of(playground).startswith("data:image/png") and seconds_of(playground.locator("audio")) > 1
    notebook.screenshot(playground, pictures / "02_playground.png")
    assert notebook.problems == []


def test_arrow_keys_move_a_strength_and_all_follows(notebook: Notebook, playground: Locator, scores: Locator) -> None:
    picture, sound = picture_of(playground), playground.locator("audio").get_attribute("src")
    strength = control(playground, "Strength").first
    press(strength.get_by_role("slider"), "ArrowLeft", 3)
    expect(strength.locator(".widget-readout")).to_have_text("0.70")
    expect(scores).to_contain_text("0.7")
    expect(playground.locator("audio")).not_to_have_attribute("src", sound)
    assert picture_of(playground) != picture
    assert notebook.problems == []


@pytest.mark.parametrize("name", ["Clip", "Step 2"])
def test_arrow_keys_choose_from_a_menu(notebook: Notebook, playground: Locator, name: str) -> None:
    picture, menu = picture_of(playground), control(playground, name).get_by_role("combobox")
    before = menu.input_value()
    press(menu, "ArrowDown")
    expect(menu).not_to_have_value(before)
    expect(playground.locator("img")).not_to_have_attribute("src", picture)
    assert seconds_of(playground.locator("audio")) > 1
    press(menu, "ArrowUp")
    expect(playground.locator("img")).to_have_attribute("src", picture)
    expect(menu).to_have_value(before)
    assert notebook.problems == []


def test_keys_in_a_menu_do_nothing_to_the_notebook(notebook: Notebook, playground: Locator) -> None:
    cells, menu = notebook.codes(), control(playground, "Step 3").get_by_role("combobox")
    for key in ("b", "x", "d", "d"):  # JupyterLab shortcuts: insert a cell below, cut the cell, delete it
        press(menu, key)
    expect(menu).to_be_focused()
    assert notebook.codes() == cells
    assert notebook.problems == []


def test_tab_goes_from_one_control_to_the_next(notebook: Notebook, playground: Locator) -> None:
    press(control(playground, "Clip").get_by_role("combobox"), "Tab")
    draw, picture = control(playground, "Draw"), picture_of(playground)
    expect(draw.get_by_role("slider")).to_be_focused()
    notebook.page.keyboard.press("ArrowRight")
    expect(draw.locator(".widget-readout")).to_have_text("1")
    expect(playground.locator("img")).not_to_have_attribute("src", picture)
    assert notebook.problems == []
