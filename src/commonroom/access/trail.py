"""The trail of reads: who read how many rows of what, and why. Never the rows themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from commonroom.access.policies import Asker

MAX_PURPOSE = 200
_WRITE = """
INSERT INTO access.audit (principal_kind, principal, role, party, dataset, purpose, rows, counted)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""


async def audit(
    connection: Any,
    principal: Asker,
    dataset: str,
    purpose: str,
    rows: int,
    counted: Sequence[str] | None = None,
) -> None:
    """Note one read. `purpose` is ours or chosen from a list, never free text with personal data.

    `counted`: of whose records the answer was made, by their public numbers, where a reader counts over those of others.
    """
    await connection.execute(
        _WRITE,
        principal.kind,
        principal.id,
        principal.role,
        principal.party,
        dataset,
        purpose[:MAX_PURPOSE],
        rows,
        None if counted is None else list(counted),
    )
