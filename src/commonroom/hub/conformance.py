"""Evidence from a conformance run: its signed file, checked and recorded for the end point that was examined.

The file comes from a sandbox, whose parties are not this hub's. What ties it to an end point here is the key: the end
point must have enrolled with one that signed in the run. The level is the operator's judgement; traffic shows none.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from commonroom import identity
from commonroom.exchange import conformance, keys
from commonroom.exchange.conformance import Result
from commonroom.hub import assurance
from commonroom.hub.schedule import ENGLAND
from commonroom.problems import Problem
from commonroom.settings import Settings

KIND = "conformance run"
HOLDS_DAYS = 365  # software changes: a run speaks for a year
AHEAD = timedelta(minutes=5)  # clocks of two machines
_EXAMINE_AGAIN = (
    "Have the end point examined anew, with the key it enrolled with: commonroom conformance run."
)


async def record_run(
    connection: Any,
    party: str,
    level: str,
    file: Path,
    trusted: dict[str, str],
    *,
    by: str,
    end_point: str | None = None,
    valid_from: date | None = None,
    valid_to: date | None = None,
) -> str:
    """Record a run for the end point of `party` (urn) that holds an examined key; the end point's id.

    `trusted` is the public key of the sandbox. Without days it counts from the run's day on for a year, and never longer.
    Raises Problem CR-173 (not rightly signed), CR-147 (failed, too old, of another end point, days it does not cover).
    """
    believed = conformance.read(file, trusted)
    result = believed.statement.result
    first, last = _days(result, file)
    begin, finish = valid_from or first, valid_to or last
    if begin < first or finish > last:
        raise _wrong(file, f"It speaks for {first} to {last}, and not for longer.", "Choose days in between.")
    found = await _examined(connection, party, end_point, result, file)
    await assurance.record(
        connection,
        [party],
        level,
        kind=KIND,
        reference=f"sha-256 {believed.digest}, sandbox {believed.statement.software}, {result.at:%Y-%m-%d}",
        valid_from=begin,
        valid_to=finish,
        by=by,
        end_point=found,
    )
    return found


def trusted_key(settings: Settings, file: Path | None) -> dict[str, str]:
    """The sandbox's public key: of a JWK file or a PEM file, or else of a sandbox in this data folder.

    Raises Problem CR-173: a file is never believed by the key that it names itself.
    """
    chosen = file or settings.folder("keys") / conformance.KEY_FILE
    try:
        text = chosen.read_bytes()
        if text.lstrip().startswith(b"{"):
            whole = msgspec.json.decode(text, type=dict[str, Any])
            return {name: str(whole[name]) for name in ("kty", "crv", "x")}
    except (OSError, KeyError, msgspec.DecodeError) as error:
        raise Problem(
            "CR-173",
            "The key of the sandbox that signed is not known.",
            where=str(chosen),
            remedy="Name a file with its public key (JWK): --key FILE.",
        ) from error
    return keys.public_jwk(keys.load(chosen))


def _days(result: Result, file: Path) -> tuple[date, date]:
    """The first and the last day of which a run speaks."""
    now = datetime.now(UTC)
    if not result.checks or not result.passed:
        raise _wrong(file, "The end point did not pass.", _EXAMINE_AGAIN)
    if result.at > now + AHEAD:
        raise _wrong(file, f"It is dated {result.at:%Y-%m-%d %H:%M}, which is still to come.", _EXAMINE_AGAIN)
    first = result.at.astimezone(ENGLAND).date()
    last = first + timedelta(days=HOLDS_DAYS)
    if last < now.astimezone(ENGLAND).date():
        raise _wrong(file, f"It ended on {last}, {HOLDS_DAYS} days after the run.", _EXAMINE_AGAIN)
    return first, last


async def _examined(connection: Any, party: str, end_point: str | None, result: Result, file: Path) -> str:
    """The end point of the party, or this one of them, that has a key of the run and is not revoked."""
    open_ones = {
        one.id
        for one in await identity.end_points_of(connection, party)
        if one.revoked_at is None and end_point in (None, one.id)
    }
    for key in await identity.keys_of(connection, party):
        if key.use == "sig" and key.kid in result.keys and key.end_point in open_ones:
            return key.end_point
    whose = (
        f"End point {end_point} is none of this party's, or" if end_point else "No end point of this party"
    )
    raise _wrong(file, f"{whose} has {'no' if end_point else 'a'} key that was examined.", _EXAMINE_AGAIN)


def _wrong(file: Path, detail: str, remedy: str) -> Problem:
    return Problem("CR-147", detail, status=422, where=str(file), remedy=remedy)
