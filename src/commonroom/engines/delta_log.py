"""How Delta names what is in a table's log, and what is said of a table that is not as its log says."""

from __future__ import annotations

from commonroom.problems import Problem, add_codes

add_codes({"CR-310": "A file of the warehouse is not as it was put in its store"})

# Every table begins with an empty version, so that "take back to the announced version" always has a version to go to.
EMPTY = 0
LOG = "_delta_log"
LAST_CHECKPOINT = f"{LOG}/_last_checkpoint"


def entry_of(version: int) -> str:
    """The log entry of a version, by its name in the table."""
    return f"{LOG}/{version:020d}.json"


def not_as_put(address: str, detail: str) -> Problem:
    """Problem CR-310."""
    return Problem(
        "CR-310",
        detail,
        status=500,
        where=address,
        remedy="Put it back from the store's own versions or a copy; `commonroom warehouse verify` names the tables. "
        "Figures that need it are refused until then.",
    )
