"""The store of the learner register: find, register, change, merge and undo, in PostgreSQL.

All functions take an asyncpg connection (as engines.database sets it up) and the caller. Those that change anything open
a transaction, or a savepoint inside the caller's. Those that may give a number also take `numbers.Numbers.of(settings)`,
opened once a process.

Raises everywhere: Problem CR-111 (403) when the caller's role may not do this (access/policies/learners.*.yaml), CR-211
when no declared purpose is given (watch.yaml). Answers about learners are codes of answers.yaml, never problems.
"""

from commonroom.registers.learners.store.auditing import LookUp, look_ups
from commonroom.registers.learners.store.changing import challenge, set_sharing, update
from commonroom.registers.learners.store.deduping import dedupe
from commonroom.registers.learners.store.finding import (
    find,
    find_by_uln,
    resolve_ulns,
    retrieve,
    verify,
    verify_many,
)
from commonroom.registers.learners.store.joining import join, merges
from commonroom.registers.learners.store.merging import merge, unmerge
from commonroom.registers.learners.store.name_counts import NamesCounted, count_names
from commonroom.registers.learners.store.registering import register, register_many
from commonroom.registers.learners.store.reviewing import decide_case, review_case, review_list
from commonroom.registers.learners.store.values import (
    Caller,
    Candidate,
    Case,
    Decided,
    Deduped,
    FindKind,
    Found,
    Joined,
    Learner,
    Merged,
    MergeMade,
    Registered,
    Registration,
    Updated,
    Verdict,
    Verification,
    Verified,
    Wrong,
)
from commonroom.registers.learners.store.watch import Alarm, raise_alarms

__all__ = [
    "Alarm",
    "Caller",
    "Candidate",
    "Case",
    "Decided",
    "Deduped",
    "FindKind",
    "Found",
    "Joined",
    "Learner",
    "LookUp",
    "MergeMade",
    "Merged",
    "NamesCounted",
    "Registered",
    "Registration",
    "Updated",
    "Verdict",
    "Verification",
    "Verified",
    "Wrong",
    "challenge",
    "count_names",
    "decide_case",
    "dedupe",
    "find",
    "find_by_uln",
    "join",
    "look_ups",
    "merge",
    "merges",
    "raise_alarms",
    "register",
    "register_many",
    "resolve_ulns",
    "retrieve",
    "review_case",
    "review_list",
    "set_sharing",
    "unmerge",
    "update",
    "verify",
    "verify_many",
]
