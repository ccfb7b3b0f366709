"""The report in an offline browser, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from playwright.sync_api import Browser, Locator, Page

from aasist_lib.runtime.run_folder import RunFolder
from tests.browser.lab import VIEWPORT, seconds_of, watch

pytestmark = pytest.mark.browser


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    """The user's preferred colour scheme."""
    return request.param


@pytest.fixture
def problems() -> list[str]:
    """Problems in the page."""
    return []


@pytest.fixture
def page(browser: Browser, studied: RunFolder, scheme: str, problems: list[str]) -> Iterator[Page]:
    """The report's first page, opened as a file, offline."""
    with browser.new_context(offline=True, color_scheme=scheme, viewport=VIEWPORT) as context:
        page = context.new_page()
        watch(page, problems, studied.folder.as_uri())
        page.goto((studied.folder / "report" / "index.html").as_uri())
        yield page


def files_linked(page: Page) -> set[Path]:
    """Return the files that a page links to."""
    links = page.locator("a[href]").evaluate_all("links => links.map(link => link.href)")
    assert all(link.startswith("file:") for link in links), [link for link in links if not link.startswith("file:")]
    return {Path(unquote(urlparse(link).path)) for link in links}


def pictures_missing(page: Page) -> list[str]:
    """Return the alt texts (or addresses) of pictures that are not rendered."""
    return page.locator("img").evaluate_all(
        "async images => { await Promise.allSettled(images.map(image => image.decode()));"
        " return images.filter(image => !image.naturalWidth).map(image => image.alt || image.src.slice(0, 80)) }"
    )


def luminance(place: Locator, colour: str) -> float:
    """Return the relative luminance (WCAG 2: 0 = black, 1 = white) of an element's computed colour."""
    text = place.evaluate("(element, name) => getComputedStyle(element)[name]", colour)
    parts = [float(part) / 255 for part in text.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_report_opens_offline_whole(page: Page, problems: list[str], scheme: str, pictures: Path) -> None:
    assert page.locator("figure.exhibit img").count() >= 4
    assert pictures_missing(page) == []
    page.screenshot(path=pictures / f"report_{scheme}.png")
    assert problems == []


def test_every_link_leads_to_a_file(page: Page, studied: RunFolder) -> None:
    files = files_linked(page)
    assert [file for file in files if not file.is_file()] == []
    assert len([file for file in files if file.suffix == ".html"]) == 1 + len(studied.manifest["notebooks"])


def test_executed_notebooks_open_offline_too(page: Page, problems: list[str], studied: RunFolder) -> None:
    links = page.get_by_role("link", name="executed notebook")
    assert links.count() == len(studied.manifest["notebooks"])
    players = 0
    for link in links.evaluate_all("links => links.map(link => link.href)"):
        page.goto(link)
        assert pictures_missing(page) == [], link
        for player in page.locator("audio").all()[:1]:
            assert seconds_of(player) > 0.1
            players += 1
    assert players, "no executed notebook has a player"
    assert problems == []


def test_the_scheme_is_kept_and_text_stands_out(page: Page, scheme: str) -> None:
    ground = luminance(page.locator("body"), "backgroundColor")
    assert ground < 0.05 if scheme == "dark" else ground > 0.9
    for part in ("body", ".facts", "figcaption", "section a"):
        low, high = sorted((ground, luminance(page.locator(part).first, "color")))
        assert (high + 0.05) / (low + 0.05) >= 4.5, f"{part} is hard to read"


def test_a_phone_needs_not_scroll_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
