"""Every step x state x role x with or without an approver, against a table that stands here and nowhere else."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from commonroom import standard
from commonroom.problems import Problem
from commonroom.returns import workflow
from commonroom.returns.workflow import ROLES, Role

# The states in order, short: nd no data, lv loaded and validated, as amended by source, su submitted, ra rejected by
# approver, aa amended by approver, ap approved, rc rejected by collector, ac amended by collector, au authorised.
STATES = {
    "nd": "no_data", "lv": "loaded_and_validated", "as": "amended_by_source", "su": "submitted",
    "ra": "rejected_by_approver", "aa": "amended_by_approver", "ap": "approved", "rc": "rejected_by_collector",
    "ac": "amended_by_collector", "au": "authorised",
}  # fmt: skip
# What each role reaches from each state: `*` behind it means on behalf of the source. `-` is "not from this state"
# (CR-197), `.` is "for others" (CR-198).
WITH_APPROVER = """
step       role       nd   lv   as   su   ra   aa   ap   rc   ac   au
load       source     lv   as   as   .    as   .    .    as   .    -
load       approver   lv*  as*  as*  aa   as*  aa   .    as*  .    -
load       collector  .    .    .    .    .    .    ac   .    ac   -
submit     source     -    su   su   -    su   -    -    su   -    -
submit     approver   -    su*  su*  -    su*  -    -    su*  -    -
submit     collector  -    .    .    -    .    -    -    .    -    -
approve    source     -    -    -    .    -    .    -    .    -    -
approve    approver   -    -    -    ap   -    ap   -    ap   -    -
approve    collector  -    -    -    .    -    .    -    .    -    -
reject     source     -    -    -    .    -    .    .    -    .    -
reject     approver   -    -    -    ra   -    ra   .    -    .    -
reject     collector  -    -    -    .    -    .    rc   -    rc   -
authorise  source     -    -    -    -    -    -    .    -    .    -
authorise  approver   -    -    -    -    -    -    .    -    .    -
authorise  collector  -    -    -    -    -    -    au   -    au   -
"""
WITHOUT_APPROVER = """
step       role       nd   lv   as   su   ra   aa   ap   rc   ac   au
load       source     lv   as   as   .    as   .    .    as   .    -
load       collector  .    .    .    ac   .    .    ac   .    ac   -
submit     source     -    su   su   -    su   -    -    su   -    -
submit     collector  -    .    .    -    .    -    -    .    -    -
reject     source     -    -    -    .    -    .    .    -    .    -
reject     collector  -    -    -    rc   -    .    rc   -    rc   -
authorise  source     -    -    -    .    -    -    .    -    .    -
authorise  collector  -    -    -    au   -    -    au   -    au   -
"""
NOTES = """
does  role       nd   lv   as   su   ra   aa   ap   rc   ac   au
note  source     -    y    y    .    y    .    .    y    .    -
note  approver   -    y    y    y    y    y    .    y    .    -
note  collector  -    .    .    .    .    .    y    .    y    -
ok    source     -    .    .    .    .    .    .    .    .    -
ok    approver   -    y    y    y    y    y    .    y    .    -
ok    collector  -    y    y    y    y    y    y    y    y    -
"""
SAID = {"-": "CR-197", ".": "CR-198"}


def _rows(table: str) -> list[tuple[str, Role, str, str]]:
    header, *lines = [line.split() for line in table.strip().splitlines()]
    states = [STATES[short] for short in header[2:]]
    found = []
    for step, role, *cells in lines:
        assert role in ROLES
        found += [(step, role, state, cell) for state, cell in zip(states, cells, strict=True)]
    return found


CASES = [(*row, True) for row in _rows(WITH_APPROVER)] + [(*row, False) for row in _rows(WITHOUT_APPROVER)]


def test_the_tables_have_every_case() -> None:
    steps = {step.step for step in workflow.load().steps}
    expected = set(itertools.product(steps, ROLES, STATES.values()))
    assert {(step, role, state) for step, role, state, _, has in CASES if has} == expected
    assert [one.name for one in workflow.load().states] == list(STATES.values())
    assert {(does, role, state) for does, role, state, _ in _rows(NOTES)} == set(
        itertools.product(("note", "ok"), ROLES, STATES.values())
    )


@pytest.mark.parametrize(("step", "role", "state", "cell", "has_approver"), CASES)
def test_every_step_role_and_state(step: str, role: Role, state: str, cell: str, has_approver: bool) -> None:
    declared = workflow.load()
    if cell in SAID:
        with pytest.raises(Problem) as refused:
            workflow.decide(declared, step, state, {role}, has_approver=has_approver)
        assert refused.value.code == SAID[cell]
        return
    move = workflow.decide(declared, step, state, {role}, has_approver=has_approver)
    assert move.step.to == STATES[cell.rstrip("*")]
    assert move.role == role
    assert move.on_behalf == cell.endswith("*")


@pytest.mark.parametrize(("does", "role", "state", "cell"), _rows(NOTES))
def test_every_note_role_and_state(does: workflow.Doing, role: Role, state: str, cell: str) -> None:
    if cell in SAID:
        with pytest.raises(Problem) as refused:
            workflow.may_do(workflow.load(), does, state, {role})
        assert refused.value.code == SAID[cell]
        return
    assert workflow.may_do(workflow.load(), does, state, {role}) == role


def test_an_authority_with_its_own_return_submits_as_source_and_approves_as_approver() -> None:
    declared = workflow.load()
    both: set[Role] = {"source", "approver"}
    submit = workflow.decide(declared, "submit", "loaded_and_validated", both, has_approver=True)
    assert (submit.role, submit.on_behalf) == ("source", False)
    assert workflow.decide(declared, "approve", "submitted", both, has_approver=True).role == "approver"


def test_what_each_step_needs() -> None:
    needs = {(one.step, one.to): set(one.needs) for one in workflow.load().steps}
    ready = {"no_errors", "queries_answered", "told"}
    assert needs[("submit", "submitted")] == ready
    assert needs[("approve", "approved")] == ready | {"local_rules"}
    assert needs[("authorise", "authorised")] == {"no_errors", "queries_answered", "taken"}
    assert needs[("reject", "rejected_by_approver")] == {"reason"}
    assert needs[("reject", "rejected_by_collector")] == {"reason"}
    assert needs[("load", "loaded_and_validated")] == set()


def test_every_status_of_the_older_system_is_read_and_ours_are_written() -> None:
    declared = workflow.load()
    numbers = {code.code for code in standard.load().codesets["return_status"].codes}
    assert len(numbers) == 29
    assert {number for number in numbers if declared.of_collect(number)} == numbers
    titles = standard.load().codesets["return_status"].by_code
    for state in declared.states:
        written = titles[state.collect[0]].title.lower().replace("agent", "approver")
        assert written in (state.title.lower(), "rejected")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("to: authorised", "to: nowhere", "nowhere"),
        ('collect: ["10"]', 'collect: ["9"]', "status number"),
        ("- {name: authorised,", "- {name: agreed,", "no state authorised"),
        ("{does: note, from: [submitted", "{does: note, from: [lost", "lost"),
        ("title: Authorise, from: [submitted]", "title: Authorise, from: [approved]", "CR-195"),
    ],
)
def test_a_workflow_that_contradicts_itself_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = workflow.FILE.read_text("utf-8")
    assert old in text
    file = tmp_path / "workflow.yaml"
    changed = text.replace(old, new)
    if said == "CR-195":
        changed = changed.replace(', no_approver: "true"}\n\n# Who', "}\n\n# Who")
    file.write_text(changed, "utf-8")
    with pytest.raises(Problem) as refused:
        workflow.load(file)
    assert refused.value.code == "CR-195"
    assert said in str(refused.value)
