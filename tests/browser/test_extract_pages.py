"""An extract from the request to the file, by forms alone: no scripts, 320 pixels, three people.

The researcher asks, the governance group refuses one and approves another, the researcher tries it in the checking window,
the operator makes it on its day, the researcher takes the files and finds them as signed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from commonroom.warehouse.extracts import packing
from tests.browser import world
from tests.browser.browser import DESKTOP, HEIGHT, NARROW, sign_in
from tests.browser.test_pages import _violations, _without_scripts

# Narrow is where pages break; wide is looked at in the long trials.
WIDTHS = [pytest.param(DESKTOP, marks=pytest.mark.soak), NARROW]
USERS = ("researcher", "governance", "operator", "school")
DAYS = {
    "evidence_on": ("1", "9", "2026"),
    "first": ("1", "9", "2026"),
    "last": ("30", "9", "2026"),
    "checking_from": ("22", "10", "2026"),
    "freeze_on": ("22", "10", "2026"),
    "expires_on": ("31", "7", "2027"),
}


@pytest.fixture(scope="module", params=WIDTHS, ids=["desktop", "320px"])
def width(request: pytest.FixtureRequest) -> int:
    """Width of the window."""
    return int(request.param)


@pytest.fixture(scope="module")
def pages(browser: Browser, portal: str, width: int) -> Iterator[dict[str, Page]]:
    """A page of each who takes part, signed in, in browsers that get no script."""
    contexts: list[BrowserContext] = []
    opened = {}
    for user in USERS:
        context = browser.new_context(viewport={"width": width, "height": HEIGHT[width]})
        # Not `java_script_enabled=False`: axe could not run then.
        context.route("**/*", _without_scripts)
        contexts.append(context)
        page = context.new_page()
        sign_in(page, portal, user, world.PASSWORD)
        opened[user] = page
    yield opened
    for context in contexts:
        context.close()


def test_from_the_request_to_the_file(
    pages: dict[str, Page], portal: str, width: int, tmp_path: Path
) -> None:
    researcher, board, operator = (pages[user] for user in ("researcher", "governance", "operator"))
    title = f"Attendance study {width}"
    _good(researcher, width)
    assert researcher.url == f"{portal}/my/extracts"
    _ask(researcher, width, f"Too much {width}")
    too_much = researcher.url
    _ask(researcher, width, title)
    asked = researcher.url
    expect(researcher.get_by_text("It waits for the decision").first).to_be_visible()

    board.goto(f"{portal}/my/extracts")
    expect(board.get_by_text("wait for you")).to_be_visible()
    _good(board, width)
    board.goto(too_much)
    board.click("text=Refuse")
    expect(board.locator(".govuk-error-summary")).to_contain_text("Give a reason")
    _good(board, width)
    board.fill("#why", "Less would do.")
    board.click("button:has-text('Refuse')")
    expect(board.get_by_text("It was refused").first).to_be_visible()
    board.goto(asked)
    board.fill("#why", "Proportionate, without names.")
    board.click("button:has-text('Approve')")
    expect(board.get_by_text("Its day has come").first).to_be_visible()
    _good(board, width)

    researcher.goto(too_much)
    expect(researcher.get_by_text("Less would do.").first).to_be_visible()
    researcher.goto(asked)
    researcher.click("text=Try it")
    expect(researcher.get_by_role("status")).to_contain_text("thrown away again")
    _good(researcher, width)
    assert researcher.get_by_text("Make it for good").count() == 0

    operator.goto(asked)
    operator.click("text=Make it for good")
    expect(operator.get_by_text("It is made.").first).to_be_visible()
    _good(operator, width)
    assert operator.get_by_text("Take its files").count() == 0

    researcher.goto(asked)
    _good(researcher, width)
    researcher.click("button:has-text('Take the file')")
    expect(researcher.locator(".govuk-error-summary")).to_contain_text("Choose what it is for")
    for name in ("attendance_mark.csv", packing.MANIFEST, packing.SIGNATURE):
        _take(researcher, name, tmp_path)
    key = httpx2.get(f"{portal}/extracts/key.json").content
    manifest = packing.verify(tmp_path, packing.public_key(key))
    (file,) = manifest.files
    assert file.rows > 0
    assert file.columns[0] == "pupil"
    shown = researcher.request.get(f"{asked}.json").json()
    assert shown["tables"]["files"][0]["sha256"] == file.sha256
    assert "Proportionate" in str(shown["tables"]["steps"])
    register = httpx2.get(f"{portal}/extracts.json").json()["tables"]["extracts"]
    assert title in [row["title"] for row in register]
    assert f"Too much {width}" not in [row["title"] for row in register]

    pages["school"].goto(asked)
    expect(pages["school"].locator("h1")).to_have_text("Page not found")


def test_a_form_that_cannot_be_used_says_what_is_wrong_and_keeps_what_was_typed(
    pages: dict[str, Page], portal: str, width: int
) -> None:
    page = pages["researcher"]
    page.goto(f"{portal}/my/extracts/new")
    _good(page, width)
    page.click("text=Continue")
    expect(page.locator(".govuk-error-summary")).to_contain_text("Choose how pupils appear")
    page.check("#entity-learner")
    page.click("text=Continue")
    assert page.locator("#item-learner-family_name").count() == 0, "a name is offered without names"
    page.fill("#title", "Half a request")
    page.fill("#last-day", "31")
    page.fill("#last-month", "2")
    page.fill("#last-year", "2026")
    page.fill("#schools", "everybody")
    page.click("text=Send the request")
    summary = page.locator(".govuk-error-summary")
    for words in (
        "Say what it is for",
        "Enter the last day of the period",
        "URNs of six digits",
        "Choose at least one item",
    ):
        expect(summary).to_contain_text(words)
    expect(page.locator("#title")).to_have_value("Half a request")
    _good(page, width)


def test_a_step_without_our_form_or_of_another_role_changes_nothing(
    pages: dict[str, Page], portal: str, width: int
) -> None:
    researcher = pages["researcher"]
    _ask(researcher, width, f"Own decision {width}")
    asked = researcher.url
    for page, fields, status in (
        (researcher, {"step": "approve", "why": "I like it"}, 403),
        (pages["governance"], {"step": "freeze"}, 403),
        (pages["operator"], {"step": "approve", "why": "saves time"}, 403),
        (pages["school"], {"step": "approve", "why": "not mine"}, 404),
    ):
        token = page.locator("input[name=form_token]").first.get_attribute("value") or ""
        form: dict[str, Any] = {**fields, "form_token": token}
        assert page.request.post(asked, form=form, max_redirects=0).status == status
        assert page.request.post(asked, form={**form, "form_token": "x"}, max_redirects=0).status == 403
    researcher.goto(asked)
    expect(researcher.get_by_text("It waits for the decision").first).to_be_visible()
    taken = researcher.request.post(
        f"{asked}/files",
        form={"purpose": "research", "file": "../../keys/extracts.pem", "form_token": token_of(researcher)},
    )
    assert taken.status == 404
    public = httpx2.get(f"{portal}/my/extracts/new")
    assert public.status_code == 401


def token_of(page: Page) -> str:
    """The token of the page's forms."""
    return page.locator("input[name=form_token]").first.get_attribute("value") or ""


