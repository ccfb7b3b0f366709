"""Malicious names in a browser: the report, its figures and the explorers do not execute them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page

from aasist_lib.config import Profile
from aasist_lib.explore import RecordingExplorer
from aasist_lib.metrics import Calibration
from aasist_lib.models import build_model
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring.detector import Detector
from tests.browser.lab import watch
from tests.test_escaping import FILE_NAME, NAMES, run_of

pytestmark = pytest.mark.browser
HANDLER = '<p>before</p><img src="data:," onerror="document.title=\'ran\'"><p>after</p>'
"""Markup that runs in any page that allows scripts."""


@pytest.fixture
def run(tiny_profile: Profile, tmp_path: Path) -> RunFolder:
    """A run with malicious names in every place."""
    return run_of(tiny_profile, tmp_path / "run")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page without a network."""
    with browser.new_context(offline=True) as context:
        yield context.new_page()


def settle(page: Page) -> None:
    """Wait until every image has loaded or failed and its event handlers have run."""
    page.evaluate("Promise.allSettled([...document.images].map(image => image.decode()))")
    page.evaluate("new Promise(done => setTimeout(done, 100))")


def test_such_a_name_would_run_where_it_is_not_escaped(page: Page) -> None:
    """Without escaping the names do run, so the tests below are meaningful."""
    for markup in (*NAMES, HANDLER):
        page.goto("about:blank")
        page.set_content(f"<title>still</title><figure><table><td><pre>{markup}")
        settle(page)
        assert page.title() == "ran", markup


def test_the_report_and_an_executed_notebook_run_no_name(run: RunFolder, page: Page) -> None:
    problems: list[str] = []
    watch(page, problems, run.folder.as_uri())
    for name in ("index.html", "notebooks/03_training.html"):
        page.goto((run.folder / "report" / name).as_uri())
        settle(page)
        assert page.title() != "ran" and page.locator("body").inner_text().count(NAMES[0]) >= 2
    page.goto((run.folder / "figures" / "names.svg").as_uri())
    assert page.evaluate("document.title || document.querySelectorAll('script').length") == 0
    assert problems == []


def test_markup_in_an_output_cannot_run_in_the_report_either(run: RunFolder, page: Page) -> None:
    """As in a user's own cell: the page's policy blocks it."""
    file = run.folder / "report" / "notebooks" / "03_training.html"
    file.write_text(file.read_text().replace("<article>", f"<article>{HANDLER}<script>document.title='ran'</script>"))
    problems: list[str] = []
    watch(page, problems, run.folder.as_uri())
    page.goto(file.as_uri())
    settle(page)
    assert page.title() != "ran" and page.get_by_text("after", exact=True).count() == 1
    assert len(problems) >= 2 and all("Content Security Policy" in problem for problem in problems), problems


def test_an_explorer_shows_a_file_s_name_as_text(tiny_profile: Profile, tmp_path: Path, page: Page) -> None:
    facts = {"encoder": {"name": NAMES[0]}, "dev_eer": 0.1, "calibration": {"bonafide": 9, "spoof": 9}}
    detector = Detector(build_model(tiny_profile.model).eval(), 0.0, Calibration(2.0, 0.5), facts)
    soundfile.write(tmp_path / FILE_NAME, 0.1 * np.random.default_rng(0).standard_normal(20_000), 16_000)
    (tmp_path / f"no sound {FILE_NAME}").write_text("text")
    explorer = RecordingExplorer(detector, [tmp_path / FILE_NAME, tmp_path / f"no sound {FILE_NAME}"])
    page.set_content("<title>still</title>" + "".join(explorer.html(name, 0.5) for name in explorer.paths))
    settle(page)
    assert page.title() == "still" and page.locator("img").count() == 1
    assert page.locator("img").get_attribute("alt").startswith(f"{FILE_NAME}: score of each window")
    assert page.locator("b").inner_text() == f"no sound {FILE_NAME}"
