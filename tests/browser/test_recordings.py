"""Notebook 07 live: recordings chosen, uploaded and scored, operated by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Locator, expect

from tests.browser.lab import Lab, Notebook, control, picture_of, press, seconds_of

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def notebook(lab: Lab) -> Iterator[Notebook]:
    """Notebook 07 on its example recordings."""
    with lab.opened("07_score_recordings") as notebook:
        yield notebook


@pytest.fixture
def explorer(notebook: Notebook) -> Locator:
    """The output with the explorer."""
    return notebook.output(".widget-dropdown")


@pytest.fixture
def says(explorer: Locator) -> Locator:
    """The detector's result."""
    return explorer.locator("p").first


def test_it_runs_and_shows_a_recording(notebook: Notebook, explorer: Locator, says: Locator, pictures: Path) -> None:
    assert all(cell["count"] for cell in notebook.codes())
    expect(says).to_contain_text("prior of spoof of 0.5")
    assert picture_of(explorer).startswith("data:image/png") and seconds_of(explorer.locator("audio")) > 1
    notebook.screenshot(explorer, pictures / "07_recordings.png")
    assert notebook.problems == []


def test_the_prior_moves_the_probability_and_not_the_score(notebook: Notebook, explorer: Locator, says: Locator) -> None:
    before = says.inner_text()
    press(control(explorer, "Prior spoof").get_by_role("slider"), "ArrowRight", 20)
    expect(says).to_contain_text("prior of spoof of 0.7,")
    after = says.inner_text()
    assert after.split(";")[0] == before.split(";")[0] and after.split(";")[1] != before.split(";")[1]
    assert notebook.problems == []


def test_arrow_keys_choose_another_recording(notebook: Notebook, explorer: Locator, says: Locator) -> None:
    picture, text = picture_of(explorer), says.inner_text()
    press(control(explorer, "Recording").get_by_role("combobox"), "ArrowDown")
    expect(says).not_to_have_text(text)
    assert picture_of(explorer) != picture and seconds_of(explorer.locator("audio")) > 1
    assert notebook.problems == []


def test_an_upload_is_scored_and_shown(notebook: Notebook, explorer: Locator, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "mine.ogg", 0.1 * np.random.default_rng(0).standard_normal(66_150), 22_050)
    with notebook.page.expect_file_chooser() as chooser:
        press(explorer.get_by_role("button", name="Upload"), "Enter")
    chooser.value.set_files(tmp_path / "mine.ogg")
    expect(control(explorer, "Recording").get_by_role("combobox")).to_have_value("mine.ogg")
    expect(explorer.locator("img")).to_have_attribute("alt", re.compile(r"^mine\.ogg: .*score"))
    assert 2.9 < seconds_of(explorer.locator("audio")) < 3.1
    assert notebook.problems == []


def test_an_upload_above_a_server_s_usual_limit_arrives(notebook: Notebook, explorer: Locator, tmp_path: Path) -> None:
    """Six channels in 64 bits: one second of noise, then silence. 200 MB would crash the browser's driver; that size is tested
    in tests/test_lab.py."""
    wave = np.zeros((4 * 192_000, 6))
    wave[:192_000] = 0.1 * np.random.default_rng(0).standard_normal((192_000, 6))
    soundfile.write(tmp_path / "large.wav", wave, 192_000, subtype="DOUBLE")
    assert 30e6 < (tmp_path / "large.wav").stat().st_size < 40e6
    with notebook.page.expect_file_chooser() as chooser:
        press(explorer.get_by_role("button", name="Upload"), "Enter")
    chooser.value.set_files(tmp_path / "large.wav")
    expect(control(explorer, "Recording").get_by_role("combobox")).to_have_value("large.wav", timeout=120_000)
    expect(explorer.locator("img")).to_have_attribute("alt", re.compile(r"^large\.wav: .*score"), timeout=120_000)
    assert notebook.problems == []


def test_an_upload_that_the_server_would_not_take_is_refused_aloud(
    notebook: Notebook, explorer: Locator, tmp_path: Path
) -> None:
    with (tmp_path / "huge.wav").open("wb") as file:
        file.truncate(230_000_000)
    before = control(explorer, "Recording").get_by_role("combobox").input_value()
    with notebook.page.expect_file_chooser() as chooser:
        press(explorer.get_by_role("button", name="Upload"), "Enter")
    chooser.value.set_files(tmp_path / "huge.wav")
    refused = notebook.page.get_by_role("alert").filter(has_text="huge.wav was not uploaded")
    expect(refused).to_contain_text("it has 230 MB, the limit is 217 MB; add it to PATHS")
    assert control(explorer, "Recording").get_by_role("combobox").input_value() == before and notebook.problems == []


def test_an_upload_that_is_no_audio_says_so(notebook: Notebook, explorer: Locator, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("not a sound", encoding="utf-8")
    with notebook.page.expect_file_chooser() as chooser:
        press(explorer.get_by_role("button", name="Upload"), "Enter")
    chooser.value.set_files(tmp_path / "notes.wav")
    expect(explorer.get_by_role("alert")).to_contain_text("notes.wav cannot be scored")
    assert notebook.problems == []
