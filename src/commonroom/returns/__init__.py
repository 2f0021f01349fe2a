"""Returns: who owes what to a collection, its versions and findings, and its way to being authorised.

Used as `await returns.open_collection(...)`, `returns.upload(...)`, `returns.take(...)`, `returns.note(...)`. A version made
from the live record goes the way of an upload: `checking.check_tables` (or `check_session`), then `returns.add_version`.
"""

from commonroom.returns import codes
from commonroom.returns.parties import Actor
from commonroom.returns.steps import Asked, Source, add_version, note, open_collection, seen, take
from commonroom.returns.uploads import upload

__all__ = [
    "Actor",
    "Asked",
    "Source",
    "add_version",
    "codes",
    "note",
    "open_collection",
    "seen",
    "take",
    "upload",
]
