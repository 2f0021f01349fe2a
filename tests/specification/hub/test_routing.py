"""Who receives what: a table that a data governance group can read, and the rule that holds for every directory."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonroom.exchange import Envelope
from commonroom.hub.frequency import Frequency
from commonroom.hub.movements import LEVELS, Movement, Sender
from commonroom.hub.routing import Routing, make_routing, route
from commonroom.problems import Problem

# The directory of the table: kinds, aliases, and who is what to whom.
PARTIES = {
    "urn:school-a": ["school"],
    "urn:school-b": ["school"],
    "urn:school-alone": ["school"],
    "urn:la": ["local authority"],
    "urn:trust": ["academy trust"],
    "urn:warehouse": ["platform"],
    "urn:board": ["awarding body"],
}
ALIASES = {"urn:alias:b": "urn:school-b", "urn:alias:warehouse": "urn:warehouse"}
RELATIONS = [
    ("urn:school-a", "its local authority", "urn:la"),
    ("urn:school-b", "its local authority", "urn:la"),
    ("urn:school-b", "its academy trust", "urn:trust"),
    (None, "the department's warehouse", "urn:warehouse"),
]


def movement(
    name: str, sender: Sender, to: str, types: str, level: str, first: str, last: str | None
) -> Movement:
    """A movement of these parts; lists are written with commas."""
    return Movement(
        id=name,
        title=name,
        sender=sender,
        to=tuple(part.strip() for part in to.split(",")),
        types=tuple(types.split()),
        purpose="-",
        legal_basis="-",
        content="-",
        frequency=Frequency(how="on_change"),
        classification=level,  # type: ignore[arg-type]
        retention_days=30,
        active_from=date.fromisoformat(first),
        active_to=date.fromisoformat(last) if last else None,
    )


SCHOOLS = Sender(kind="school")
TO_ALL = "its local authority, its academy trust, the department's warehouse"
# id, from, to, types, classification, first day, last day
MOVEMENTS = [
    movement("marks", SCHOOLS, TO_ALL, "marks", "confidential", "2025-09-01", None),
    movement("meals", SCHOOLS, "its local authority", "meals", "restricted", "2025-09-01", "2026-08-31"),
    movement("transfers", SCHOOLS, "the addressed school", "transfer", "restricted", "2025-09-01", None),
    movement("trust-only", SCHOOLS, "its academy trust", "budget", "internal", "2025-09-01", None),
    movement("gone", SCHOOLS, "urn:nobody", "lost", "internal", "2025-09-01", None),
    movement(
        "register",
        Sender(party="urn:alias:warehouse"),
        "the addressed organisation",
        "news",
        "public",
        "2025-09-01",
        None,
    ),
]

TABLE = """
sender        type      recipient      classification  day         -> receivers or refusal
a             marks     -              -               2025-09-01  -> la warehouse
b             marks     -              -               2025-09-01  -> la trust warehouse
alone         marks     -              -               2025-09-01  -> warehouse
a             marks     -              -               2025-08-31  -> CR-042
a             marks     alias:warehouse -              2025-09-01  -> warehouse
a             marks     school-b       -               2025-09-01  -> CR-042
a             marks     urn-of-nobody  -               2025-09-01  -> CR-041
a             marks     -              confidential    2025-09-01  -> la warehouse
a             marks     -              restricted      2025-09-01  -> CR-044
a             meals     -              restricted      2026-08-31  -> la
a             meals     -              restricted      2026-09-01  -> CR-042
alone         meals     -              -               2026-08-31  -> CR-047
a             transfer  school-b       -               2026-01-10  -> school-b
a             transfer  alias:b        -               2026-01-10  -> school-b
a             transfer  la             -               2026-01-10  -> CR-042
a             transfer  -              -               2026-01-10  -> CR-043
a             budget    -              -               2026-01-10  -> CR-047
b             budget    -              -               2026-01-10  -> trust
a             lost      -              -               2026-01-10  -> CR-047
a             never     -              -               2026-01-10  -> CR-042
la            marks     -              -               2026-01-10  -> CR-042
board         marks     -              -               2026-01-10  -> CR-042
warehouse     news      la             -               2026-01-10  -> la
warehouse     news      -              -               2026-01-10  -> CR-043
a             news      la             -               2026-01-10  -> CR-042
"""

ROWS = TABLE.strip().splitlines()[1:]
NAMES = {"a": "school-a", "b": "school-b", "alone": "school-alone"}


def routing() -> Routing:
    """The table's directory and movements."""
    return make_routing(
        version=1, parties=PARTIES.items(), aliases=ALIASES.items(), relations=RELATIONS, movements=MOVEMENTS
    )


@pytest.mark.parametrize("row", ROWS)
def test_a_message_goes_exactly_where_its_movement_says(row: str) -> None:
    left, _, right = row.partition("->")
    sender, message_type, recipient, level, day = left.split()
    party = f"urn:{NAMES.get(sender, sender)}"
    envelope = Envelope(
        id="1",
        source=party,
        type=message_type,
        recipient=None if recipient == "-" else f"urn:{recipient}",
        dataclassification=None if level == "-" else level,  # type: ignore[arg-type]
    )
    assert outcome(routing(), envelope, party, date.fromisoformat(day)) == right.split()


