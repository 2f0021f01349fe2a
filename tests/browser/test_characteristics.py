"""Figures by characteristic on the pages and in the API: the same in every form, and hidden in all of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import httpx2
import pytest

from commonroom.warehouse import combinations, measures
from tests.browser import world

MANY = ",".join(str(990001 + number) for number in range(100))


@pytest.fixture
def client(portal: str) -> Iterator[httpx2.Client]:
    """A program that reads the portal."""
    with httpx2.Client(base_url=portal, timeout=60) as opened:
        yield opened


def test_a_group_is_shown_where_its_complement_may_be_hidden_beside_authority_and_england(
    client: httpx2.Client,
) -> None:
    """Fifteen girls and fifteen boys here; the small schools of the authority have two or three of each."""
    tables = client.get(f"/schools/{world.SCHOOL}.json?by=sex&grain=term").json()["tables"]
    girls, boys, unknown = tables["absence_by"]
    assert [row["group"] for row in (girls, boys, unknown)] == ["Female", "Male", "Not known"]
    assert girls["denominator"] * 2 == tables["absence"][0]["denominator"]
    assert girls["value"] == round(100 * girls["numerator"] / girls["denominator"], 1)
    hidden = ("numerator", "denominator", "value", "comparison_1", "comparison_2")
    assert {row[name] for row in (boys, unknown) for name in hidden} == {"c"}
    assert [row["value"] for row in tables["headcount_by"]] == [15, "c", "c"]
    assert [row["comparison_2"] for row in tables["headcount_by"]] == [29, "c", "c"]


def test_what_is_hidden_of_a_small_school_is_hidden_in_every_group_and_form(client: httpx2.Client) -> None:
    path = f"/schools/{world.SMALL_SCHOOL}"
    page = client.get(f"{path}.json?by=sex").json()
    assert {row["value"] for row in page["tables"]["absence_by"]} == {"c"}
    assert "withheld" in page["symbols"]["c"]
    rows = csv.DictReader(io.StringIO(client.get(f"{path}.csv?by=sex&table=absence_by").text))
    assert {(row["numerator"], row["denominator"], row["value"]) for row in rows} == {("c", "c", "c")}
    answer = client.get(
        "/api/figures/absence_overall", params={"level": "school", "unit": world.SMALL_SCHOOL, "by": "sex"}
    ).json()
    assert {(one["numerator"], one["value"], one["symbol"]) for one in answer["figures"]} == {
        (None, None, "c")
    }


def test_the_api_has_what_the_page_has_and_csv_too(client: httpx2.Client) -> None:
    asked = {"level": "school", "unit": world.SCHOOL, "by": "sex", "for": "F"}
    answer = client.get("/api/figures/absence_overall", params=asked).json()
    page = client.get(f"/schools/{world.SCHOOL}.json?by=sex").json()["tables"]["absence_by"][0]
    (figure,) = answer["figures"]
    assert (figure["numerator"], figure["denominator"]) == (page["numerator"], page["denominator"])
    assert answer["groups"]["F"] == "Female"
    (row,) = csv.DictReader(io.StringIO(client.get("/api/figures/absence_overall.csv", params=asked).text))
    assert (row["group"], row["numerator"]) == ("F", str(figure["numerator"]))


def test_as_known_before_anything_was_sent_there_is_nothing_and_later_times_are_refused(
    client: httpx2.Client,
) -> None:
    asked = {"level": "school", "unit": world.SCHOOL, "grain": "term", "to": "2026-09-20"}
    before = client.get("/api/figures/headcount", params={**asked, "known_at": "2026-09-20T00:00Z"}).json()
    now = client.get("/api/figures/headcount", params=asked).json()
    assert [one["numerator"] for one in before["figures"]] == [None]
    assert [one["numerator"] for one in now["figures"]] == [world.PUPILS[world.SCHOOL]]
    for wrong, said in (
        ("2999-01-01T00:00Z", "has not come yet"),
        ("2026-09-20T00:00", "is without its zone"),
        ("yesterday", "is not a time"),
    ):
        refused = client.get("/api/figures/headcount", params={**asked, "known_at": wrong})
        assert (refused.status_code, refused.json()["detail"]) == (400, f"`known_at` {said}.")


def test_a_page_says_as_of_when_its_figures_are_and_which_period_has_not_ended(client: httpx2.Client) -> None:
    address = f"/schools/{world.SCHOOL}"
    stamp = client.get(f"{address}.json").json()["stamp"]
    api = {"level": "school", "unit": world.SCHOOL, "grain": "week"}
    figure = client.get("/api/figures/headcount", params=api).json()["figures"][-1]
    assert {name: stamp[name] for name in ("batch", "position", "as_of")} == {
        name: figure[name] for name in ("batch", "position", "as_of")
    }
    assert stamp["newest_period"] == "2026-10-19"
    page = client.get(address).text  # on the Thursday of that week
    assert "19 October 2026, so far" in page
    assert "in the week beginning 19 October 2026 so far" in page
    assert "12 October 2026, so far" not in page


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/england?by=shoes", 400),
        ("/api/figures/headcount?by=session", 404),
        ("/api/figures/headcount?level=school", 400),
        ("/api/figures/headcount?unit=%00", 400),
        (f"/api/figures/headcount?level=school&by=year_group&grain=day&from=2025-09-01&unit={MANY}", 400),
        ("/api/figures/nothing", 404),
        ("/api/figures/headcount?level=authority&unit=555", 404),
        ("/api/figures/headcount?level=trust&unit=1", 404),
        ("/api/figures/headcount?unit=X1", 404),
        ("/api/figures/absence_overall?by=sex&grain=week", 404),
        ("/api/figures/absence_overall?by=sex&for=X", 404),
        ("/trusts/9999", 404),
    ],
)
def test_what_is_not_there_is_a_problem_and_no_fault(client: httpx2.Client, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert "CR-007" not in answer.text


def test_a_trust_has_the_figures_of_its_schools_and_their_page_leads_to_it(client: httpx2.Client) -> None:
    page = client.get(f"/trusts/{world.TRUST}.json").json()
    assert page["title"] == "Everby Learning Trust"
    assert page["facts"]["pupils"] == world.PUPILS[world.OTHER_SCHOOL]
    assert [row["urn"] for row in page["tables"]["schools"]] == sorted(
        [world.OTHER_SCHOOL, world.SILENT_SCHOOL], key=lambda urn: urn == world.SILENT_SCHOOL
    )
    assert f'href="/trusts/{world.TRUST}"' in client.get(f"/schools/{world.OTHER_SCHOOL}").text


def test_a_measure_that_a_characteristic_does_not_divide_says_so(client: httpx2.Client) -> None:
    page = client.get(f"/schools/{world.SCHOOL}?by=session&measure=persistent_absence").text
    assert "Persistent absence is not counted by session." in page


def test_measures_made_of_others_stand_among_the_measures(client: httpx2.Client) -> None:
    rows = {row["name"]: row for row in client.get("/measures.json").json()["tables"]["measures"]}
    assert set(rows) == {*measures.load(), *combinations.load()}
    assert "(headcount)" in rows["pupil_teacher_ratio"]["withheld"] + rows["places_left"]["withheld"]
    assert 'id="places_left"' in client.get("/measures").text
