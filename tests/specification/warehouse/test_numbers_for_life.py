"""By which ways a learner of a college is known to be a school's pupil: the number for life, and one person's two UPNs.

The leavers, the schools and the college are those of `test_destinations`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from commonroom.settings import Settings
from tests.specification.warehouse.leavers import (
    COLLEGE,
    LEFT,
    B,
    asked,
    expected,
    in_year_11,
    learner,
    learns,
    load,
    numbered,
    open_house,
    sent,
    uln,
)
from tests.unit.warehouse.house import House, upn


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        yield await open_house(connection, settings)


SAME = 7000  # so much higher is the former number of the same person, by the register of learners

# Six leavers of a school for each way from a college to the pupil: which of them lead there?
WAYS: dict[str, tuple[bool, Any, Any]] = {
    "the school has the number": (True, numbered, learner),
    "the school learned it in May": (True, lambda n, **m: numbered(n, valid_from="2027-05-03", **m), learner),
    "the school has none": (False, lambda n, **m: [{**one, "uln": None} for one in numbered(n, **m)], learner),
    "the college is still looking for it": (False, numbered, lambda n: learner(n, uln="9999999999")),
    "the college had another one before": (
        True, numbered, lambda n: [learner(n, uln=uln(n + 5000)), learner(n, valid_from="2026-11-01", version=2)],
    ),
    "the college corrected it to nobody's": (
        False, numbered, lambda n: [learner(n), learner(n, uln=uln(n + 5000), version=2)],
    ),
    "another pupil of the school has it too": (
        False, lambda n, **m: [*numbered(n, **m), *numbered(n + 9000, **{**m, "uln": uln(n)})], learner,
    ),
    "another school has it of the same person": (
        True, lambda n, **m: [*numbered(n, **m), *numbered(n + SAME, school=B, uln=uln(n))], learner,
    ),
    "another school has it of another person": (
        False, lambda n, **m: [*numbered(n, **m), *numbered(n + 9000, school=B, uln=uln(n))], learner,
    ),
    "another school gave it to another person and corrected it": (
        True, lambda n, **m: [
            *numbered(n, **m), *numbered(n + 9000, school=B, uln=uln(n)), *numbered(n + 9000, school=B, version=2),
        ], learner,
    ),
    "the pupil got another UPN, and the school kept the record": (
        True, lambda n, **m: [
            *numbered(n, **m), *numbered(n + SAME, uln=uln(n), valid_to="2025-01-01", **m),
        ], learner,
    ),
}  # fmt: skip


# Whom the register of learners found to be one.
ONE = """
UPDATE learners.learner SET same_as = now.learner
FROM unnest($1::text[], $2::text[]) AS pair (former, current)
JOIN learners.identifier AS first ON first.value = pair.former
JOIN learners.identifier AS now ON now.value = pair.current
WHERE id = first.learner
"""


async def test_the_way_from_a_college_to_a_pupil_is_the_number_for_life(house: House) -> None:
    letters = []
    for place, (school, (_, of_school, of_college)) in enumerate(zip(LEFT, WAYS.values(), strict=False)):
        six = range(100 * place, 100 * place + 6)
        letters += sent(house, school, enrolment=in_year_11(*six, school=school))
        for pupil in six:
            known = of_school(pupil, school=school)
            for sender in {one["school"] for one in known}:
                letters += sent(house, sender, learner=[one for one in known if one["school"] == sender])
            held = of_college(pupil)
            letters += sent(house, COLLEGE, provider_learner=held if isinstance(held, list) else [held])
        letters += sent(house, COLLEGE, learning_delivery=[learns(pupil, "2026-09-07") for pupil in six])
    await load(house, *letters)
    pupils = range(100 * len(WAYS))
    await house.connection.execute(
        ONE, [upn(pupil + SAME) for pupil in pupils], [upn(pupil) for pupil in pupils]
    )
    figures = await asked(house)
    found = {way: figures[school] for way, school in zip(WAYS, LEFT, strict=False)}
    kinds = {True: "education", False: "not_known"}
    assert found == {way: expected(6, **{kinds[leads]: 6}) for way, (leads, _, _) in WAYS.items()}
