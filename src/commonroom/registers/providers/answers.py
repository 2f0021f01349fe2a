"""Records as UKRLP's REST service answers them, of every provider with a UKPRN: one line of JSON each.

UKRLP's own record comes first, then what GIAS says of the establishment or group with that number, then what the provider
keeps itself. Members that UKRLP does not have stand at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import groupby
from typing import Any

import msgspec

from commonroom.ids import org_urn
from commonroom.registers.providers.shapes import lists

MOST_AT_ONCE = 5_000

# One row for each organisation that has the number now ($4: had it on that day), UKRLP's record first, open ones before
# closed. $1 are numbers, $2 the day since which any of them was recorded, $3 the number to go on behind.
_RECORDS = """
WITH found AS (
    SELECT
        a.value AS ukprn, o.id, o.scheme, o.value, o.kind, o.is_open, v.facts, v.recorded_at,
        own.facts AS own, own.recorded_at AS own_recorded_at
    FROM providers.alias AS a
    JOIN providers.organisation AS o ON o.id = a.organisation
    CROSS JOIN LATERAL (
        SELECT version.facts, version.recorded_at
        FROM providers.version
        WHERE version.organisation = o.id
            AND CASE WHEN $4::date IS NULL THEN version.position = o.version ELSE version.valid_from <= $4 END
        ORDER BY version.valid_from DESC, version.position DESC
        LIMIT 1
    ) AS v
    LEFT JOIN LATERAL (
        SELECT version.facts, version.recorded_at
        FROM providers.organisation AS kept
        JOIN providers.version ON version.organisation = kept.id
        WHERE kept.scheme = 'own' AND kept.value = o.id::text
            AND CASE WHEN $4::date IS NULL THEN version.position = kept.version ELSE version.valid_from <= $4 END
        ORDER BY version.valid_from DESC, version.position DESC
        LIMIT 1
    ) AS own ON true
    WHERE a.scheme = 'ukprn' AND a.value > $3 AND {numbers}
        AND v.facts ->> 'ukprn' = a.value
),

dated AS (
    SELECT found.*, max(greatest(recorded_at, own_recorded_at)) OVER (PARTITION BY ukprn) AS newest FROM found
),

placed AS (
    SELECT dated.*, dense_rank() OVER (ORDER BY ukprn) AS place
    FROM dated
    WHERE $2::date IS NULL OR newest >= $2
)

