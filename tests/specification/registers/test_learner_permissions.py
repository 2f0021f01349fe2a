"""Who may do what in the learner register, to whose learners: the whole of it in one table, tried on the store itself.

`yes` it is done; `none` it is answered as if there were no such learner; `403` the role may not do it to anybody.
The trail (`audit`): `own` the asker's own look-ups, `all` everybody's.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.problems import Problem
from commonroom.registers.learners import store
from commonroom.registers.learners.numbers import Numbers
from commonroom.registers.learners.store import Caller, Verification, merging
from commonroom.settings import Settings
from tests.unit.registers.learners.people import (
    AUTHORITY,
    CLERK,
    OTHER_AUTHORITY,
    OTHER_SCHOOL,
    ROWAN,
    SCHOOL,
    SECOND_CLERK,
    SORCHA,
    caller,
    details,
    one_database,
    registration,
    undone,
)

# The learner was registered by `school`, whose authority is `own authority`.
TABLE = """
who               find  check  verify  register  update  share  challenge  merge  review  audit
school            yes   yes    yes     yes       yes     yes    yes        403    403     own
other school      yes   yes    yes     yes       none    none   yes        403    403     own
college           yes   yes    yes     yes       none    none   yes        403    403     own
own authority     yes   yes    yes     yes       yes     yes    yes        403    403     own
other authority   none  yes    yes     yes       none    none   none       403    403     own
awarding body     403   yes    yes     403       403     403    403        403    403     own
department        403   yes    yes     yes       403     403    403        403    403     all
operator          403   403    403     403       403     403    403        403    403     all
register's clerk  yes   yes    yes     yes       yes     yes    yes        yes    yes     403
analyst           403   403    403     403       403     403    403        403    403     403
governance        403   403    403     403       403     403    403        403    403     403
learner           403   403    403     403       403     403    403        403    403     403
end point         403   403    403     403       403     403    403        403    403     403
"""
CALLERS = {
    "school": caller("school", SCHOOL),
    "other school": caller("school", OTHER_SCHOOL),
    "college": caller("college", "urn:commonroom:org:college"),
    "own authority": caller("authority", AUTHORITY),
    "other authority": caller("authority", OTHER_AUTHORITY),
    "awarding body": caller("awarding_body", "urn:commonroom:org:board"),
    "department": caller("department", "urn:commonroom:org:department"),
    "operator": caller("operator", "urn:commonroom:org:operator"),
    "register's clerk": CLERK,
    "analyst": caller("analyst", SCHOOL),
    "governance": caller("governance", SCHOOL),
    "learner": caller("learner", SCHOOL),
    "end point": caller("end_point", SCHOOL),
}
HEADER, *ROWS = [re.split(r"\s{2,}", line) for line in TABLE.strip().splitlines()]
CELLS = [(who, what, rule) for who, *rules in ROWS for what, rule in zip(HEADER[1:], rules, strict=True)]
NUMBERS = Numbers(b"\x03" * 32)


@pytest.fixture(scope="module")
def register(postgres: Any, template: str, tmp_path_factory: Any) -> Iterator[Settings]:
    yield from one_database(postgres, template, tmp_path_factory, "learner_permissions")


@pytest.fixture
async def conn(register: Settings) -> AsyncIterator[Any]:
    async with undone(register) as connection:
        await connection.execute(
            """
            INSERT INTO hub.party (urn, name, kinds) SELECT one, one, '{}' FROM unnest($1::text[]) AS one
            """,
            [SCHOOL, AUTHORITY],
        )
        await connection.execute(
            "INSERT INTO hub.relation (party, role, other) VALUES ($1, 'its local authority', $2)",
            SCHOOL,
            AUTHORITY,
        )
        yield connection


async def _found(conn: Any, who: Caller, uln: str) -> bool:
    by_details = await store.find(conn, who, details())
    by_number = await store.find_by_uln(conn, who, uln, "Amara", "Whitfield-Osei")
    assert by_details.code == by_number.code
    if by_details.code == "WSRC0001":
        # Nor is there a word of her in a list of possible learners.
        assert (await store.find(conn, who, details(given_name="Amelia"))).learners == ()
    return by_details.uln == by_number.uln == uln


async def _checked(conn: Any, who: Caller, uln: str) -> bool:
    found = await store.find(conn, who, details(), "check")
    assert found == store.Found(code=found.code)  # the code and nothing else
    return found.code == "WSRC0004"


async def _verified(conn: Any, who: Caller, uln: str) -> bool:
    asked = Verification(uln=uln, given_name="Amara", family_name="Whitfield-Osei")
    return (await store.verify(conn, who, asked)).uln == uln


async def _registered(conn: Any, who: Caller, uln: str) -> bool:
    return (await store.register(conn, who, registration(SORCHA), NUMBERS)).code == "WSRC0005"


async def _updated(conn: Any, who: Caller, uln: str) -> bool:
    answer = await store.update(conn, who, uln, {"town": "Leeds"}, 1)
    assert answer.code in ("WSRC0006", "WSRC0019")
    return answer.code == "WSRC0006"


async def _shared(conn: Any, who: Caller, uln: str) -> bool:
    answer = await store.set_sharing(conn, who, uln, "2")
    assert answer.code in ("WSRC0006", "WSRC0019")
    return answer.code == "WSRC0006"


async def _challenged(conn: Any, who: Caller, uln: str) -> bool:
    return await store.challenge(conn, who, uln, "gender", "wrong") is not None


async def _merged(conn: Any, who: Caller, uln: str) -> bool:
    other = (await store.register(conn, CALLERS["school"], registration(ROWAN), NUMBERS)).uln or ""
    done = await store.merge(conn, who, uln, other)
    await store.unmerge(conn, who, done.merge)
    return done.master == uln


async def _reviewed(conn: Any, who: Caller, uln: str) -> bool:
    return await store.review_list(conn, who) == []


TRIALS: dict[str, Callable[[Any, Caller, str], Coroutine[Any, Any, bool]]] = {
    "find": _found,
    "check": _checked,
    "verify": _verified,
    "register": _registered,
    "update": _updated,
    "share": _shared,
    "challenge": _challenged,
    "merge": _merged,
    "review": _reviewed,
}


def test_the_table_tries_everything() -> None:
    assert {who for who, *_ in ROWS} == set(CALLERS)
    assert set(HEADER) == {"who", "audit", *TRIALS}
    assert {rule for _, what, rule in CELLS if what != "audit"} == {"yes", "none", "403"}


@pytest.mark.parametrize("who", CALLERS)
async def test_each_may_do_exactly_what_the_table_says(who: str, conn: Any) -> None:
    uln = (await store.register(conn, CALLERS["school"], registration(), NUMBERS)).uln or ""
    for asker, what, rule in CELLS:
        if asker != who or what == "audit":
            continue
        undo = conn.transaction()
        await undo.start()
        if rule == "403":
            with pytest.raises(Problem) as caught:
                await TRIALS[what](conn, CALLERS[who], uln)
            assert (caught.value.code, caught.value.status) == ("CR-111", 403), what
        else:
            assert await TRIALS[what](conn, CALLERS[who], uln) is (rule == "yes"), what
        await undo.rollback()


async def test_naming_somebody_who_is_registered_gives_the_number_and_no_further_right(conn: Any) -> None:
    uln = (await store.register(conn, CALLERS["school"], registration(), NUMBERS)).uln or ""
    for who in ("other school", "college", "other authority"):
        named = [registration(), registration(uln=uln), registration(source="batch")]
        answers = await store.register_many(conn, CALLERS[who], named, NUMBERS, one_file=False)
        assert {(one.code, one.uln, one.learners) for one in answers} == {("WSRC0004", uln, ())}
        assert not await _updated(conn, CALLERS[who], uln)
        assert not await _shared(conn, CALLERS[who], uln)
    assert not await _found(conn, CALLERS["other authority"], uln)
    # Nor when the night finds out that two records are of one person.
    other = (await store.register(conn, CALLERS["other school"], registration(ROWAN), NUMBERS)).uln or ""
    persons = [
        await conn.fetchval("SELECT person FROM learners.uln WHERE number = $1", one) for one in (uln, other)
    ]
    done = await merging.merge_persons(conn, *persons, "deduplication", await clock.now(conn), by_rule=True)
    assert not await _updated(conn, CALLERS["other school"], uln)
    await store.unmerge(conn, CLERK, done.merge)
    assert (await store.set_sharing(conn, CALLERS["other school"], other, "2")).code == "WSRC0006"


async def test_a_schools_letter_about_its_pupil_gives_the_right_and_so_does_a_clerk(conn: Any) -> None:
    uln = (await store.register(conn, CALLERS["school"], registration(), NUMBERS)).uln or ""
    told = await store.register(conn, CALLERS["other school"], registration(source="hub"), NUMBERS)
    assert (told.code, await _updated(conn, CALLERS["other school"], uln)) == ("WSRC0004", True)
    asked = await store.register(
        conn, CALLERS["college"], registration(details(given_name="Amelia")), NUMBERS
    )
    assert asked.case is not None
    decided = await store.decide_case(conn, CLERK, asked.case, "same", NUMBERS)
    if not decided.closed:
        decided = await store.decide_case(conn, SECOND_CLERK, asked.case, "same", NUMBERS)
    assert decided.uln == uln
    assert (await store.set_sharing(conn, CALLERS["college"], uln, "2")).code == "WSRC0006"


@pytest.mark.parametrize(("who", "rule"), [(who, rule) for who, what, rule in CELLS if what == "audit"])
async def test_each_sees_exactly_the_trail_that_the_table_says(who: str, rule: str, conn: Any) -> None:
    asker = CALLERS[who]
    for party in (asker.party, "urn:commonroom:org:somebody-else"):
        await store.register(conn, caller("school", party), registration(), NUMBERS)
    if rule == "403":
        with pytest.raises(Problem, match="CR-111"):
            await store.look_ups(conn, asker)
        return
    seen = {one.party for one in await store.look_ups(conn, asker)}
    assert seen == ({asker.party} if rule == "own" else {asker.party, "urn:commonroom:org:somebody-else"})


async def test_nobody_without_a_party_of_the_register_does_anything(conn: Any) -> None:
    for role in ("", "everyone", "Clerk", "clerk "):
        with pytest.raises(Problem, match="CR-111"):
            await store.find(conn, caller(role), details())
