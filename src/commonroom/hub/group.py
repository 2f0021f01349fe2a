"""The governance group: its members and its rule as declared, and what votes decide under that rule. Pure but for reading.

The declaration is a YAML file (`governance` in the settings). Without one there are no members, and nothing is approved
but what the operator loads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from commonroom.declarations import load
from commonroom.hub import codes  # noqa: F401 - registers the hub's problem codes
from commonroom.hub.movements import Id, Kind, Urn
from commonroom.problems import Problem
from commonroom.settings import Settings

Vote = Literal["for", "against", "abstain"]
Count = Annotated[int, Meta(ge=1, le=1000)]
Account = Annotated[str, Meta(min_length=1, max_length=128)]
DEFAULT_POLICY = Path(__file__).parent / "governance.yaml"


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When votes decide."""

    quorum: Count  # votes cast, abstentions among them
    front_line_votes: Count  # of those, cast by members of a front-line kind
    majority: Literal["more than half", "two thirds", "all"]  # of the votes for and against


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody with one vote."""

    id: Id
    name: Kind
    kind: Kind  # such as `school`, `local authority`, `department`
    party: Urn | None = None  # urn or alias of the party whose end points speak for the member
    account: Account | None = None  # username with which the member signs in at the portal
    named: bool = False  # agreed that the public register names the member with vote and reason


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The governance group as declared."""

    rule: Rule
    front_line_kinds: Annotated[tuple[Kind, ...], Meta(min_length=1, max_length=50)]
    members: Annotated[tuple[Member, ...], Meta(max_length=1000)] = ()

    def member(self, member: str) -> Member | None:
        """The member with this id."""
        return next((each for each in self.members if each.id == member), None)

    def holder(self, account: str) -> Member | None:
        """The member who signs in with this username."""
        wanted = account.casefold()
        return next(
            (each for each in self.members if each.account and each.account.casefold() == wanted), None
        )

    def front_line(self, member: Member) -> bool:
        """Whether the member works where the data comes from."""
        return member.kind in self.front_line_kinds


class Ballot(msgspec.Struct, frozen=True, kw_only=True):
    """One member's vote that counts."""

    vote: Vote
    front_line: bool = False
    of_proposer: bool = False


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What the votes say under a rule."""

    votes_for: int
    votes_against: int
    abstentions: int
    front_line: int
    carried: bool  # the majority is for it
    quorate: bool
    lacking: tuple[str, ...]  # what stands in the way of approval; empty: approved


def policy_of(settings: Settings) -> Policy:
    """The policy that this installation declares. Raises Problem CR-001 or CR-140."""
    return read_policy(settings.data / settings.governance if settings.governance else None)


def read_policy(path: Path | None) -> Policy:
    """The policy of a file, or the one without members. Raises Problem CR-001 or CR-140."""
    file = path or DEFAULT_POLICY
    policy = load(file, Policy)
    if faults := _contradictions(policy):
        raise Problem(
            "CR-140",
            " ".join(faults),
            where=str(file),
            remedy="Mend the file; it is read whole or not at all.",
        )
    return policy


def _contradictions(policy: Policy) -> list[str]:
    ids = Counter(member.id for member in policy.members)
    parties = Counter(member.party for member in policy.members if member.party)
    faults = [f"The member {name} stands {count} times." for name, count in ids.items() if count > 1]
    faults += [f"{name} speaks for {count} members." for name, count in parties.items() if count > 1]
    accounts = Counter(member.account.casefold() for member in policy.members if member.account)
    faults += [f"The account {name} is of {count} members." for name, count in accounts.items() if count > 1]
    front_line = sum(policy.front_line(member) for member in policy.members)
    if policy.members and len(policy.members) < policy.rule.quorum:
        faults.append(f"There are {len(policy.members)} members, and a quorum is {policy.rule.quorum}.")
    if policy.members and front_line < policy.rule.front_line_votes:
        faults.append(
            f"{front_line} members are of a front-line kind, and {policy.rule.front_line_votes} must vote."
        )
    return faults


def tally(rule: Rule, ballots: Sequence[Ballot]) -> Tally:
    """Count the votes, one ballot a member."""
    counts = Counter(ballot.vote for ballot in ballots)
    front_line = sum(ballot.front_line for ballot in ballots)
    carried = _carried(rule, counts["for"], counts["against"])
    others = any(ballot.vote == "for" and not ballot.of_proposer for ballot in ballots)
    conditions = {
        f"{rule.quorum} votes ({len(ballots)} are cast)": len(ballots) >= rule.quorum,
        f"{rule.front_line_votes} votes of front-line members ({front_line} are cast)": front_line
        >= rule.front_line_votes,
        f"a majority for it ({rule.majority})": carried,
        "a vote for it by somebody other than its proposer": others,
    }
    return Tally(
        votes_for=counts["for"],
        votes_against=counts["against"],
        abstentions=counts["abstain"],
        front_line=front_line,
        carried=carried,
        quorate=len(ballots) >= rule.quorum,
        lacking=tuple(condition for condition, met in conditions.items() if not met),
    )


def _carried(rule: Rule, votes_for: int, votes_against: int) -> bool:
    if not votes_for:
        return False
    share = Fraction(votes_for, votes_for + votes_against)
    return {
        "more than half": share > Fraction(1, 2),
        "two thirds": share >= Fraction(2, 3),
        "all": share == 1,
    }[rule.majority]


def check_outcome(found: Tally, outcome: Literal["approved", "rejected"], movement: str) -> None:
    """Raises Problem CR-142 (409) unless the votes decide so. Without a quorum nothing is decided."""
    if outcome == "approved" and found.lacking:
        detail = f"Approval still needs {'; '.join(found.lacking)}."
    elif outcome == "rejected" and not found.quorate:
        detail = f"{found.votes_for + found.votes_against + found.abstentions} votes are no quorum."
    elif outcome == "rejected" and found.carried:
        detail = "The majority is for it."
    else:
        return
    remedy = "Wait for more votes, record the other outcome, or have the proposal withdrawn."
    raise Problem("CR-142", detail, status=409, where=movement, remedy=remedy)
