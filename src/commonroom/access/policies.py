"""Who sees which rows and items: policies/*.yaml, one file a dataset. What no policy grants is denied.

A reader of a dataset asks `rows` for the condition to put into its query; there is no other way to a dataset.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from commonroom import declarations
from commonroom.access import codes  # noqa: F401 - registers the room's problem codes
from commonroom.access.predicates import Dialect, Predicate
from commonroom.problems import Problem

FOLDER = Path(__file__).parent / "policies"
EVERYONE = "everyone"
# Beside the roles of identity those in which a party comes to the learner register.
Who = Literal[
    "everyone",
    "end_point",
    "school",
    "authority",
    "operator",
    "governance",
    "analyst",
    "learner",
    "college",
    "awarding_body",
    "department",
    "clerk",
    "researcher",
]


class Asker(Protocol):
    """What this room needs to know of a principal (see identity.Principal)."""

    @property
    def kind(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def party(self) -> str | None: ...


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One role's right to a dataset: the rows for which the condition holds, without the masked items."""

    who: Who
    rows: str
    because: str  # why this is proportionate, for the page that shows the policies
    masked: tuple[str, ...] = ()


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that is granted of one dataset."""

    dataset: str
    title: str
    columns: tuple[str, ...]  # what a condition may name; each reader of the dataset offers them
    grants: tuple[Grant, ...]


class Scope(msgspec.Struct, frozen=True):
    """What one principal may see of one dataset, for a query: `WHERE <sql>`, its parameters, items to leave out."""

    sql: str
    params: list[Any]
    masked: frozenset[str]


def rows(principal: Asker, dataset: str, dialect: Dialect, *, first_parameter: int = 1) -> Scope:
    """The rows of `dataset` that `principal` may see. `first_parameter` numbers PostgreSQL's `$n`.

    Raises Problem CR-111 (403) where no policy grants anything: unknown datasets and roles, or a grant for a party to
    somebody without one.
    """
    policy = load().get(dataset)
    # The role's own grant goes before the one for everyone.
    granted: dict[str, Grant] = {grant.who: grant for grant in policy.grants} if policy else {}
    grants = [granted[who] for who in (principal.role, EVERYONE) if who in granted]
    values = {"party": principal.party, "id": principal.id, "role": principal.role}
    for grant in grants:
        predicate = _predicate(dataset, grant.rows)
        if all(values[name] for name in predicate.parameters):
            sql, params = predicate.emit(dialect, values, first_parameter)
            return Scope(sql, params, frozenset(grant.masked))
    raise Problem(
        "CR-111",
        f"nothing of {dataset!r} is granted to the role {principal.role}",
        status=403,
        remedy="Sign in with an account that has the right, or ask the operator for it.",
    )


@cache
def load(folder: Path = FOLDER) -> dict[str, Policy]:
    """Every policy by dataset, each condition proved. Raises Problem CR-001 or CR-110."""
    found: dict[str, Policy] = {}
    for path in sorted(folder.glob("*.yaml")):
        policy = declarations.load(path, Policy)
        _check(policy, path)
        found[policy.dataset] = policy
    return found


@cache
def _predicate(dataset: str, text: str) -> Predicate:
    return Predicate(text, load()[dataset].columns, f"the policy of {dataset}")


def _check(policy: Policy, path: Path) -> None:
    if policy.dataset != path.stem:
        raise Problem(
            "CR-110", f"the file is called {path.stem}, its dataset {policy.dataset}", where=str(path)
        )
    roles = [grant.who for grant in policy.grants]
    if len(set(roles)) != len(roles):
        raise Problem("CR-110", "a role has two grants; join their conditions with `or`", where=str(path))
    for grant in policy.grants:
        Predicate(grant.rows, policy.columns, f"{path}, grant of {grant.who}")