SELECT * FROM placed
WHERE place <= $5
ORDER BY ukprn, scheme <> 'ukprn', is_open DESC, scheme DESC, value
"""
# Few numbers are looked up one by one; for all of them the planner reads the table.
_OF_NUMBERS = _RECORDS.replace("{numbers}", "a.value = ANY ($1::text[])")
_OF_ALL = _RECORDS.replace("{numbers}", "$1::text[] IS NULL")


class Asked(msgspec.Struct, frozen=True):
    """Which records: by number, recorded on or after a day, as they were on a day; behind a number, so many."""

    ukprns: tuple[str, ...] | None = None
    updated_since: date | None = None
    on: date | None = None
    after: str = ""
    limit: int = MOST_AT_ONCE


async def records(conn: Any, asked: Asked) -> list[dict[str, Any]]:
    """The records in the order of their numbers."""
    rows = await conn.fetch(
        _OF_ALL if asked.ukprns is None else _OF_NUMBERS,
        None if asked.ukprns is None else list(asked.ukprns),
        asked.updated_since,
        asked.after,
        asked.on,
        min(asked.limit, MOST_AT_ONCE),
    )
    return [_record(ukprn, list(of)) for ukprn, of in groupby(rows, key=lambda row: row["ukprn"])]


def lines(found: Sequence[dict[str, Any]]) -> bytes:
    """Newline-delimited JSON."""
    return msgspec.json.Encoder().encode_lines(found)


def _record(ukprn: str, rows: list[Any]) -> dict[str, Any]:
    facts = rows[0]["facts"]
    owns = [row["own"] for row in rows if row["own"]]
    own = owns[0] if owns else {}
    return {
        "UKPRN": ukprn,
        "ProviderName": facts.get("name"),
        "ProviderStatus": facts.get("ukrlp_status") or ("Active" if rows[0]["is_open"] else "Closed"),
        "VerificationDate": facts.get("verification_date"),
        "LegalAddress": _address(facts, "legal_"),
        "TradingAddress": _address(facts, ""),
        "PrimaryContact": _contact(rows, own),
        "ProviderAliases": [{"Name": name} for name in facts.get("trading_names") or ()],
        "VerificationDetails": _verified(rows),
        "Establishments": [_establishment(row) for row in rows if row["scheme"] != "ukprn"],
        "Contacts": own.get("contacts", []),
        "Courses": own.get("courses", []),
        "PerformanceLinks": [*own.get("performance", []), *_pages(rows)],
        "Party": org_urn(_main(rows)["id"]),
        "LastUpdated": max(
            max(row["recorded_at"], row["own_recorded_at"] or row["recorded_at"]) for row in rows
        ),
    }


def _main(rows: list[Any]) -> Any:
    """The organisation that the number's alias names in the directory: an establishment or trust before UKRLP's."""
    return next((row for row in rows if row["scheme"] != "ukprn"), rows[0])


def _address(facts: dict[str, Any], prefix: str) -> dict[str, Any] | None:
    main = ("street", "locality", "address3", "address4")
    parts = [f"{prefix}address{number}" for number in range(1, 5)] if prefix else main
    found = {f"Address{number}": facts.get(part) for number, part in enumerate(parts, start=1)}
    found |= {name: facts.get(f"{prefix}{name.lower()}") for name in ("Town", "County", "Postcode")}
    return found if any(found.values()) else None


def _contact(rows: list[Any], own: dict[str, Any]) -> dict[str, Any] | None:
    """The provider's own first contact before the one that UKRLP has."""
    given = own.get("contacts") or []
    if given:
        first = given[0]
        return {
            "ContactRole": first.get("role"),
            "ContactTelephone1": first.get("telephone"),
            "ContactEmail": first.get("email"),
            "Url": first.get("website"),
            "KeptByProvider": True,
        }
    names = {
        "ContactRole": "contact_role",
        "ContactTelephone1": "telephone",
        "ContactTelephone2": "telephone2",
        "ContactEmail": "email",
        "Url": "website",
        "LastUpdated": "contact_updated",
    }
    facts = next((row["facts"] for row in rows if names.values() & row["facts"].keys()), None)
    return {name: facts.get(item) for name, item in names.items()} if facts else None


def _verified(rows: list[Any]) -> list[dict[str, Any]]:
    """By whom it is known to exist. A group of GIAS names its number at Companies House."""
    found = [
        {
            "VerificationAuthority": one["authority"],
            "VerificationID": one["id"],
            "PrimaryVerificationSource": one["primary"],
        }
        for row in rows
        for one in row["facts"].get("verifications") or ()
    ]
    number = next((row["facts"]["companies_house_number"] for row in rows if _at_companies_house(row)), None)
    if number and not any(one["VerificationAuthority"] == "Companies House" for one in found):
        found.append(
            {
                "VerificationAuthority": "Companies House",
                "VerificationID": number,
                "PrimaryVerificationSource": False,
            }
        )
    return found


def _at_companies_house(row: Any) -> bool:
    return bool(row["facts"].get("companies_house_number"))


def _establishment(row: Any) -> dict[str, Any]:
    facts = row["facts"]
    items = (
        "name",
        "laestab",
        "type",
        "phase",
        "status",
        "la_code",
        "la_name",
        "trust_name",
        "open_date",
        "close_date",
    )
    return {"scheme": row["scheme"], "number": row["value"]} | {
        item: facts[item] for item in items if item in facts
    }


def _pages(rows: list[Any]) -> list[dict[str, str]]:
    pages = lists().performance_pages
    return [
        {"title": "Figures", "page": pages[row["scheme"]].format(value=row["value"])}
        for row in rows
        if row["scheme"] in pages
    ]
