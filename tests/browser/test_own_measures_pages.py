"""Measures of one's own in the portal: define, look, change, delete; the same for programs; and nobody else sees them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Browser, Page, expect

from commonroom.warehouse import own
from tests.browser import world
from tests.browser.browser import NARROW, sign_in

LATE = own.examples()["late_marks"]
ILL = (
    LATE.replace("name: late_marks", "name: ill")
    .replace("code == 'L'", "code == 'I'")
    .replace("title: Sessions that began late", "title: Sessions missed for illness")
)
TERM = "grain=term&from=2026-09-07&to=2026-10-22"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A narrow page without JavaScript and without cookies."""
    context = browser.new_context(viewport={"width": NARROW, "height": 640}, java_script_enabled=False)
    yield context.new_page()
    context.close()


def test_an_authority_defines_a_measure_and_sees_its_schools_beside_published_figures(
    page: Page, portal: str
) -> None:
    sign_in(page, portal, "authority", world.PASSWORD)
    page.goto(f"{portal}/my/authority")
    page.click("text=Measures of your own")
    page.click("text=Sessions that began late >> nth=-1")  # the example, below the one it has
    assert page.input_value("#declaration").rstrip() == LATE.rstrip().replace("\r\n", "\n")

    line = 1 + ILL.splitlines().index("grains: [day, week, term]")
    page.fill("#declaration", ILL.replace("grains: [day, week, term]", "grains: [fortnight]"))
    page.click("text=Check and keep")
    expect(page.locator(".govuk-error-summary")).to_contain_text(
        f"Line {line}, `grains[0]`: Invalid enum value 'fortnight'. Use one of: day, week, term, year."
    )
    page.fill("#declaration", ILL.replace("sum(late)", "sum(leet)"))
    page.click("text=Check and keep")
    expect(page.locator(".govuk-error-summary")).to_contain_text("leet")

    page.fill("#declaration", ILL)
    page.click("text=Check and keep")
    expect(page.locator("h1")).to_have_text("Sessions missed for illness")
    page.fill("#from", "2026-09-07")
    page.fill("#to", "2026-10-22")
    page.click("text=Show these periods")
    page.click("text=By term")
    expect(page.locator("main")).to_contain_text("All schools together")
    # The school's published term figure counts other absences than illness too, and is no smaller than its own.
    told = page.request.get(f"{portal}/my/measures/ill.json?{TERM}").json()
    own_rows = {row["urn"]: row for row in told["tables"]["figures"]}
    assert set(own_rows) == {None, world.SCHOOL, world.SMALL_SCHOOL, world.SMALL_TOO}
    assert own_rows[None]["numerator"] == sum(row["numerator"] for urn, row in own_rows.items() if urn)
    published = {row["urn"]: row for row in told["tables"]["published"]}
    school = own_rows[world.SCHOOL]
    assert published[world.SCHOOL]["school"] >= school["value"]
    assert (
        own_rows[world.SMALL_SCHOOL]["value"] > 0
    )  # withheld from everybody, but not from who holds the records
    assert published[world.SMALL_SCHOOL]["school"] == "c"
    assert told["facts"]["schools"] == 4  # also the one that has sent nothing
    rows = list(csv.DictReader(io.StringIO(page.request.get(f"{portal}/my/measures/ill.csv?{TERM}").text())))
    assert {row["urn"]: int(row["numerator"]) for row in rows} == {
        urn or "": row["numerator"] for urn, row in own_rows.items()
    }

    page.click("text=Change this measure")
    assert "illness" in page.input_value("#declaration")
    page.goto(f"{portal}/my/measures/ill")
    page.click("text=Delete this measure")
    page.click("button:has-text('Delete')")
    expect(page.locator("h1")).to_have_text("Your own measures")
    gone = page.goto(f"{portal}/my/measures/ill")
    assert gone is not None
    assert gone.status == 404
    expect(page.locator("h1")).to_have_count(1)


