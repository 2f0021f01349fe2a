"""The life of a return as data: workflow.yaml says the states, the steps and who may take them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from commonroom import declarations
from commonroom.problems import Problem
from commonroom.returns import codes

FILE = Path(__file__).parent / "workflow.yaml"

Role = Literal["source", "approver", "collector"]
StepName = Literal["load", "submit", "approve", "reject", "authorise"]
Need = Literal["no_errors", "queries_answered", "local_rules", "told", "taken", "reason"]
Doing = Literal["note", "ok"]
ROLES: tuple[Role, ...] = ("source", "approver", "collector")
FIRST = "no_data"
LAST = "authorised"


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a return may stand. The first of `collect` is the number that older systems know it by."""

    name: str
    title: str
    collect: tuple[str, ...]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"starts": "from"}):
    """One way from some states to another."""

    step: StepName
    title: str
    starts: tuple[str, ...]
    to: str
    roles: tuple[Role, ...]
    on_behalf: tuple[Role, ...] = ()
    needs: tuple[Need, ...] = ()
    no_approver: bool = False


class NoteRight(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"starts": "from"}):
    """Who may write notes on findings, or accept them, while a return stands in these states."""

    does: Doing
    starts: tuple[str, ...]
    roles: tuple[Role, ...]


class Workflow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of workflow.yaml."""

    states: tuple[State, ...]
    steps: tuple[Step, ...]
    notes: tuple[NoteRight, ...]

    def state(self, name: str) -> State:
        """The state of that name."""
        return next(one for one in self.states if one.name == name)

    def of_collect(self, number: str) -> State | None:
        """The state that a status of the older system is read as; None for a number it has not."""
        return next((one for one in self.states if number in one.collect), None)


class Move(msgspec.Struct, frozen=True):
    """A step that may be taken, and as what."""

    step: Step
    role: Role
    on_behalf: bool


@cache
def load(path: Path = FILE) -> Workflow:
    """The workflow, proved. Raises Problem CR-001 or CR-195."""
    found = declarations.load(path, Workflow)
    if fault := next(_faults(found), None):
        raise Problem(codes.WORKFLOW, fault, status=500, where=str(path), remedy="Mend workflow.yaml.")
    return found


def decide(workflow: Workflow, step: str, state: str, roles: Collection[Role], *, has_approver: bool) -> Move:
    """The way that someone with these roles takes. Raises Problem CR-197 (not from here) or CR-198 (not by you).

    Who has a right of its own never acts on behalf of another.
    """
    ways = [one for one in workflow.steps if one.step == step and state in one.starts]
    ways = [one for one in ways if not (one.no_approver and has_approver)]
    if not ways:
        raise _wrong_state(workflow, step, state)
    for on_behalf in (False, True):
        for way in ways:
            allowed = way.on_behalf if on_behalf else way.roles
            role = next((role for role in ROLES if role in roles and role in allowed), None)
            if role is not None:
                return Move(way, role, on_behalf)
    raise _not_yours(step, {role for way in ways for role in (*way.roles, *way.on_behalf)})


def may_do(workflow: Workflow, doing: Doing, state: str, roles: Collection[Role]) -> Role:
    """The role in which someone writes a note or accepts a finding. Raises Problem CR-197 or CR-198."""
    rights = [one for one in workflow.notes if one.does == doing and state in one.starts]
    if not rights:
        raise _wrong_state(workflow, doing, state)
    allowed = {role for right in rights for role in right.roles}
    found = next((role for role in ROLES if role in roles and role in allowed), None)
    if found is None:
        raise _not_yours(doing, allowed)
    return found


def open_steps(
    workflow: Workflow, state: str, roles: Collection[Role], *, has_approver: bool
) -> list[StepName]:
    """The steps that someone with these roles may take now, needs aside."""
    found: list[StepName] = []
    for name in dict.fromkeys(one.step for one in workflow.steps):
        try:
            decide(workflow, name, state, roles, has_approver=has_approver)
        except Problem:
            continue
        found.append(name)
    return found


def _wrong_state(workflow: Workflow, step: str, state: str) -> Problem:
    named = [name for one in workflow.steps if one.step == step for name in one.starts]
    named += [name for right in workflow.notes if right.does == step for name in right.starts]
    starts = [workflow.state(name).title.lower() for name in dict.fromkeys(named)]
    return Problem(
        codes.WRONG_STATE,
        f"`{step}` is not possible while the return is {workflow.state(state).title.lower()}.",
        status=409,
        remedy=f"It is possible from: {', '.join(starts)}." if starts else "There is no such step.",
    )


def _not_yours(step: str, roles: Iterable[str]) -> Problem:
    return Problem(
        codes.NOT_YOURS,
        f"`{step}` is for the {' or the '.join(sorted(roles))} of the return.",
        status=403,
        remedy="Ask those whose step it is.",
    )


def _faults(workflow: Workflow) -> Iterator[str]:
    names = [one.name for one in workflow.states]
    if len(set(names)) != len(names):
        yield "a state stands twice"
    numbers = [number for one in workflow.states for number in one.collect]
    if len(set(numbers)) != len(numbers):
        yield "a status number stands at two states"
    for name in (FIRST, LAST):
        if name not in names:
            yield f"there is no state {name}"
    for step in workflow.steps:
        for name in (*step.starts, step.to):
            if name not in names:
                yield f"the step {step.step} names the state {name}, which is none"
    for right in workflow.notes:
        for name in right.starts:
            if name not in names:
                yield f"the right {right.does} names the state {name}, which is none"
    ways = [
        (step.step, start, role, step.no_approver)
        for step in workflow.steps
        for start in step.starts
        for role in step.roles
    ]
    if len(set(ways)) != len(ways):
        yield "one step of one role leads from one state to two"
