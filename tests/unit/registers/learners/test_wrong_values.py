"""Values that cannot be: every route of the register refuses them with the same reason, and nobody gets a number."""

from __future__ import annotations

from typing import Any

from commonroom.registers.learners import files, store
from commonroom.registers.learners.files.lrs import read_csv
from commonroom.registers.learners.numbers import Numbers
from commonroom.settings import Settings
from tests.unit.registers.learners.counter import AMARA, REGISTRATION, Visitor, counter
from tests.unit.registers.learners.people import caller, details, registration, undone
from tests.unit.registers.learners.test_files import GOOD, NAME, TODAY, csv_of
from tests.unit.registers.learners.test_sif import learner

API = "/api/learners"
NO_DAY, NO_AGE = "is not a date written YYYY-MM-DD", "years old"
# Item, value, the LRS return code, and what stands in the reason.
WRONG = [
    ("date_of_birth", "2009-13-01", "RC011", NO_DAY),
    ("date_of_birth", "2009-02-31", "RC011", NO_DAY),
    ("date_of_birth", "14/03/2009", "RC011", NO_DAY),
    ("date_of_birth", "2009-03 ", "RC011", NO_DAY),
    ("date_of_birth", "1800-01-01", "RC013", NO_AGE),
    ("date_of_birth", "2031-01-01", "RC013", NO_AGE),
    ("date_of_birth", "2024-01-01", "RC013", NO_AGE),
    ("postcode", "nonsense", "RC011", "postcode"),
    ("upn", "bad", "RC011", "UPN"),
]
HEADINGS = {"date_of_birth": "DateOfBirth", "postcode": "LastKnownPostCode"}
FORM = {
    "kind": "register", "given_name": "Amara", "family_name": "Ashdown", "gender": "2", "postcode": "LS1 4AP",
    "verification_type": "1", "ability_to_share": "1", "purpose": "enrolment",
}  # fmt: skip


async def test_every_route_refuses_values_that_cannot_be(settings: Settings, pool: Any) -> None:
    async with counter(settings, pool) as at:
        uln = (await at.school.post(f"{API}/register", {**REGISTRATION, "given_name": "Rosalind"})).json()[
            "uln"
        ]
        for item, value, code, reason in WRONG:
            told = (await at.machine.post(f"{API}/register", {**REGISTRATION, item: value})).json()
            assert (told["code"], told["uln"], told["missing"]) == ("WSRC0015", None, []), value
            ((name, why, words),) = [tuple(one.values()) for one in told["wrong"]]
            assert (name, why) == (item, code)
            assert reason in words
            assert value not in words
            changed = {"uln": uln, "version": 1, "changes": {item: value}}
            update = (await at.school.post(f"{API}/update", changed)).json()
            assert (update["code"], update["wrong"]) == ("WSRC0015", told["wrong"])
            if value == value.strip():  # XML and CSV are read without outer spaces
                assert item in await _by_sif(at.machine, item, value)
            if item in HEADINGS and value == value.strip():
                (entry,) = read_csv(csv_of({**GOOD, HEADINGS[item]: value}), NAME, TODAY).entries
                assert isinstance(entry.fault, files.Fault)
                assert entry.fault.code == code
        async with pool.acquire() as conn:
            assert await conn.fetchval("SELECT count(*) FROM learners.uln") == 1


async def test_the_form_says_which_date_is_wrong_and_never_to_register(settings: Settings, pool: Any) -> None:
    async with counter(settings, pool) as at:
        for kind in ("find", "register"):
            day = {"day": "31", "month": "2", "year": "2009"}
            shown = await at.school.form("/learners", {**FORM, **day, "kind": kind})
            assert shown.status_code == 400
            assert "The date of birth is no day there is" in shown.text
        shown = await at.school.form("/learners", {**FORM, "day": "1", "month": "1", "year": "2024"})
        assert "13 to 110 years old" in shown.text
        for born in ("14/03/2009", "2009-02-31"):
            found = (await at.machine.post(f"{API}/find", {**AMARA, "date_of_birth": born})).json()
            assert (found["code"], found["wrong"][0]["item"]) == ("WSRC0015", "date_of_birth")


async def test_a_year_alone_still_registers_and_a_school_s_letter_goes_by_the_school_year(
    settings: Settings,
) -> None:
    numbers = Numbers(bytes(32))
    async with undone(settings) as conn:
        known = await store.register(conn, caller(), registration(details(date_of_birth="2009")), numbers)
        early = registration(details(given_name="Ines", date_of_birth="2016-01-01"), source="hub")
        assert known.code == (await store.register(conn, caller(), early, numbers)).code == "WSRC0005"


async def _by_sif(visitor: Visitor, item: str, value: str) -> str:
    sent = {"given": "Amara", "family": "Ashdown", "born": "2009-03-14", "gender": "F", "postcode": "LS1 4AP"}
    names = {"date_of_birth": "born", "postcode": "postcode"}
    xml = learner({**sent, names[item]: value} if item in names else sent)
    if item == "upn":
        xml = xml.replace("<PersonalInformation>", f"<UPN>{value}</UPN><PersonalInformation>")
    answer = await visitor.post("/api/sif/requests/LearnerPersonals/LearnerPersonal", xml.encode())
    assert answer.status_code == 400
    return str(answer.text)
