"""Locks under which nobody gets two numbers: whoever registers a person holds those of the day of birth, the postcode and
the UPN until the transaction ends, so the next one who sends that person sees the first one's work.

Keys are folded into a few thousand slots: a chunk of thousands of learners must fit into the server's table of locks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from commonroom.registers.learners.matching import Prepared

SLOTS = 1024  # for each kind
_SPACE = 0x4C52  # "LR": our own among advisory locks of two numbers
# In the order of the list, which is sorted: two callers never wait for each other crosswise.
_LOCK = """
SELECT count(pg_advisory_xact_lock($1, slot)), engines.domain_now() AS now
FROM unnest($2::integer[]) AS wanted (slot)
"""


async def lock(conn: Any, queries: Iterable[Prepared]) -> datetime:
    """Hold the locks of these people until the transaction ends; the domain clock's time."""
    slots = sorted({slot for query in queries for slot in _slots(query)})
    row = await conn.fetchrow(_LOCK, _SPACE, slots)
    now: datetime = row["now"]
    return now


def _slots(query: Prepared) -> list[int]:
    birth = "-".join(map(str, query.birth))
    return [
        _slot(birth, 0),
        *(_slot(postcode, 1) for postcode in query.postcodes[:1]),
        *(_slot(upn, 2) for upn in query.upns[:1]),
    ]


def _slot(value: str, kind: int) -> int:
    digest = hashlib.blake2b(value.encode(), digest_size=4).digest()
    return kind * SLOTS + int.from_bytes(digest, "big") % SLOTS