def _ask(page: Page, width: int, title: str) -> None:
    page.goto(page.url.split("/my/")[0] + "/my/extracts")
    page.click("text=Ask for an extract")
    page.check("#entity-attendance_mark")
    page.click("text=Continue")
    _good(page, width)
    for name, text in (
        ("title", title),
        ("purpose", "Research into attendance"),
        ("legal_basis", "Public task"),
        ("evidence", "Certificate 17"),
    ):
        page.fill(f"#{name}", text)
    for name, parts in DAYS.items():
        for part, value in zip(("day", "month", "year"), parts, strict=True):
            page.fill(f"#{name}-{part}", value)
    for item in ("school", "date", "session", "code"):
        page.check(f"#item-attendance_mark-{item}")
    page.click("text=Send the request")
    expect(page.locator("h1")).to_have_text(title)
    _good(page, width)


def _take(page: Page, name: str, folder: Path) -> None:
    page.select_option("#purpose", "research")
    page.check(f"input[name=file][value='{name}']")
    with page.expect_download() as taken:
        page.click("button:has-text('Take the file')")
    taken.value.save_as(folder / name)


def _good(page: Page, width: int) -> None:
    # After a click the words of the next page can be there before its style sheets.
    page.wait_for_load_state("load")
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert _violations(page) == []
