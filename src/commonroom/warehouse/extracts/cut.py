"""The rows of an extract, as true when it asks and as known at a time: the same rows, in the same order, every time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

from commonroom.engines import delta
from commonroom.engines.duck import Duck
from commonroom.exchange import keys
from commonroom.settings import Settings
from commonroom.warehouse import organisations, tables
from commonroom.warehouse.extracts.model import PUPIL, Declaration, Table
from commonroom.warehouse.heads import Head
from commonroom.warehouse.tables import LEARNER_ID, FactTable

_LIVE = """
SELECT {columns} FROM ({facts}) AS facts GROUP BY {columns} HAVING sum(weight) > 0
"""
# Our own key of a pupil behind a keyed digest (HMAC of SHA-256) that no other extract shares.
_DIGEST = f"""
left(sha256(?::BLOB || unhex(sha256(?::BLOB || encode({LEARNER_ID})))), 32) AS {PUPIL}
"""
_BLOCK = 64
# Of the states of a record the one that began last, if it still goes on.
_STATES = """
SELECT {columns} FROM (
    SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY valid_from DESC) AS place FROM ({live}) AS live
) AS ranked
WHERE place = 1 AND (valid_to IS NULL OR valid_to >= DATE '{on}')
"""


@contextmanager
def rows(
    settings: Settings, duck: Duck, head: Head, asked: Declaration, table: Table, known_at: datetime
) -> Iterator[Any]:
    """The rows of one table, in the order of all their values, as a reader of Arrow batches."""
    facts = tables.of(table.entity)
    live = _live(settings, head, asked, table, facts, known_at)
    if table.on is not None:
        live = _STATES.format(columns=_columns(facts), key=", ".join(facts.key), live=live, on=table.on)
    names = list(dict.fromkeys([*table.items, "valid_from", "valid_to"]))
    values: list[bytes] = []
    if asked.form == "pseudonymised" and facts.names_learner:
        names.insert(0, _DIGEST)
        values = _pads(_secret(settings, asked.name))
    sql = f"SELECT {', '.join(names)} FROM ({live}) AS wanted ORDER BY ALL"  # noqa: S608 - names of the standard
    with duck.stream(sql, values) as reader:
        yield reader


def _live(
    settings: Settings, head: Head, asked: Declaration, table: Table, facts: FactTable, known_at: datetime
) -> str:
    first, last = (table.first or date.min), (table.last or table.on or date.max)
    where = f"valid_from BETWEEN DATE '{first}' AND DATE '{last}'"
    if asked.schools is not None:
        where += f" AND school IN ({', '.join(map(tables.quoted, asked.schools)) or 'NULL'})"
    where += organisations.known(known_at.astimezone(UTC).replace(tzinfo=None))
    version = head.tables.get(table.entity)
    files = [] if version is None else delta.files_of(facts.folder(settings), version)
    paths = [file.path for file in files if file.may_hold("valid_from", first, last)]
    columns = _columns(facts)
    relation = facts.relation(paths, [*columns.split(", "), "weight"], where)
    return _LIVE.format(columns=columns, facts=relation)


def _columns(facts: FactTable) -> str:
    names = [*facts.items, "valid_from", "valid_to", *([LEARNER_ID] if facts.names_learner else [])]
    return ", ".join(names)


def _pads(secret: bytes) -> list[bytes]:
    """The two parameters of the digest: the key, padded, as HMAC mixes it in on the outside and the inside."""
    block = secret.ljust(_BLOCK, b"\0")
    return [bytes(byte ^ mixed for byte in block) for mixed in (0x5C, 0x36)]


def _secret(settings: Settings, name: str) -> bytes:
    """A key for this extract alone, of the secret that stays here."""
    key = keys.load_or_create(settings.folder("keys") / "pseudonyms.pem")
    private: dict[str, Any] = key.as_dict(private=True)
    return hmac.new(str(private["d"]).encode("ascii"), name.encode("utf-8"), hashlib.sha256).digest()
