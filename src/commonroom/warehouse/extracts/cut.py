"""The rows of an extract, as true when it asks and as known at a time: the same rows, in the same order, every time."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

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
# Of the states of a record the one that began last, if it still goes on.
_STATES = """
SELECT {columns} FROM (
    SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY valid_from DESC) AS place FROM ({live}) AS live
) AS ranked
WHERE place = 1 AND (valid_to IS NULL OR valid_to >= DATE '{on}')
"""


def rows(
    settings: Settings, duck: Duck, head: Head, asked: Declaration, table: Table, known_at: datetime
) -> pa.Table:
    """The rows of one table, in the order of all their values."""
    facts = tables.of(table.entity)
    live = _live(settings, head, asked, table, facts, known_at)
    if table.on is not None:
        live = _STATES.format(columns=_columns(facts), key=", ".join(facts.key), live=live, on=table.on)
    wanted = [*table.items, "valid_from", "valid_to"]
    pupils = asked.form == "pseudonymised" and facts.names_learner
    if pupils:
        wanted.insert(0, LEARNER_ID)
    names = ", ".join(dict.fromkeys(wanted))
    found = duck.arrow(f"SELECT {names} FROM ({live}) AS wanted ORDER BY ALL")  # noqa: S608 - names of the standard
    return _pseudonymised(settings, asked, found) if pupils else found


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


def _pseudonymised(settings: Settings, asked: Declaration, found: pa.Table) -> pa.Table:
    """Our own key of each pupil behind a keyed digest that no other extract shares, in the order of the digests."""
    secret = _secret(settings, asked.name)
    digests: dict[Any, str | None] = {None: None}
    learners = found[LEARNER_ID].to_pylist()
    for learner in learners:
        if learner not in digests:
            digests[learner] = hmac.new(secret, learner.encode("ascii"), hashlib.sha256).hexdigest()[:32]
    place = found.column_names.index(LEARNER_ID)
    column = pa.array([digests[learner] for learner in learners], pa.string())
    hidden = found.set_column(place, PUPIL, column)
    return hidden.sort_by([(name, "ascending") for name in hidden.column_names])


def _secret(settings: Settings, name: str) -> bytes:
    """A key for this extract alone, of the secret that stays here."""
    key = keys.load_or_create(settings.folder("keys") / "pseudonyms.pem")
    private: dict[str, Any] = key.as_dict(private=True)
    return hmac.new(str(private["d"]).encode("ascii"), name.encode("utf-8"), hashlib.sha256).digest()
