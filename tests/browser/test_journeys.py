"""What people come for, from the first page to the answer, mostly with JavaScript off."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import world
from tests.browser.browser import NARROW, sign_in


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A narrow page without JavaScript and without cookies."""
    context = browser.new_context(viewport={"width": NARROW, "height": 640}, java_script_enabled=False)
    yield context.new_page()
    context.close()


@pytest.fixture
def client(portal: str) -> Iterator[httpx2.Client]:
    """A program that reads the portal."""
    with httpx2.Client(base_url=portal, timeout=30) as opened:
        yield opened


@pytest.mark.parametrize("asked", ["saltmere primary", "Dunmere", "EV1 9AD", "990904", "9982904", "998/2904"])
def test_a_school_is_found_by_name_town_postcode_urn_and_laestab(client: httpx2.Client, asked: str) -> None:
    rows = client.get("/find.json", params={"q": asked}).json()["tables"]["schools"]
    wanted = world.SCHOOL if asked.startswith("saltmere") else world.OTHER_SCHOOL
    assert wanted in [row["urn"] for row in rows]


def test_from_the_first_page_to_the_figures_of_a_school(page: Page, portal: str) -> None:
    page.goto(portal)
    page.fill("#q", "saltmere primary")
    page.click("text=Search")
    page.click("table >> text=Saltmere Primary School")
    expect(page.locator("h1")).to_have_text("Saltmere Primary School")
    expect(page.locator("figcaption").first).to_contain_text("missed")
    page.click("text=By term")
    assert "grain=term" in page.url
    expect(page.locator("#table-absence")).to_have_text("Overall absence, by term")


def test_the_figures_agree_with_what_the_school_sent(client: httpx2.Client) -> None:
    found = client.get(f"/schools/{world.SCHOOL}.json?grain=term").json()
    assert found["facts"]["pupils"] == world.PUPILS[world.SCHOOL]
    term = found["tables"]["absence"][0]
    days = 2 * world.PUPILS[world.SCHOOL]
    assert term["denominator"] % days == 0
    assert round(100 * term["numerator"] / term["denominator"], 1) == term["value"]


def test_figures_of_four_pupils_are_c_and_never_zero(client: httpx2.Client, page: Page, portal: str) -> None:
    answer = client.get(f"/schools/{world.SMALL_SCHOOL}.csv", params={"table": "absence"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert rows
    assert {(row["numerator"], row["denominator"], row["value"]) for row in rows} == {("c", "c", "c")}
    page.goto(f"{portal}/schools/{world.SMALL_SCHOOL}")
    expect(page.get_by_text("c = withheld").first).to_be_visible()


def test_a_csv_is_a_download_with_a_name_of_its_own(client: httpx2.Client) -> None:
    answer = client.get(f"/authorities/{world.AUTHORITY}.csv?table=schools")
    assert answer.headers["content-disposition"] == 'attachment; filename="authorities-997-schools.csv"'
    assert answer.headers["content-type"].startswith("text/csv")
    names = [row["name"] for row in csv.DictReader(io.StringIO(answer.text))]
    assert names == sorted(names)


def test_signing_in_and_out_works_without_javascript(page: Page, portal: str) -> None:
    page.goto(f"{portal}/my/school")
    expect(page.locator("h1")).to_have_text("You need to sign in")
    sign_in(page, portal, "school", world.PASSWORD)
    assert page.url == f"{portal}/my/school"
    expect(page.locator("#needs")).to_have_text("What needs your attention")
    expect(page.locator(".cr-problems")).to_contain_text("is not a code of the list")
    page.click("text=Sign out")
    page.goto(f"{portal}/my/school")
    expect(page.locator("h1")).to_have_text("You need to sign in")


def test_a_wrong_password_shows_the_form_again_with_what_to_do(page: Page, portal: str) -> None:
    page.goto(f"{portal}/sign-in")
    page.fill("#username", "nobody")
    page.fill("#password", "not the password")
    page.click("main form button[type=submit]")
    assert page.title().startswith("Error: ")
    expect(page.locator(".govuk-error-summary")).to_contain_text("wrong")
    expect(page.locator("#username")).to_have_value("nobody")


def test_an_authority_sees_its_own_schools_and_no_others(page: Page, portal: str) -> None:
    sign_in(page, portal, "authority", world.PASSWORD)
    assert page.url == f"{portal}/my/authority"
    expect(page.locator("table")).to_contain_text("Saltmere Primary School")
    assert "St Oswin" not in page.content()


def test_a_post_without_our_token_or_from_another_site_changes_nothing(client: httpx2.Client) -> None:
    fields = {"username": "school", "password": world.PASSWORD}
    expired = client.post("/sign-in", data=fields)
    assert expired.status_code == 403
    assert "Your form has expired" in expired.text
    elsewhere = client.post("/sign-in", data=fields, headers={"Sec-Fetch-Site": "cross-site"})
    assert elsewhere.status_code == 403
    assert "commonroom_session" not in client.cookies


def test_every_answer_carries_the_policy_also_errors_and_files(client: httpx2.Client) -> None:
    for path in ("/", "/no-such-page", "/static/commonroom.css", "/england.csv", "/england?grain=century"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'"), path
        assert headers["x-content-type-options"] == "nosniff", path


def test_programs_get_errors_as_problem_json(client: httpx2.Client) -> None:
    answer = client.get("/schools/999999.json")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["code"] == "CR-005"


@pytest.mark.parametrize(
    "path",
    ["/schools/%00", "/schools/abc", "/authorities/%F0%9F%8F%AB", "/standard/%00", "/schools/%2e%2e%2fetc"],
)
def test_an_address_that_names_nothing_is_page_not_found(client: httpx2.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "What you can do now" in answer.text


@pytest.mark.parametrize(
    "query", ["q=%00", "q='%22%3Cscript%3E", "la=%00", "phase=%00", f"q={'a' * 5000}", "q=%25_"]
)
def test_whatever_is_typed_into_the_search_is_harmless(client: httpx2.Client, query: str) -> None:
    answer = client.get(f"/find?{query}")
    assert answer.status_code == 200
    assert "<script>" not in answer.text.replace("<script>document.body.className", "")


@pytest.mark.parametrize(
    "query", ["grain=century", "measure=x", "from=soon", "from=2026-10-02&to=2026-10-01", "to=1999-01-01"]
)
def test_an_address_that_asks_for_what_cannot_be_says_so(client: httpx2.Client, query: str) -> None:
    answer = client.get(f"/england?{query}")
    assert answer.status_code == 400
    assert "There is a problem with the address" in answer.text


def test_signed_in_pages_stay_out_of_every_cache(client: httpx2.Client) -> None:
    assert client.get("/").headers["cache-control"] == "private, no-cache"
    assert client.get("/my/school").headers["cache-control"] == "no-store"
