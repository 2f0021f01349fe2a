"""The register over HTTP: each operation with its answer, and every door that stays shut."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from litestar.routes import HTTPRoute

from commonroom.portal.app import create_app
from commonroom.problems import Problem
from commonroom.registers.learners import openapi
from commonroom.registers.learners.callers import Rates
from commonroom.registers.learners.numbers import Numbers
from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.unit.registers.learners.counter import AMARA, REGISTRATION, counter
from tests.unit.registers.learners.test_files import GOOD, NAME, csv_of

API = "/api/learners"
TWIN = {**REGISTRATION, "given_name": "Amelia", "gender": "2"}


async def test_a_learner_from_the_first_question_to_the_audit(settings: Settings, pool: Any) -> None:
    async with counter(settings, pool) as at:
        none = await at.machine.post(f"{API}/find", AMARA)
        assert (none.status_code, none.json()["code"], none.json()["meaning"]) == (
            200,
            "WSRC0001",
            "No match",
        )
        made = (await at.machine.post(f"{API}/register", {**REGISTRATION, "reference": "S1"})).json()
        assert (made["code"], made["reference"]) == ("WSRC0005", "S1")
        uln = made["uln"]
        found = (await at.school.post(f"{API}/find", AMARA)).json()
        assert (found["code"], found["uln"], found["learners"][0]["given_name"]) == ("WSRC0004", uln, "Amara")
        check = (await at.awarding_body.post(f"{API}/find", {**AMARA, "kind": "check"})).json()
        assert (check["code"], check["learners"]) == ("WSRC0004", [])
        again = (await at.other_school.post(f"{API}/register", REGISTRATION)).json()
        assert (again["code"], again["uln"]) == ("WSRC0004", uln)
        named = {"uln": uln, "given_name": "Amara", "family_name": "Ashdown"}
        by_number = (await at.school.post(f"{API}/find-by-uln", named)).json()
        version = by_number["learners"][0]["version"]
        changed = {"uln": uln, "version": version, "changes": {"town": "Leeds"}}
        assert (await at.school.post(f"{API}/update", changed)).json()["code"] == "WSRC0006"
        assert (await at.school.post(f"{API}/update", changed)).json()["code"] == "WSRC0013"
        asked = {
            "learners": [
                named,
                {**named, "given_name": "Robin", "family_name": "Marsh"},
                {**named, "uln": "12"},
            ]
        }
        verified = (await at.awarding_body.post(f"{API}/verify", asked)).json()["learners"]
        assert [one["code"] for one in verified] == ["WSRC0004", "WSEC0208", "WSEC0136"]
        resolved = (await at.awarding_body.post(f"{API}/ulns", {"ulns": [uln, "1026893096"]})).json()["ulns"]
        assert [(one["code"], one["master"]) for one in resolved] == [("WSRC0004", uln), ("WSRC0001", None)]
        case = (
            await at.school.post(f"{API}/challenge", {"uln": uln, "item": "town", "note": "It is York."})
        ).json()
        assert case["case"]
        own = (await at.other_school.post(f"{API}/history", {"uln": uln})).json()["look_ups"]
        everybody = (await at.operator.post(f"{API}/history", {"uln": uln})).json()["look_ups"]
        assert {one["action"] for one in own} == {"register"}
        assert len(everybody) > len(own)
        assert {one["purpose"] for one in everybody} == {"enrolment"}


async def test_clerks_merge_and_part_numbers_and_nobody_else_does(settings: Settings, pool: Any) -> None:
    async with counter(settings, pool) as at:
        one = (await at.machine.post(f"{API}/register", REGISTRATION)).json()["uln"]
        other = {**REGISTRATION, "given_name": "Rowan", "family_name": "Achterberg", "postcode": "HX1 2ZZ"}
        two = (await at.machine.post(f"{API}/register", other)).json()["uln"]
        wish = {"master": one, "linked": two}
        for visitor in (at.school, at.machine, at.awarding_body, at.operator):
            for path, body in (
                ("merge", wish),
                ("unmerge", {"merge": str(uuid4())}),
                ("merges", {"uln": one}),
            ):
                answer = await visitor.post(f"{API}/{path}", body)
                assert (answer.status_code, answer.json()["code"]) == (403, "CR-111"), path
        done = (await at.clerk.post(f"{API}/merge", wish)).json()
        if done["merge"] is None:
            done = (await at.second_clerk.post(f"{API}/merge", wish)).json()
        assert (done["master"], done["linked"]) == (one, two)
        (made,) = (await at.clerk.post(f"{API}/merges", {"uln": two})).json()["merges"]
        assert (made["merge"], made["linked"], made["undone_at"]) == (done["merge"], [two], None)
        resolved = (await at.machine.post(f"{API}/ulns", {"ulns": [two]})).json()["ulns"]
        assert resolved == [{"code": "WSRC0022", "uln": two, "master": one}]
        parted = await at.clerk.post(f"{API}/unmerge", {"merge": done["merge"]})
        assert (parted.status_code, parted.json()["linked"]) == (200, two)
        again = await at.clerk.post(f"{API}/unmerge", {"merge": done["merge"]})
        assert (again.status_code, again.json()["code"]) == (409, "CR-212")


async def test_doors_that_stay_shut(settings: Settings, pool: Any) -> None:
    async with counter(settings, pool) as at:
        for visitor, status, code in (
            (at.public, 403, "CR-100"),
            (at.analyst, 403, "CR-006"),
            (at.awarding_body, 403, "CR-111"),
        ):
            answer = await visitor.post(f"{API}/find", AMARA)
            assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert (await at.public.get(f"{API}/batches")).status_code == 401
        forged = await at.machine.get(f"{API}/batches", Authorization="Bearer nonsense")
        assert (forged.status_code, forged.json()["code"]) == (401, "CR-031")
        without_token = await at.school.post(f"{API}/find", AMARA, **{"X-Form-Token": ""})
        assert (without_token.status_code, without_token.json()["code"]) == (403, "CR-100")
        without_purpose = await at.machine.post(f"{API}/find", AMARA, **{"X-Purpose": ""})
        assert (without_purpose.status_code, without_purpose.json()["code"]) == (400, "CR-211")
        for visitor in (at.school, at.operator):
            for path in ("review", f"review/{uuid4()}"):
                answer = await visitor.get(f"{API}/{path}")
                assert (answer.status_code, answer.json()["code"]) == (403, "CR-111"), path
        # The operator keeps the platform running; it decides about nobody and looks nobody up.
        assert (await at.operator.post(f"{API}/find", AMARA)).json()["code"] == "CR-111"
        for path in ("/learners", "/learners/review", "/learners/batches"):
            assert (await at.operator.get(path)).status_code == 403, path
        assert (await at.clerk.post(f"{API}/history", {"uln": "1026893096"})).json()["code"] == "CR-111"
        for body in (b"nonsense", {**AMARA, "colour": "red"}, {**AMARA, "gender": 2}):
            answer = await at.machine.post(f"{API}/find", body)
            assert (answer.status_code, answer.json()["code"]) == (400, "CR-245")
            assert "red" not in answer.text


async def test_too_many_look_ups_are_told_when_to_come_again(settings: Settings, pool: Any) -> None:
    few = settings_with(settings, learner_look_ups_a_minute=2)
    async with counter(few, pool) as at:
        answers = [await at.machine.post(f"{API}/find", AMARA) for _ in range(3)]
        assert [one.status_code for one in answers] == [200, 200, 429]
        assert answers[2].json()["retry_after"] >= 1
        # Another party is not slowed.
        assert (await at.other_school.post(f"{API}/find", AMARA)).status_code == 200


def test_rates_fill_up_again() -> None:
    now = [0.0]
    rates = Rates(60, lambda: now[0])
    rates.spend("a", 60)
    with pytest.raises(Problem) as raised:
        rates.spend("a", 5)
    assert raised.value.extra == {"retry_after": 5}
    now[0] = 5.0
    rates.spend("a", 5)
    rates.spend(
        "b", 5000
    )  # more than a minute has: goes through when the minute is full, and is paid for after it
    with pytest.raises(Problem) as raised:
        rates.spend("b")
    assert raised.value.extra == {"retry_after": 5000 - 60 + 1}


async def test_a_batch_over_http(settings: Settings, pool: Any) -> None:
    async with counter(settings, pool) as at:
        sent = await at.machine.post(
            f"{API}/batches", csv_of(GOOD, GOOD | {"Gender": "M"}), **{"X-File-Name": NAME}
        )
        assert (sent.status_code, sent.json()["state"]) == (202, "waiting")
        job = sent.json()["id"]
        assert (await at.machine.get(f"{API}/batches/{job}/result")).status_code == 409
        await _work_off(pool, settings)
        done = (await at.school.get(f"{API}/batches/{job}")).json()
        assert (done["state"], done["counts"]["NewLearnersCount"]) == ("finished", 1)
        result = await at.machine.get(f"{API}/batches/{job}/result")
        assert (
            result.headers["content-disposition"]
            == 'attachment; filename="LRB_10037611_010920261200_RESULT.CSV"'
        )
        assert b"WSRC0005" in result.content
        assert [one["id"] for one in (await at.school.get(f"{API}/batches")).json()["batches"]] == [job]
        other = await at.other_school.get(f"{API}/batches/{job}")
        assert (other.status_code, other.json()["answer"]) == (404, "WSRC0018")
        bad = await at.machine.post(f"{API}/batches", b"what,is,this\n", **{"X-File-Name": NAME})
        assert (bad.status_code, bad.json()["code"]) == (400, "CR-241")
        page = await at.school.get(f"/learners/batches/{job}")
        assert "Take the result file" in page.text
        assert "Gender is none of 0, 1, 2, 9." in page.text
        as_json = (await at.school.get(f"/learners/batches/{job}.json")).json()
        assert as_json["facts"]["NewLearnersCount"] == 1


async def _work_off(pool: Any, settings: Settings) -> None:
    from commonroom.registers.learners import batches

    async with pool.acquire() as conn:
        while await batches.work_once(conn, Numbers.of(settings)):
            pass


async def test_the_pages(settings: Settings, pool: Any) -> None:
    fields = {
        "given_name": "Amara", "family_name": "Ashdown", "day": "14", "month": "3", "year": "2009", "gender": "2",
        "postcode": "LS1 4AP", "purpose": "enrolment",
    }  # fmt: skip
    register = {**fields, "kind": "register", "verification_type": "1", "ability_to_share": "1"}
    async with counter(settings, pool) as at:
        assert (await at.public.get("/learners")).status_code == 401
        assert (await at.analyst.get("/learners")).status_code == 403
        empty = await at.school.get("/learners")
        assert (empty.status_code, empty.headers["cache-control"]) == (200, "no-store")
        none = await at.school.form("/learners", {**fields, "kind": "find"})
        assert "No learner matches" in none.text
        missing = await at.school.form("/learners", {"kind": "register", "given_name": "Amara"})
        assert missing.status_code == 400
        for words in ("Enter the year of birth at least", "Choose why you look", "Choose a gender"):
            assert words in missing.text
        made = await at.school.form("/learners", register)
        assert "has a new number" in made.text
        found = await at.school.form("/learners", {**fields, "kind": "find"})
        assert "This learner has a number." in found.text
        forged = await at.school.form("/learners", {**fields, "form_token": "nonsense"})
        assert forged.status_code == 403
        uploaded = await at.school.form(
            "/learners/batches", {"purpose": "enrolment"}, {"file": (NAME, csv_of(GOOD | {"Gender": "M"}))}
        )
        assert uploaded.status_code == 303
        listed = await at.school.get("/learners/batches")
        assert NAME in listed.text
        nothing = await at.school.form("/learners/batches", {"purpose": "enrolment"}, {"file": (NAME, b"")})
        assert nothing.status_code == 400


async def test_twins_need_two_clerks(settings: Settings, pool: Any) -> None:
    async with counter(settings, pool) as at:
        first = (await at.machine.post(f"{API}/register", REGISTRATION)).json()["uln"]
        waits = (await at.machine.post(f"{API}/register", TWIN)).json()
        assert (waits["code"], waits["uln"]) == ("WSRC0003", None)
        (possible,) = waits["learners"]
        assert (possible["uln"], possible["given_name"], possible["family_name"]) == (None, None, "Ashdown")
        shown = await at.machine.post(f"{API}/find", {**AMARA, "given_name": "Amelia"})
        assert (shown.json()["code"], first in shown.text, "Amara" in shown.text) == (
            "WSRC0003",
            False,
            False,
        )
        found = await at.school.form(
            "/learners",
            {
                "kind": "find",
                "given_name": "Amelia",
                "family_name": "Ashdown",
                "day": "14",
                "month": "3",
                "year": "2009",
                "gender": "2",
                "postcode": "LS1 4AP",
                "purpose": "enrolment",
            },
        )
        assert "WSRC0003" in found.text
        assert first not in found.text
        assert "Amara" not in found.text
        listed = await at.clerk.get("/learners/review")
        assert waits["case"] in listed.text
        page = await at.clerk.get(f"/learners/review/{waits['case']}")
        for words in (
            "perhaps a twin",
            "Two records side by side",
            "Amelia",
            "two clerks decide",
            first,
            "Cannot tell",
        ):
            assert words in page.text, words
        weights = (await at.clerk.get(f"/learners/review/{waits['case']}.json")).json()["tables"]["weights-1"]
        assert {"Date of birth", "Family name"} <= {row["field"] for row in weights}
        unsure = await at.clerk.form(f"/learners/review/{waits['case']}", {"verdict": "perhaps"})
        assert unsure.status_code == 400
        one = await at.clerk.form(f"/learners/review/{waits['case']}", {"verdict": "different"})
        assert (one.status_code, one.headers["location"]) == (303, "/learners/review")
        assert (await at.clerk.get(f"{API}/review")).json()["cases"] == []
        (case,) = (await at.second_clerk.get(f"{API}/review")).json()["cases"]
        assert (case["id"], case["clerks"]) == (waits["case"], 2)
        both = (await at.second_clerk.post(f"{API}/review/{case['id']}", {"verdict": "different"})).json()
        assert both["closed"]
        assert both["uln"] not in (None, first)


def test_every_route_is_described(tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path))
    routes = {
        (method.lower(), route.path.removeprefix(API).replace(":uuid", ""))
        for route in app.routes
        if isinstance(route, HTTPRoute) and route.path.startswith(f"{API}/")
        for method in route.methods
        if method in ("GET", "POST")
    }
    assert routes == set(openapi.OPERATIONS)
