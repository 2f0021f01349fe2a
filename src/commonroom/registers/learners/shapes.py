"""What requests over HTTP say. Unknown members are refused: a misspelt item would be lost in silence."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec

from commonroom.registers.learners.matching.people import Details
from commonroom.registers.learners.store import Verification
from commonroom.registers.learners.store.values import FindKind, Verdict

MOST_AT_ONCE = 5000
Uln = Annotated[str, msgspec.Meta(max_length=20)]
Text = Annotated[str, msgspec.Meta(max_length=300)]


class FindAsked(Details, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Details, and whether the learner is wanted (full) or only the code (check)."""

    kind: FindKind = "full"


class RegisterAsked(Details, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Details, and what else is registered."""

    verification_type: str | None = None
    ability_to_share: str | None = None
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
    reference: str | None = None
    uln: str | None = None


class FindUlnAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number and who is said to hold it."""

    uln: Uln
    given_name: Text = ""
    family_name: Text = ""


class UlnAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number."""

    uln: Uln


class UlnsAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers."""

    ulns: Annotated[list[Uln], msgspec.Meta(max_length=MOST_AT_ONCE)]


class UpdateAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Items to change, by name; null empties one. `version` is that of the record that was read."""

    uln: Uln
    version: int
    changes: dict[str, str | None]


class SharingAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A learner's ability to share: 1 may share, 2 refused."""

    uln: Uln
    ability_to_share: str


class ChallengeAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An item of a learner that is wrong, and what is right."""

    uln: Uln
    item: Annotated[str, msgspec.Meta(max_length=50)]
    note: Annotated[str, msgspec.Meta(max_length=4000)]


class VerifyAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers and who is said to hold each."""

    learners: Annotated[list[Verification], msgspec.Meta(max_length=MOST_AT_ONCE)]


class MergeAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two numbers of one person; `linked` will stand for `master`."""

    master: Uln
    linked: Uln


class UnmergeAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A merge to be undone."""

    merge: UUID


class DecideAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A clerk's verdict; `person` says which candidate where there are several."""

    verdict: Verdict
    person: UUID | None = None
