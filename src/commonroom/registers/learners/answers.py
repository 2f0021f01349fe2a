"""The answer codes of the learner register, one declared table for all routes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from commonroom import declarations

FILE = Path(__file__).parent / "answers.yaml"

NONE = "WSRC0001"
TOO_MANY = "WSRC0002"
POSSIBLE = "WSRC0003"
EXACT = "WSRC0004"
REGISTERED = "WSRC0005"
UPDATED = "WSRC0006"
CHANGED_SINCE = "WSRC0013"
SHARING_REFUSED = "WSRC0014"
INSUFFICIENT = "WSRC0015"
NOT_FOUND = "WSRC0019"
NO_CHANGE = "WSRC0020"
FIND_FIRST = "WSRC0021"
MASTER = "WSRC0022"
NO_ULN = "WSEC0136"
NOT_SHARED = "WSEC0206"
NOT_VERIFIED = "WSEC0208"


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a code says, and whether the caller has what was asked for."""

    meaning: str
    good: bool


@cache
def answers() -> dict[str, Answer]:
    """Every code with its meaning."""
    return declarations.load(FILE, dict[str, Answer])
