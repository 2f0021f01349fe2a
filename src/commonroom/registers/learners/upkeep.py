"""What the register does by itself: at night it counts its names and looks for persons with two numbers, and all the time
at who looks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from commonroom import log
from commonroom.engines import clock, jobs
from commonroom.engines.database import connect
from commonroom.ids import alias_urn
from commonroom.registers.learners import store
from commonroom.registers.learners.store import Caller
from commonroom.settings import Settings

# A night that was missed is made up for; everybody is compared by `commonroom learners dedupe`.
CHANGED_WITHIN = timedelta(days=3)
ITSELF = Caller(party=alias_urn("platform", "learners"), person=None, purpose="register_upkeep", role="clerk")

_log = log.get("learners")


async def dedupe(settings: Settings, connection: Any) -> None:
    """Compare who was registered or changed lately with everybody. On a connection of its own: what is found stays."""
    since = await clock.now(connection) - CHANGED_WITHIN
    own = await connect(settings)
    try:
        done = await store.dedupe(own, ITSELF, since=since)
    finally:
        await own.close()
    _log.info("deduplicated", persons=done.persons, merged=done.merged, cases=done.cases)


async def count_names(_: Settings, connection: Any) -> None:
    """Count how often names are borne, for the decisions of the next day."""
    done = await store.count_names(connection, ITSELF)
    _log.info("names counted", persons=done.persons, given=done.given_names, family=done.family_names)


async def watch(_: Settings, connection: Any) -> None:
    """Raise alarms about callers whose look-ups are unusual; they stand in learners.alarm and in the log."""
    for one in await store.raise_alarms(connection, await clock.now(connection)):
        _log.warning(
            "unusual look-ups",
            party=one.party,
            role=one.role,
            kind=one.kind,
            look_ups=one.look_ups,
            found=one.found,
        )


JOBS = (
    # Before the search for doubles, which decides by them.
    jobs.Job("learner-names", timedelta(days=1), count_names),
    jobs.Job("learner-dedupe", timedelta(days=1), dedupe),
    jobs.Job("learner-watch", timedelta(minutes=5), watch),
)
