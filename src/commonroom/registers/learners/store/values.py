"""What callers of the learner register say and are told. Values only."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from commonroom.registers.learners.matching.people import Details, Part

FindKind = Literal["full", "check"]
Verdict = Literal["same", "different", "cannot_tell"]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, for whom and why. Every look-up leaves a row that names these."""

    party: str  # the organisation, a party urn
    person: str | None  # our id of the person who sits there; None for software
    purpose: str  # one of the declared purposes (watch.yaml)
    role: str  # school, college, authority, awarding_body, department, operator, clerk


class Registration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a provider says when it registers a learner. Kept for ever as it was sent."""

    details: Details
    verification_type: str | None = None
    ability_to_share: str | None = None  # -1 not provided, 0 notice not given, 1 may share, 2 refused
    verification_description: str | None = None
    title: str | None = None
    family_name_at_16: str | None = None
    address_line_2: str | None = None
    county: str | None = None
    date_of_address_capture: str | None = None
    nationality: str | None = None
    scottish_candidate_number: str | None = None
    tier_level: str | None = None
    notes: str | None = None
    reference: str | None = None  # the sender's own (MIS identifier); comes back with the answer
    uln: str | None = None  # what the sender holds already; 9999999999 says: none yet
    source: str = "rest"  # the route: portal, batch, rest, hub, sif, census


class Learner(msgspec.Struct, frozen=True, kw_only=True):
    """A registered learner as one caller may see it. What is None is not known, or masked."""

    uln: str | None  # None, as `version` is, for one of several possible learners
    version: int | None
    given_name: str | None = None
    family_name: str | None = None
    date_of_birth: str | None = None
    gender: str | None = None
    postcode: str | None = None
    middle_names: str | None = None
    previous_family_name: str | None = None
    preferred_given_name: str | None = None
    upn: str | None = None
    email: str | None = None
    house: str | None = None
    town: str | None = None
    place_of_birth: str | None = None
    school_at_16: str | None = None
    verification_type: str | None = None
    verification_description: str | None = None
    ability_to_share: str | None = None
    title: str | None = None
    family_name_at_16: str | None = None
    address_line_2: str | None = None
    county: str | None = None
    date_of_address_capture: str | None = None
    nationality: str | None = None
    scottish_candidate_number: str | None = None
    tier_level: str | None = None
    notes: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    master_substituted: bool = False
    linked_ulns: tuple[str, ...] = ()


class Wrong(msgspec.Struct, frozen=True):
    """A value that cannot be used: the item, the LRS return code (RC011 its form, RC013 the age), and why, in words."""

    item: str
    code: str
    reason: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a look-up. `code` is one of answers.yaml; a check has nothing but the code."""

    code: str
    uln: str | None = None
    learners: tuple[Learner, ...] = ()
    wrong: tuple[Wrong, ...] = ()  # with WSRC0015: what cannot be looked for


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a registration.

    WSRC0005 a new number; WSRC0004 the learner had one (WSRC0022: and it is the master of others); WSRC0003 a clerk will
    decide, `case` names the case and `learners` are the masked candidates; WSRC0021 too many are alike, send more;
    WSRC0015 something mandatory is missing, or a value cannot be used.
    """

    code: str
    uln: str | None = None
    registration: UUID | None = None
    case: UUID | None = None
    learners: tuple[Learner, ...] = ()
    reference: str | None = None
    missing: tuple[str, ...] = ()  # with WSRC0015: the items
    wrong: tuple[Wrong, ...] = ()  # with WSRC0015: what is there and cannot be used


class Updated(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a change: WSRC0006 and the new version, or why not."""

    code: str
    version: int | None = None
    wrong: tuple[Wrong, ...] = ()  # with WSRC0015: the changes that cannot be used


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a number and a person belong together: WSRC0004, WSRC0022 (`uln` is the master), or why not."""

    code: str
    uln: str | None = None


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """A number and who is said to hold it."""

    uln: str
    given_name: str
    family_name: str
    date_of_birth: str | None = None
    gender: str | None = None
    reference: str | None = None


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One registered person in a case, for the clerk: everything, with the waterfall of weights."""

    person: UUID
    uln: str
    details: Details
    weight: float
    parts: tuple[Part, ...]
    guard: str | None


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a clerk decides. Two clerks must agree where `clerks` is 2 (twins)."""

    id: UUID
    kind: Literal["registration", "pair", "challenge"]
    opened_at: datetime
    sent: Details
    party: str
    guard: str | None
    clerks: int
    candidates: tuple[Candidate, ...]
    verdicts: tuple[str, ...] = ()  # of other clerks, so far
    note: str = ""


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What a clerk's verdict did. `uln` is set once the case is closed with a number."""

    closed: bool
    uln: str | None = None
    merge: UUID | None = None  # where two persons were made one by it


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """Two persons made one, or one made two again."""

    merge: UUID
    master: str
    linked: str


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """What a clerk's wish to make two numbers one did: `merge` is None while another clerk must agree."""

    case: UUID
    master: str
    linked: str
    merge: UUID | None = None


class MergeMade(msgspec.Struct, frozen=True, kw_only=True):
    """A merge as it stands: the number that stays, those that stand for it since, and whether it was undone."""

    merge: UUID
    master: str
    linked: tuple[str, ...]
    at: datetime
    decided_by: str
    undone_at: datetime | None = None
    undone_by: str | None = None


class Deduped(msgspec.Struct, frozen=True, kw_only=True):
    """What the search for persons with two numbers did."""

    persons: int
    pairs: int
    merged: int
    cases: int
