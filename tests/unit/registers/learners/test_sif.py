"""The register as a SIF service: create, query by example, read, events; the numbers of every other route."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from commonroom.problems import Problem
from commonroom.registers.learners import sif_xml, store
from commonroom.registers.learners.numbers import Numbers
from commonroom.registers.learners.store import Caller
from commonroom.settings import Settings
from commonroom.standard import is_valid
from tests.unit.registers.learners.counter import REGISTRATION, Visitor, counter
from tests.waiting import until_async

REQUESTS = "/api/sif/requests/LearnerPersonals"
ROBIN = {"given": "Robin", "family": "Marsh", "born": "2008-11-30", "gender": "M", "postcode": "YO1 7HH"}
AMARA = {"given": "Amara", "family": "Ashdown", "born": "2009-03-14", "gender": "F", "postcode": "LS1 4AP"}


def learner(who: dict[str, str], local_id: str = "77") -> str:
    """A LearnerPersonal as a school's system writes it."""
    return (
        f'<LearnerPersonal xmlns="urn:example" RefId="D3E34B359D75101A8C3D00AA001A1652"><LocalId>{local_id}</LocalId>'
        f'<PersonalInformation><Name Type="C"><FamilyName>{who["family"]}</FamilyName>'
        f"<GivenName>{who['given']}</GivenName></Name><Demographics><BirthDate>{who['born']}</BirthDate>"
        f'<Gender>{who["gender"]}</Gender></Demographics><Address Type="C"><PAON><StartNumber>27</StartNumber></PAON>'
        f"<Street>Mill Lane</Street><PostCode>{who['postcode']}</PostCode></Address></PersonalInformation>"
        "</LearnerPersonal>"
    )


def text_of(root: etree._Element, name: str) -> str | None:
    return root.findtext(f".//{{*}}{name}")


def test_an_object_becomes_a_registration() -> None:
    (sent,) = sif_xml.read(learner(AMARA).encode())
    details = sent.registration.details
    assert (details.given_name, details.family_name, details.gender) == ("Amara", "Ashdown", "2")
    assert (details.postcode, details.house, sent.registration.reference) == ("LS1 4AP", "27 Mill Lane", "77")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<LearnerPersonal>",
        b"<Other/>",
        b"<LearnerPersonals/>",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><LearnerPersonal/>",
    ],
)
def test_bodies_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(Problem, match="CR-247"):
        sif_xml.read(body)


async def test_create_query_read_and_events(settings: Settings, pool: Any) -> None:
    async with counter(settings, pool) as at:
        over_rest = (await at.machine.post("/api/learners/register", REGISTRATION)).json()["uln"]
        environment = await at.machine.post("/api/sif/environments/environment", b"<environment/>")
        assert environment.status_code == 201
        assert b"/api/sif/requests" in environment.content
        queue = etree.fromstring((await at.machine.post("/api/sif/queues/queue", b"<queue/>")).content).get(
            "id"
        )

        # Create: the number is the one of the other route, or a new one.
        same = await at.machine.post(f"{REQUESTS};zoneId=DEFAULT/LearnerPersonal", learner(AMARA).encode())
        assert (same.status_code, same.headers["x-answer"]) == (201, "WSRC0004")
        assert text_of(etree.fromstring(same.content), "UniqueLearnerNumber") == over_rest
        created = await at.machine.post(f"{REQUESTS}/LearnerPersonal", learner(ROBIN, "78").encode())
        made = etree.fromstring(created.content)
        uln = text_of(made, "UniqueLearnerNumber") or ""
        assert created.headers["x-answer"] == "WSRC0005"
        assert is_valid("ULN", uln)
        twin = await at.machine.post(
            f"{REQUESTS}/LearnerPersonal", learner(AMARA | {"given": "Amelia"}).encode()
        )
        assert (twin.status_code, twin.headers["x-answer"]) == (202, "WSRC0003")

        # One of several possible learners has nothing by which the rest could be asked for.
        asked = await at.machine.post(
            REQUESTS, learner(AMARA | {"given": "Amelia"}).encode(), methodOverride="GET"
        )
        (possible,) = etree.fromstring(asked.content)
        assert asked.headers["x-answer"] == "WSRC0003"
        assert text_of(possible, "FamilyName") == "Ashdown"
        hidden = [text_of(possible, name) for name in ("UniqueLearnerNumber", "GivenName", "LocalId")]
        assert (possible.get("RefId"), hidden) == (None, [None, None, None])

        # Query by example, and read by the RefId that was told.
        asked = await at.machine.post(REQUESTS, learner(ROBIN).encode(), methodOverride="GET")
        (found,) = etree.fromstring(asked.content)
        assert (text_of(found, "UniqueLearnerNumber"), found.get("RefId")) == (uln, made.get("RefId"))
        read = etree.fromstring((await at.machine.get(f"{REQUESTS}/{made.get('RefId')}")).content)
        assert (text_of(read, "UniqueLearnerNumber"), text_of(read, "LocalId")) == (uln, "77")
        assert (await at.other_school.get(f"{REQUESTS}/{made.get('RefId')}")).status_code == 404

        # Several at once, and as an event of the school's system.
        both = (
            f"<LearnerPersonals>{learner(ROBIN)}{learner(AMARA | {'born': ''})}</LearnerPersonals>".encode()
        )
        answer = etree.fromstring((await at.machine.post(REQUESTS, both)).content)
        assert [one.get("statusCode") for one in answer.iter("{*}create")] == ["201", "400"]
        event = await at.machine.post(
            "/api/sif/events/LearnerPersonals", learner(ROBIN).encode(), eventAction="UPDATE"
        )
        assert event.status_code == 202
        assert (
            await at.machine.post("/api/sif/events/LearnerPersonals", learner(ROBIN).encode())
        ).status_code == 400

        # The queue tells the school of its learners; a message stays until it is deleted.
        place, numbers, delete = f"/api/sif/queues/{queue}/messages", set(), ""
        while numbers != {over_rest, uln}:
            told = await _next(at.machine, f"{place}{delete}")
            assert told.headers["messagetype"] == "EVENT"
            numbers.add(text_of(etree.fromstring(told.content), "UniqueLearnerNumber"))
            again = await at.machine.get(place)
            assert again.content == told.content
            delete = f";deleteMessageId={again.headers['messageid']}"
        assert (await at.machine.get(f"{place}{delete}")).status_code == 204
        assert (await at.other_school.get(place)).status_code == 404


