"""Learner numbers in the portal, from the empty form to the clerk's verdict, without scripts, wide and narrow.

Every page on the way is accessible, inside its width, and asks nobody else.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser import world
from tests.browser.browser import DESKTOP, HEIGHT, NARROW, sign_in
from tests.browser.test_pages import _violations, _without_scripts
from tests.unit.registers.learners.test_files import GOOD, NAME, csv_of

FAMILY = {DESKTOP: "Ashdown", NARROW: "Whitlock"}
BORN = {DESKTOP: ("14", "3", "2009"), NARROW: ("7", "11", "2008")}
POSTCODE = {DESKTOP: "LS1 4AP", NARROW: "PL1 1AA"}


# Narrow is where pages break; wide is looked at in the long trials.
WIDTHS = [pytest.param(DESKTOP, marks=pytest.mark.soak), NARROW]


@pytest.fixture(scope="module", params=WIDTHS, ids=["desktop", "320px"])
def width(request: pytest.FixtureRequest) -> int:
    """Width of the window."""
    return int(request.param)


@pytest.fixture
def contexts(browser: Browser, portal: str, width: int) -> Iterator[dict[str, BrowserContext]]:
    """The school and the clerk, signed in, in browsers that get no script."""
    opened = {}
    for user in ("school", "clerk"):
        context = browser.new_context(viewport={"width": width, "height": HEIGHT[width]})
        # Not `java_script_enabled=False`: axe could not run then.
        context.route("**/*", _without_scripts)
        page = context.new_page()
        sign_in(page, portal, user, world.PASSWORD)
        page.close()
        opened[user] = context
    yield opened
    for context in opened.values():
        context.close()


def test_from_the_form_to_the_verdict(contexts: dict[str, BrowserContext], portal: str, width: int) -> None:
    page = _page(contexts["school"], portal)
    page.goto(f"{portal}/learners")
    _good(page, width)
    page.click("button[value=register]")
    expect(page.locator(".govuk-error-summary")).to_contain_text("Enter a name")
    _good(page, width)
    _fill(page, "Amara", width)
    page.click("button[value=find]")
    expect(page.get_by_role("status")).to_contain_text("No learner matches")
    _register(page)
    expect(page.get_by_role("status")).to_contain_text("has a new number")
    _fill(page, "Amelia", width)
    page.click("button[value=find]")
    expect(page.get_by_role("status")).to_contain_text("Items that you did not send are hidden")
    _good(page, width)
    _register(page)
    expect(page.get_by_role("status")).to_contain_text("A clerk of the register will decide")

    clerk = _page(contexts["clerk"], portal)
    clerk.goto(f"{portal}/learners/review")
    _good(clerk, width)
    clerk.click("table >> text=A registration that may be of a known learner")
    expect(clerk.locator("h1")).to_have_text("Is this the same person?")
    expect(clerk.get_by_text("perhaps a twin").first).to_be_visible()
    expect(clerk.get_by_role("row", name="Given name").first).to_contain_text("not the same")
    _good(clerk, width)
    clerk.click("text=Different people")
    expect(clerk.locator("h1")).to_have_text("Cases to decide")
    expect(clerk.get_by_text("No case waits for you.")).to_be_visible()


def test_a_batch_is_handed_in_and_its_result_taken(
    contexts: dict[str, BrowserContext], portal: str, width: int
) -> None:
    page = _page(contexts["school"], portal)
    page.goto(f"{portal}/learners/batches")
    _good(page, width)
    page.get_by_role("button", name="Hand in").click()
    expect(page.locator(".govuk-error-summary")).to_contain_text("Choose a file")
    _hand_in(page, csv_of(GOOD | {"Gender": "M"}, GOOD | {"DateOfBirth": "", "Notes": str(width)}))
    expect(page.get_by_text("Gender is none of 0, 1, 2, 9.")).to_be_visible()
    _good(page, width)
    with page.expect_download() as taken:
        page.click("text=Take the result file")
    assert taken.value.suggested_filename == "LRB_10037611_010920261200_RESULT.CSV"
    page.goto(f"{portal}/learners/batches")
    _hand_in(page, csv_of(GOOD | {"Notes": str(width)}))
    # No worker runs behind these tests: the batch waits.
    expect(page.get_by_role("progressbar")).to_be_visible()
    _good(page, width)


def _page(context: BrowserContext, portal: str) -> Page:
    page = context.new_page()
    page.on("request", lambda request: _only_ours(request.url, portal))
    return page


def _only_ours(url: str, portal: str) -> None:
    assert url.startswith(f"{portal}/"), url


def _fill(page: Page, given: str, width: int) -> None:
    page.fill("#given_name", given)
    page.fill("#family_name", FAMILY[width])
    for name, value in zip(("day", "month", "year"), BORN[width], strict=True):
        page.fill(f"#birth-{name}", value)
    page.check("input[name=gender][value='2']")
    page.fill("#postcode", POSTCODE[width])
    page.select_option("#purpose", "enrolment")


def _register(page: Page) -> None:
    page.select_option("#verification_type", "1")
    page.check("input[name=ability_to_share][value='1']")
    page.click("button[value=register]")


def _hand_in(page: Page, content: bytes) -> None:
    page.set_input_files("#file", {"name": NAME, "mimeType": "text/csv", "buffer": content})
    page.select_option("#purpose", "enrolment")
    page.get_by_role("button", name="Hand in").click()
    expect(page.locator("h1")).to_have_text(NAME)


def _good(page: Page, width: int) -> None:
    # After a click the words of the next page can be there before its style sheets.
    page.wait_for_load_state("load")
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert _violations(page) == []
