"""Notebook 02 live: the augmentation playground under the keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import Lab, Notebook, control, picture_of, seconds_of

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def notebook(lab: Lab) -> Iterator[Notebook]:
    """Notebook 02, run over few clips: its tables are not what is looked at here."""
    with lab.opened("02_augmentation", CLIPS=8, MATRIX=8) as notebook:
        yield notebook


@pytest.fixture
def playground(notebook: Notebook) -> Locator:
    """The output that holds the playground."""
    return notebook.output(".widget-dropdown")


def test_it_runs_and_shows_every_part_of_the_playground(notebook: Notebook, playground: Locator, pictures: Path) -> None:
    assert all(cell["count"] for cell in notebook.codes())
    expect(playground.get_by_role("combobox")).to_have_count(4)
    expect(playground.get_by_role("slider")).to_have_count(4)
    expect(playground.locator("p")).to_contain_text("score")
    assert picture_of(playground).startswith("data:image/png") and seconds_of(playground.locator("audio")) > 1
    playground.screenshot(path=pictures / "02_playground.png")
    assert notebook.problems == []


def test_arrow_keys_move_a_strength_and_all_follows(notebook: Notebook, playground: Locator) -> None:
    picture, text = picture_of(playground), playground.locator("p").inner_text()
    strength = control(playground, "Strength").first
    strength.get_by_role("slider").focus()
    for _ in range(3):
        notebook.page.keyboard.press("ArrowLeft")
    expect(strength.locator(".widget-readout")).to_have_text("0.70")
    expect(playground.locator("p")).not_to_have_text(text)
    expect(playground.locator("p")).to_contain_text("0.7")
    assert picture_of(playground) != picture
    assert notebook.problems == []


def test_arrow_keys_choose_another_clip_and_distortion(notebook: Notebook, playground: Locator) -> None:
    for name, place in (("Clip", 0), ("Step 2", 3)):
        picture, text = picture_of(playground), playground.locator("p").inner_text()
        menu = control(playground, name).get_by_role("combobox")
        menu.focus()
        before = menu.input_value()
        for _ in range(place + 1):
            notebook.page.keyboard.press("ArrowDown")
        assert menu.input_value() != before
        expect(playground.locator("p")).not_to_have_text(text)
        assert picture_of(playground) != picture, f"{name}: the picture has not changed"
    assert seconds_of(playground.locator("audio")) > 1
    assert notebook.problems == []


def test_tab_goes_from_one_control_to_the_next(notebook: Notebook, playground: Locator) -> None:
    control(playground, "Clip").get_by_role("combobox").focus()
    notebook.page.keyboard.press("Tab")
    draw = control(playground, "Draw")
    expect(draw.get_by_role("slider")).to_be_focused()
    picture = picture_of(playground)
    notebook.page.keyboard.press("ArrowRight")
    expect(draw.locator(".widget-readout")).to_have_text("1")
    expect(playground.locator("img")).not_to_have_attribute("src", picture)
    assert notebook.problems == []