def outcome(table: Routing, envelope: Envelope, sender: str, day: date) -> list[str]:
    """Short names of the receivers, or the problem's code."""
    try:
        return [stop.recipient.removeprefix("urn:") for stop in route(table, envelope, sender, day).stops]
    except Problem as problem:
        return [problem.code if problem.remedy else "no remedy"]


def test_nobody_can_send_in_the_name_of_another() -> None:
    envelope = Envelope(id="1", source="urn:school-a", type="marks")
    assert outcome(routing(), envelope, "urn:school-b", date(2026, 1, 1)) == ["CR-040"]


def test_an_alias_of_the_sender_is_not_accepted_as_source() -> None:
    envelope = Envelope(id="1", source="urn:alias:b", type="marks")
    assert outcome(routing(), envelope, "urn:school-b", date(2026, 1, 1)) == ["CR-040"]


# The rule for every directory, said a second time as plainly as possible: over all parties, one by one.

URNS = [f"urn:p{number}" for number in range(6)]
KINDS = ["school", "authority", "board"]
ROLES = ["its authority", "its trust"]
TYPES = ["t1", "t2"]
DAYS = st.dates(date(2026, 1, 1), date(2026, 1, 10))

directories = st.fixed_dictionaries({urn: st.lists(st.sampled_from(KINDS), max_size=2) for urn in URNS})
relations = st.lists(
    st.tuples(st.one_of(st.none(), st.sampled_from(URNS)), st.sampled_from(ROLES), st.sampled_from(URNS)),
    max_size=8,
)
targets = st.sampled_from(
    [*ROLES, "the addressed school", "the addressed organisation", "urn:p0", "urn:alias"]
)
movements = st.lists(
    st.builds(
        Movement,
        id=st.uuids().map(str),
        title=st.just("-"),
        sender=st.one_of(
            st.sampled_from(KINDS).map(lambda kind: Sender(kind=kind)),
            st.sampled_from([*URNS, "urn:alias"]).map(lambda party: Sender(party=party)),
        ),
        to=st.lists(targets, min_size=1, max_size=3).map(tuple),
        types=st.lists(st.sampled_from(TYPES), min_size=1, max_size=2).map(tuple),
        purpose=st.just("-"),
        legal_basis=st.just("-"),
        content=st.just("-"),
        frequency=st.just(Frequency(how="on_change")),
        classification=st.sampled_from(list(LEVELS)),
        retention_days=st.integers(1, 400),
        active_from=DAYS,
        active_to=st.one_of(st.none(), DAYS),
    ),
    max_size=5,
    unique_by=lambda movement: movement.id,
)


@given(directories, relations, movements, st.sampled_from(URNS), st.data())
def test_nothing_is_ever_delivered_outside_an_active_movement_and_nobody_entitled_is_left_out(
    kinds: dict[str, list[str]],
    related: list[tuple[str | None, str, str]],
    agreed: list[Movement],
    sender: str,
    data: st.DataObject,
) -> None:
    alias_of = data.draw(st.sampled_from(URNS))
    recipient = data.draw(st.sampled_from([None, *URNS, "urn:alias"]))
    level: Any = data.draw(st.sampled_from([None, *LEVELS]))
    day = data.draw(DAYS)
    table = make_routing(
        version=1,
        parties=kinds.items(),
        aliases=[("urn:alias", alias_of)],
        relations=related,
        movements=agreed,
    )
    envelope = Envelope(
        id="1",
        source=sender,
        type=data.draw(st.sampled_from(TYPES)),
        recipient=recipient,
        dataclassification=level,
    )

    def named(name: str | None) -> str | None:
        return alias_of if name == "urn:alias" else name

    def lets_through(movement: Movement, receiver: str) -> bool:
        addressed = recipient is not None and named(recipient) == receiver
        return (
            envelope.type in movement.types
            and movement.active_from <= day
            and (movement.active_to is None or day <= movement.active_to)
            and (level is None or LEVELS[level] <= LEVELS[movement.classification])
            and (movement.sender.kind in kinds[sender] or named(movement.sender.party) == sender)
            and (recipient is None or addressed)
            and any(
                (sender, target, receiver) in related
                or (None, target, receiver) in related
                or named(target) == receiver
                or (target == "the addressed organisation" and addressed)
                or (target == "the addressed school" and addressed and "school" in kinds[receiver])
                for target in movement.to
            )
        )

    entitled = {receiver for receiver in URNS if any(lets_through(movement, receiver) for movement in agreed)}
    try:
        found = route(table, envelope, sender, day)
    except Problem:
        assert not entitled
        return
    assert {stop.recipient for stop in found.stops} == entitled
    assert len(found.stops) == len(entitled)
    by_id = {movement.id: movement for movement in agreed}
    assert all(lets_through(by_id[stop.movement], stop.recipient) for stop in found.stops)
