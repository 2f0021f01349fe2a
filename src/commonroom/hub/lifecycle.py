"""The life of a movement as tables: how it stands on a day, which steps that allows, and who may take them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Literal

from commonroom.hub import codes  # noqa: F401 - registers the hub's problem codes
from commonroom.problems import Problem

# What is stored of a version. The rest of its standing is a matter of dates and of suspension.
State = Literal["proposed", "under review", "approved", "rejected", "withdrawn"]
Standing = Literal[
    "proposed",
    "under review",
    "approved",  # its first day is still to come
    "active",
    "suspended",
    "replaced",  # the next version has begun
    "expired",
    "rejected",
    "withdrawn",
]
Step = Literal["propose", "amend", "vote", "decide", "suspend", "resume", "withdraw"]
Role = Literal["operator", "member", "organisation"]

OPEN: frozenset[Standing] = frozenset({"proposed", "under review"})

# Proposing needs an id that no movement has.
STEPS: Mapping[Step, frozenset[Standing]] = {
    "propose": frozenset(),
    "vote": OPEN,
    "decide": frozenset({"under review"}),
    # Of the newest version: there is one proposal at a time.
    "amend": frozenset({"approved", "active", "suspended", "expired", "rejected", "withdrawn"}),
    "suspend": frozenset({"approved", "active"}),
    "resume": frozenset({"suspended"}),
    "withdraw": frozenset({"proposed", "under review", "approved", "active", "suspended"}),
}

# An organisation amends what it sends or receives under; it and a member withdraw only what they proposed.
WHO: Mapping[Step, frozenset[Role]] = {
    "propose": frozenset({"operator", "member", "organisation"}),
    "vote": frozenset({"member"}),
    "decide": frozenset({"operator", "member"}),
    "amend": frozenset({"operator", "member", "organisation"}),
    "suspend": frozenset({"operator", "member"}),
    "resume": frozenset({"operator", "member"}),
    "withdraw": frozenset({"operator", "member", "organisation"}),
}


def standing(
    state: State,
    active_from: date,
    active_to: date | None,
    *,
    on: date,
    replaced_from: date | None = None,
    suspended: bool = False,
) -> Standing:
    """How a version stands on a day. `replaced_from`: the first day of a later approved version of the movement."""
    if state != "approved":
        return state
    if replaced_from is not None and replaced_from <= on:
        return "replaced"
    if active_to is not None and active_to < on:
        return "expired"
    if suspended:
        return "suspended"
    return "active" if active_from <= on else "approved"


def check_step(step: Step, now: Standing, movement: str) -> None:
    """Raises Problem CR-141 (409) when a movement that stands so cannot take the step."""
    if now not in STEPS[step]:
        allowed = sorted(other for other, standings in STEPS.items() if now in standings)
        remedy = (
            f"What can be done now: {', '.join(allowed)}." if allowed else "Nothing more can be done with it."
        )
        detail = (
            f"{movement} is {now}, and {step} needs it to be {' or '.join(sorted(STEPS[step])) or 'new'}."
        )
        raise Problem("CR-141", detail, status=409, where=movement, remedy=remedy)


def check_role(step: Step, role: Role) -> None:
    """Raises Problem CR-143 (403) when callers of this role never take the step."""
    if role not in WHO[step]:
        raise not_yours(step, f"{step} is for: {', '.join(sorted(WHO[step]))}.")


def not_yours(step: Step, detail: str) -> Problem:
    """The refusal of a step that is for somebody else."""
    remedy = "Ask a member of the governance group or the operator; the governance policy names the members."
    return Problem("CR-143", detail, status=403, where=step, remedy=remedy)