async def test_events_are_told_of_what_is_decided_and_committed_later(settings: Settings, pool: Any) -> None:
    async with counter(settings, pool) as at, pool.acquire() as conn:
        party = await conn.fetchval("SELECT urn FROM hub.party WHERE name = 'school'")
        who = Caller(party=party, person=None, purpose="enrolment", role="school")
        numbers = Numbers.of(settings)
        made = etree.fromstring((await at.machine.post("/api/sif/queues/queue", b"<queue/>")).content)
        place = f"/api/sif/queues/{made.get('id')}/messages"
        await at.machine.post("/api/learners/register", REGISTRATION)
        waits = await at.machine.post("/api/learners/register", REGISTRATION | {"given_name": "Amelia"})
        # A chunk that began before what follows commits after it.
        slow = conn.transaction()
        await slow.start()
        (robin,) = [one.registration for one in sif_xml.read(learner(ROBIN).encode())]
        late = (await store.register(conn, who, robin, numbers)).uln
        quick = REGISTRATION | {"given_name": "Zebedee", "family_name": "Quill", "date_of_birth": "2010-01-05",
                                "gender": "1", "postcode": "BD1 4HR"}  # fmt: skip
        early = (await at.machine.post("/api/learners/register", quick)).json()["uln"]
        told, delete = await _all(at.machine, place, "", {early}, wait=False)
        await slow.commit()
        told, delete = await _all(at.machine, place, delete, {early, late} - told)
        # The clerks' verdict comes last, and gives a number to what was sent before all that was told.
        for clerk in (at.clerk, at.second_clerk):
            path = f"/api/learners/review/{waits.json()['case']}"
            verdict = (await clerk.post(path, {"verdict": "different"})).json()
            if verdict["closed"]:
                break
        await _all(at.machine, place, delete, {verdict["uln"]})


async def _next(machine: Visitor, place: str) -> Any:
    """The next message; other tests' transactions on the same server may hold it back for a moment."""
    last: list[Any] = []

    async def there() -> bool:
        last[:] = [await machine.get(place)]
        return last[0].status_code == 200

    await until_async(there, what="a message in the queue")
    return last[0]


async def _all(
    machine: Visitor, place: str, delete: str, wanted: set[str | None], wait: bool = True
) -> tuple[set[str | None], str]:
    """Take messages until these numbers were told, or with `wait=False` until there is none."""
    told: set[str | None] = set()
    while wanted - told:
        message = await (_next(machine, f"{place}{delete}") if wait else machine.get(f"{place}{delete}"))
        if message.status_code == 204:
            break
        told.add(text_of(etree.fromstring(message.content), "UniqueLearnerNumber"))
        delete = f";deleteMessageId={message.headers['messageid']}"
    return told, delete
