"""A real browser, a separate JupyterLab server and a run, shared by the tests of this folder.

The run is the headless run of the tiny profile; `AASIST_BROWSER_PROFILE=demo AASIST_BROWSER_RUN=runs/demo` selects another.
It is only read: the tests work on a copy, `runs/browser/<profile>`, and save screenshots in its folder `screenshots`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from aasist_lib.runtime.run_folder import RunFolder
from tests.browser.lab import ROOT, Lab, serve

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Headless Chromium. Without it the tests are skipped, or fail if `AASIST_BROWSER=required`."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        problem = f"no browser: none of {', '.join(CHROMIUM)} is installed (Debian: apt-get install chromium)"
        (pytest.fail if os.environ.get("AASIST_BROWSER") == "required" else pytest.skip)(problem)
    flags = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        with playwright.chromium.launch(executable_path=program, args=flags) as launched:
            yield launched


@pytest.fixture(scope="package")
def studied(browser: Browser, request: pytest.FixtureRequest) -> RunFolder:
    """A copy of the tested run, in `runs/browser/<profile>`, because live notebooks write into their run."""
    asked = os.environ.get("AASIST_BROWSER_RUN")
    source = ROOT / asked if asked else request.getfixturevalue("headless_run").folder
    copy = ROOT / "runs" / "browser" / os.environ.get("AASIST_BROWSER_PROFILE", "tiny")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(source, copy)
    return RunFolder(copy)


@pytest.fixture(scope="package")
def lab(browser: Browser, studied: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab that serves the project."""
    with serve(tmp_path_factory.mktemp("jupyter")) as (address, token):
        yield Lab(browser, address, token, studied)


@pytest.fixture(scope="package")
def pictures(studied: RunFolder) -> Path:
    """The folder of screenshots."""
    folder = studied.folder / "screenshots"
    folder.mkdir(exist_ok=True)
    return folder
