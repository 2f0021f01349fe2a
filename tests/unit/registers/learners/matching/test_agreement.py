"""The columnar scorer and the blocks in columns say what the scalar ones say, case by case."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commonroom.registers.learners.matching import (
    Decision,
    Details,
    Frequencies,
    Known,
    Overrides,
    block_keys,
    decide,
    decide_many,
    normalise,
    normalise_known,
    query_keys,
)
from commonroom.registers.learners.matching.blocking import Index
from commonroom.registers.learners.matching.people_columns import (
    people_of,
    table_of,
    table_of_known,
)
from commonroom.registers.learners.matching.vocabulary import Vocabulary
from tests.unit.registers.learners.matching.pairs import pairs

# Few values, so that records often agree in part.
GIVEN = (
    "Amelia",
    "Amélia",
    "Emelia",
    "Olivia",
    "Mohammed",
    "Muhammad",
    "Md",
    "Kian",
    "Cian",
    "A",
    "Mary Jane",
    "Jane",
    "",
    "Smith",
)
FAMILY = (
    "Smith",
    "Smyth",
    "Smiht",
    "Smith-Jones",
    "Jones",
    "Khan",
    "Kowalska",
    "Kowalski",
    "O'Brien",
    "",
    "Amelia",
    "Mary Jane",
)
BORN = (
    "2008-05-04",
    "2008-04-05",
    "2008-05-14",
    "2008-01-01",
    "2009-05-04",
    "2008-05",
    "2008",
    "",
    "1980-11-30",
    "2008-06-01",
)
POSTCODES = (None, "LS6 3QD", "LS6 3QE", "LS6 9ZZ", "M1 1AE", "ZZ99 3VZ", "2119")
UPNS = (None, None, "C823432117001", "T330200120017", "B82343211701A")
FEW = ("Rose", "Amelia", "R", "Jane Rose", None, None)


def details() -> st.SearchStrategy[Details]:
    choose = st.sampled_from
    return st.builds(
        Details,
        given_name=choose(GIVEN),
        family_name=choose(FAMILY),
        date_of_birth=choose(BORN),
        gender=choose(("0", "1", "2", "9")),
        postcode=choose(POSTCODES),
        middle_names=choose(FEW),
        previous_family_name=choose((None, None, "Jones", "Khan")),
        preferred_given_name=choose((None, None, "Amelia")),
        upn=choose(UPNS),
        email=choose((None, "home@example.org", "a@example.org")),
        house=choose((None, "1 Mill Rd", "1 Mill Road", "2 Mill Road")),
        town=choose((None, "Leeds", "York")),
        place_of_birth=choose((None, "Leeds", "York")),
        school_at_16=choose((None, "North Academy", "South Academy")),
    )


def known(person: int, said: Details, history: tuple[tuple[str, str], str, str]) -> Known:
    name, postcode, upn = history
    return Known(
        person=person,
        details=said,
        former_names=(name,) if name[1] else (),
        former_postcodes=(postcode,) if postcode else (),
        former_upns=(upn,) if upn else (),
    )


HISTORIES = st.tuples(
    st.tuples(st.sampled_from(GIVEN), st.sampled_from(FAMILY)),
    st.sampled_from(["", "LS6 3QD", "M1 1AE"]),
    st.sampled_from(["", "C823432117001", "B82343211701A"]),
)
WORLDS = st.tuples(
    st.lists(details(), min_size=1, max_size=4),
    st.lists(st.tuples(details(), HISTORIES), min_size=1, max_size=5),
)
RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def summary(decision: Decision) -> object:
    """What must be the same. Of candidates that weigh the same either may stand first."""
    tied = len(decision.candidates) > 1 and decision.candidates[0].weight == decision.candidates[1].weight
    candidates = sorted(
        (round(one.weight, 5), str(one.person), str(one.guard)) for one in decision.candidates
    )
    parts = sorted(
        (str(one.person), part.field, part.level, round(part.weight, 5))
        for one in decision.candidates
        for part in one.parts
    )
    return decision.outcome, decision.person, None if tied else decision.guard, candidates, parts


@RELAXED
@given(WORLDS, st.booleans())
def test_scorers_agree(world: tuple[list[Details], list[tuple[Details, object]]], counted: bool) -> None:
    queries = world[0]
    register = [known(place, *one) for place, one in enumerate(world[1])]  # type: ignore[arg-type]
    frequencies = (
        Frequencies({"amelia": 400}, {"smith": 900}, {("amelia", "smith"): 300}, 30_000) if counted else None
    )
    everybody = ([q for q in range(len(queries)) for _ in register], [*range(len(register))] * len(queries))

    batch = decide_many(queries, register, everybody, one_file=False, frequencies=frequencies)

    assert list(map(summary, batch)) == [
        summary(decide(query, register, frequencies=frequencies)) for query in queries
    ]


@RELAXED
@given(WORLDS)
def test_blocks_agree(world: tuple[list[Details], list[tuple[Details, object]]]) -> None:
    register = [known(place, *one) for place, one in enumerate(world[1])]  # type: ignore[arg-type]
    assert found_in_columns(world[0], register) == found_one_by_one(world[0], register)


def test_the_hand_made_pairs_share_the_same_blocks() -> None:
    cases = pairs()
    queries, register = [case.query for case in cases], [case.known for case in cases]

    found = found_in_columns(queries, register)

    assert found == found_one_by_one(queries, register)
    assert len(found) > len(cases) / 2


def found_in_columns(queries: list[Details], register: list[Known]) -> set[tuple[int, int]]:
    """The pairs that the index finds."""
    vocabulary = Vocabulary()
    people = people_of(table_of_known(register), vocabulary)
    left, right = Index(people).candidates(people_of(table_of(queries), vocabulary))
    found = list(zip(left.tolist(), right.tolist(), strict=True))
    assert len(found) == len(set(found))
    return set(found)


def found_one_by_one(queries: list[Details], register: list[Known]) -> set[tuple[int, int]]:
    """The pairs that share a key."""
    held = [set(block_keys(normalise_known(one))) for one in register]
    asked = [set(query_keys(normalise(query))) for query in queries]
    return {
        (q, k) for q, mine in enumerate(asked) for k, yours in enumerate(held) if not mine.isdisjoint(yours)
    }


def test_the_hand_made_pairs_agree_all_against_all() -> None:
    cases = pairs()
    queries, register = [case.query for case in cases], [case.known for case in cases]
    everybody = ([q for q in range(len(queries)) for _ in register], [*range(len(register))] * len(queries))

    batch = decide_many(queries, register, everybody, one_file=False)

    # Each tenth by the scalar scorer: that is enough to see and quick.
    for place in range(0, len(queries), 10):
        assert summary(batch[place]) == summary(decide(queries[place], register))


@pytest.fixture
def amelia() -> Details:
    return Details(
        given_name="Amelia", family_name="Hughes", date_of_birth="2008-05-14", gender="2", postcode="LS6 3QD"
    )


def test_two_learners_of_one_file_never_get_one_number(amelia: Details) -> None:
    register = [Known(person="p", details=amelia)]
    both = ([0, 1], [0, 0])

    first, second = decide_many([amelia, amelia], register, both)

    assert (first.outcome, first.person) == ("existing", "p")
    assert (second.outcome, second.person, second.guard) == ("review", None, "file")
    assert decide(amelia, register, taken={"p"}).guard == "file"
    apart = decide_many([amelia, amelia], register, both, one_file=False)
    assert [one.person for one in apart] == ["p", "p"]


def test_what_a_clerk_decided_holds(amelia: Details) -> None:
    register = [Known(person="p", details=amelia), Known(person="q", details=amelia)]
    both = ([0, 0], [0, 1])

    assert decide_many([amelia], register, both)[0].guard == "margin"
    for marks, outcome, person in (
        (Overrides(different=frozenset("p")), "existing", "q"),
        (Overrides(same=frozenset("p")), "existing", "p"),
        (Overrides(different=frozenset("pq")), "new", None),
    ):
        batch = decide_many([amelia], register, both, overrides={0: marks})[0]
        alone = decide(amelia, register, overrides=marks)
        assert (batch.outcome, batch.person) == (alone.outcome, alone.person) == (outcome, person)