def test_a_file_with_a_declaration_is_taken_and_a_wrong_one_is_not(page: Page, portal: str) -> None:
    sign_in(page, portal, "school", world.PASSWORD)
    page.goto(f"{portal}/my/measures")
    for content, words in (
        (b"\xff\xfe", "UTF-8"),
        (b"x" * 20_000, "larger than 16,384 bytes"),
        (b"name: [", "Line"),
    ):
        page.set_input_files("#file", {"name": "m.yaml", "mimeType": "text/yaml", "buffer": content})
        page.click("text=Check and keep")
        expect(page.locator(".govuk-error-summary")).to_contain_text(words)
    page.set_input_files("#file", {"name": "m.yaml", "mimeType": "text/yaml", "buffer": ILL.encode()})
    page.click("text=Check and keep")
    expect(page.locator("h1")).to_have_text("Sessions missed for illness")
    (row, *_) = page.request.get(f"{portal}/my/measures/ill.json?{TERM}").json()["tables"]["figures"]
    assert row["urn"] == world.SCHOOL
    assert own.declared(ILL).name == "ill"


def test_programs_have_the_same_with_a_token(page: Page, portal: str) -> None:
    sign_in(page, portal, "authority", world.PASSWORD)
    api = f"{portal}/api/my/measures"

    def send(method: str, path: str = "", **more: Any) -> APIResponse:
        return page.request.fetch(f"{api}{path}", method=method, **more)

    listed = send("GET").json()
    assert [one["name"] for one in listed["measures"]] == ["late_marks"]
    text = ILL.replace("name: ill", "name: ill_by_program")
    yaml = {"Content-Type": "application/yaml"}
    assert send("POST", data=text, headers=yaml).json()["code"] == "CR-100"
    token = {**yaml, "X-Form-Token": listed["form_token"]}
    other = {**token, "Sec-Fetch-Site": "cross-site"}
    assert send("POST", data=text, headers=other).json()["code"] == "CR-101"
    wrong = send("POST", data=text.replace("sum(late)", "sum(leet)"), headers=token)
    assert (wrong.status, wrong.json()["code"]) == (400, "CR-062")
    assert send("POST", data=text, headers=token).status == 201
    told = send("GET", f"/ill_by_program/figures?{TERM}&purpose=planning").json()
    assert told["schools"] == sorted([world.SCHOOL, world.SMALL_SCHOOL, world.SILENT_SCHOOL, world.SMALL_TOO])
    assert {one["unit"] for one in told["figures"]} == {
        "all", world.SCHOOL, world.SMALL_SCHOOL, world.SMALL_TOO,
    }  # fmt: skip
    assert told["similar"]["likeness"]["at_least"] == 10
    assert send("GET", "/ill_by_program/figures?purpose=curiosity").status == 400
    assert send("DELETE", "/ill_by_program").status == 403
    assert send("DELETE", "/ill_by_program", headers=token).status == 204
    assert send("GET", "/ill_by_program").status == 404


def test_one_that_cannot_be_read_any_more_is_shown_with_its_fault_and_deleted(
    page: Page, portal: str
) -> None:
    sign_in(page, portal, "school", world.PASSWORD)
    told = page.request.get(f"{portal}/api/my/measures").json()
    assert "late_marks" in {one["name"] for one in told["measures"]}
    assert [(one["name"], one["fault"]["code"]) for one in told["unusable"]] == [("of_before", "CR-001")]
    page.goto(f"{portal}/my/measures")
    expect(page.get_by_role("heading", name="of_before cannot be used any more")).to_be_visible()
    expect(page.get_by_text("`colour`")).to_be_visible()
    page.get_by_role("link", name="Correct of_before").click()
    expect(page.get_by_label("Declaration")).to_have_value(re.compile("colour: red"))
    page.get_by_role("button", name="Delete of_before").click()
    expect(page.get_by_role("heading", name="of_before")).to_have_count(0)
    expect(page.get_by_role("link", name="Sessions that began late")).not_to_have_count(0)


@pytest.mark.parametrize(("user", "status"), [("", 401), ("operator", 403)])
def test_nobody_else_has_measures_of_their_own(page: Page, portal: str, user: str, status: int) -> None:
    if user:
        sign_in(page, portal, user, world.PASSWORD)
    for path in (
        "/my/measures.json",
        "/my/measures/late_marks.json",
        "/api/my/measures",
        "/api/my/measures/late_marks/figures",
    ):
        assert page.request.get(f"{portal}{path}").status == status
