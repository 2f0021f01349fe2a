"""Every page, wide and narrow, with and without JavaScript: accessible, inside its width, silent, and asking nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Route

from tests.browser import world
from tests.browser.browser import DESKTOP, HEIGHT, NARROW, Place, public_places, sign_in, signed_in_places

AXE_OPTIONS = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]},
    "resultTypes": ["violations"],
}
SCRIPT = re.compile(r"<script.*?</script>", re.S)
PLACES = [
    *public_places(world.SCHOOL, world.AUTHORITY, "saltmere"),
    Place("school-withheld", f"/schools/{world.SMALL_SCHOOL}"),
    Place("school-withheld-by-sex", f"/schools/{world.SMALL_SCHOOL}?by=sex"),
    Place("trust", f"/trusts/{world.TRUST}?by=fsm"),
    Place("no-trust", "/trusts/1", status=404),
    Place("school-silent", f"/schools/{world.SILENT_SCHOOL}"),
    Place("school-closed", "/schools/990905"),
    Place("lineage-withheld", f"/figures/absence_overall/school/{world.SMALL_SCHOOL}?grain=week"),
    Place("lineage-nothing", "/figures/headcount/school/000000", status=404),
    Place("lineage-own", f"/figures/headcount/school/{world.SCHOOL}?grain=day", "school"),
    Place("provider", f"/providers/ukprn/{world.PROVIDER}"),
    Place("no-provider", "/providers/ukprn/10000000", status=404),
    *signed_in_places("school", "authority", "operator", "clerk"),
    Place("my-measure", "/my/measures/late_marks", "authority"),
    Place("my-measure-school", "/my/measures/late_marks", "school"),
]


# Each width and each kind of browser sees every page; `make soak` sees them in all four ways.
WAYS = [
    pytest.param((DESKTOP, True), id="desktop"),
    pytest.param((NARROW, False), id="320px-no-javascript"),
    pytest.param((DESKTOP, False), id="desktop-no-javascript", marks=pytest.mark.soak),
    pytest.param((NARROW, True), id="320px", marks=pytest.mark.soak),
]


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> tuple[int, bool]:
    """Width of the window in CSS pixels, and whether the browser runs scripts."""
    width, javascript = request.param
    return int(width), bool(javascript)


@pytest.fixture(scope="module")
def width(way: tuple[int, bool]) -> int:
    """Width of the window, in CSS pixels."""
    return way[0]


@pytest.fixture(scope="module")
def javascript(way: tuple[int, bool]) -> bool:
    """Whether the browser runs scripts."""
    return way[1]


@pytest.fixture(scope="module")
def visitors(
    browser: Browser, portal: str, width: int, javascript: bool
) -> Iterator[dict[str, BrowserContext]]:
    """A browser context for the public and for each sample user, signed in through the form."""
    contexts = {}
    for user in ("", "school", "authority", "operator", "clerk"):
        context = browser.new_context(viewport={"width": width, "height": HEIGHT[width]})
        if not javascript:
            # Not `java_script_enabled=False`: axe could not run then. The journeys are made that way.
            context.route("**/*", _without_scripts)
        if user:
            page = context.new_page()
            sign_in(page, portal, user, world.PASSWORD)
            page.close()
        contexts[user] = context
    yield contexts
    for context in contexts.values():
        context.close()


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_page_is_accessible_fits_and_asks_nobody_else(
    visitors: dict[str, BrowserContext], portal: str, place: Place, width: int
) -> None:
    page = visitors[place.user].new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on(
        "console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: said.append(str(error)))
    answer = page.goto(portal + place.path)
    assert answer is not None
    assert answer.status == place.status
    assert page.locator("h1").count() == 1
    assert [url for url in asked if not url.startswith(portal + "/")] == []
    assert len(asked) >= 3, "the style sheets were not asked for"
    assert [text for text in said if not _is_the_page_itself(text, place)] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert _violations(page) == []
    page.close()


def _without_scripts(route: Route) -> None:
    """Hand on the page as a browser without JavaScript sees it."""
    if not route.request.is_navigation_request():
        return route.continue_()
    answer = route.fetch(max_redirects=0)
    html = SCRIPT.sub("", answer.text())
    return route.fulfill(response=answer, body=html)


def _is_the_page_itself(text: str, place: Place) -> bool:
    """Chromium writes the status of a page that is meant to be an error to the console."""
    return place.status >= 400 and f"status of {place.status}" in text


def _violations(page: Page) -> list[str]:
    found = Axe().run(page, options=AXE_OPTIONS).response["violations"]
    return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}" for one in found]
